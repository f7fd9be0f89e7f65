"""`dicom-gateway token` and `link`: API tokens of a running gateway, and links to its studies."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.cli.client import LOCAL, GatewayClient, UrlOption, UserOption
from gateway.cli.common import JsonOption, complain, count, print_json, print_line
from gateway.errors import GatewayError

app = typer.Typer(no_args_is_help=True, help="API tokens of a running gateway: make, list and revoke them.")

_DAY_S: Final = 86400
_MAX_DAYS: Final = 3660
_PUBLIC_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_PLACES: Final = {"token": "/auth/api-tokens", "link": "/auth/shares"}
DaysOption = Annotated[int, typer.Option(min=1, max=_MAX_DAYS, help="Days until it ends.")]


@app.command("make")
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, as lists and the audit log show it.")],
    role: Annotated[
        list[str] | None, typer.Option("--role", help="A role that you have; repeatable.  [default: all of yours]")
    ] = None,
    days: DaysOption = 90,
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API token of the user who signs in. Standard output has its secret alone, which nobody can show again.

    Scripts send it as `Authorization: Bearer SECRET`.
    """
    body = {"Name": name, "ValidityDuration": days * _DAY_S, **({"Roles": role} if role else {})}
    made = GatewayClient(url, user).json(_PLACES["token"], body)
    if as_json:
        print_json(made)
        return
    print_line(made["Token"])
    complain(f"token {made['ID']} with {_roles(made)} ends {made['ExpirationDate']}")


@app.command("list")
def list_(url: UrlOption = LOCAL, user: UserOption = None, as_json: JsonOption = False) -> None:
    """List API tokens and links that have not ended: your own, or with the permission `admin-permissions` all."""
    gateway = GatewayClient(url, user)
    found = [{"Kind": kind, **each} for kind, place in _PLACES.items() for each in gateway.json(place)]
    if as_json:
        print_json(found)
        return
    if not found:
        print_line("There are no tokens and no links.")
    for each in found:
        what = _roles(each) if each["Kind"] == "token" else count(len(each["ResourcesDicomIds"]), "study", "studies")
        left = f", {each['Count']} uses left" if each.get("Count") is not None else ""
        used = f", used {each['LastUse']}" if each["LastUse"] else ", never used"
        print_line(
            f"{each['ID']} {each['Kind']:<5} {each['Name'] or '-'} of {each['User']}: {what}, "
            f"ends {each['ExpirationDate']}{used}{left}"
        )


@app.command("revoke")
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Tokens and links, as `token list` names them.")],
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke API tokens and links, at once. Exit code 1 if one of them is not there; the others are revoked."""
    gateway = GatewayClient(url, user)
    places = {each["ID"]: place for place in _PLACES.values() for each in gateway.json(place)}
    missing = [each for each in dict.fromkeys(ids) if each not in places]
    revoked = [each for each in dict.fromkeys(ids) if each in places]
    for each in revoked:
        gateway.json(f"{places[each]}/{quote(each, safe='')}", method="DELETE")
    if as_json:
        print_json({"revoked": revoked, "missing": missing})
    else:
        for each in revoked:
            print_line(f"revoked: {each}")
    if missing:
        raise GatewayError(f"there is no token or link {', '.join(missing)} of yours")


def link(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Study Instance UIDs, or Orthanc's identifiers.")
    ],
    name: Annotated[str, typer.Option(help="A name for people: who gets it.")] = "",
    days: DaysOption = 30,
    uses: Annotated[int | None, typer.Option(min=1, help="How often it may be opened.  [default: any number]")] = None,
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a link with which somebody sees these studies, and nothing else, until it ends. Prints its address.

    `token list` lists it, `token revoke` ends it.
    """
    resources = [
        {"Level": "study", "OrthancId" if _PUBLIC_ID.fullmatch(each) else "DicomUid": each} for each in studies
    ]
    body = {"Resources": resources, "ValidityDuration": days * _DAY_S, "Label": name}
    if uses is not None:
        body["Count"] = uses
    made = GatewayClient(url, user).json("/auth/tokens/ohif-viewer-publication", body, method="PUT")
    if as_json:
        print_json(made)
        return
    print_line(made["Url"])
    complain(f"link {made['ID']} to {count(len(studies), 'study', 'studies')} ends {made['ExpirationDate']}")


def _roles(token: dict[str, Any]) -> str:
    return f"the role{'' if len(token['Roles']) == 1 else 's'} {', '.join(token['Roles'])}"
