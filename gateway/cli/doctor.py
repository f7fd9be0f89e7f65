"""`dicom-gateway doctor`: what works between the gateway and a DICOM node, what does not, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.client import LOCAL, GatewayClient, UrlOption, UserOption
from gateway.cli.common import JsonOption, load_settings, print_json, print_line
from gateway.cli.nodes import Calling, calls_a_node, node_of
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.net.association_record import AssociationRecord
    from gateway.remote.diagnosis import Diagnosis

_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s@\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_MARKS: Final = {"good": "ok ", "warning": "?  ", "bad": "BAD"}
_AnyNode = Annotated[
    str, typer.Argument(metavar="NODE", help="Name of a configured modality, AET@HOST:PORT, or HOST[:PORT].")
]
_CalledOption = Annotated[
    str, typer.Option("--called", metavar="AET", help="Its AE title, for HOST[:PORT]; the port is 104 without one.")
]


@calls_a_node(timeout_s=10.0)
def doctor(
    node: _AnyNode,
    calling: Calling,
    called: _CalledOption = "ANY-SCP",
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a connection to a DICOM node, both ways, and what to do about it.

    What the node has asked of the gateway is read from the one that runs at --url, if it does. Exit code 0 if nothing
    is wrong, 1 with the findings if something is, 2 for wrong use.
    """
    settings = load_settings(calling.config_file, None)
    _, target = node_of(_as_node(settings, node, called), calling)

    import asyncio

    from gateway.systems.doctor import consult

    records, port = _of_gateway(url, user)
    ours: dict[str, Any] = {
        "our_aet": target.calling_aet,
        "our_host": "?",
        "our_port": str((settings.dicom.tls_port if target.tls else port or settings.dicom.plain_port) or "?"),
    }
    found = asyncio.run(consult(target, ours=ours, records=records, timeout_s=calling.timeout or 10.0))
    _show(str(target), found, as_json=as_json)
    if not found.is_good:
        raise typer.Exit(1)


def _as_node(settings: Settings, text: str, called: str) -> str:
    """The node in the syntax of all commands. Anything but HOST[:PORT] is unchanged."""
    match = _HOST.fullmatch(text.strip())
    if text in settings.modalities or match is None:
        return text
    return f"{called}@{match['host']}:{match['port'] or 104}"


def _of_gateway(url: str, user: str | None) -> tuple[list[AssociationRecord] | None, int]:
    """The last associations of the running gateway, and its DICOM port; None and 0 if none answers."""
    import msgspec

    from gateway.net.association_record import from_json

    try:
        client = GatewayClient(url, user)
        records = [from_json(each) for each in client.json("/associations/records")]
        return records, int(client.json("/system").get("DicomPort", 0))
    except (GatewayError, msgspec.ValidationError):
        return None, 0


def _show(node: str, found: Diagnosis, *, as_json: bool) -> None:
    from gateway.web.pages.findings import in_words
    from gateway.web.pages.wording import words_of

    shown = [in_words(words_of("en"), each) for each in found.findings]
    if as_json:
        print_json(
            {
                "node": node,
                "good": found.is_good,
                "local": found.local,
                "addresses": found.addresses,
                "services": found.services,
                "findings": [
                    {
                        "step": each.step,
                        "grade": each.grade,
                        "code": each.code,
                        "values": each.values,
                        "text": words.text.unescape(),
                        "remedy": words.remedy.unescape(),
                    }
                    for each, words in zip(found.findings, shown, strict=True)
                ],
            }
        )
        return
    print_line(node)
    for each, words in zip(found.findings, shown, strict=True):
        print_line(f"  {_MARKS[each.grade]}  {words.step.unescape()}: {words.text.unescape()}")
        if words.remedy:
            print_line(f"         {words.remedy.unescape()}")
