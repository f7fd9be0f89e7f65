"""`dicom-gateway deliveries`, `destinations`, `trace`: what goes where, how it stands, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from gateway.cli.asking import LOCAL, Asked, UrlOption, UserOption
from gateway.cli.common import JsonOption, count, print_json, print_line, size
from gateway.errors import GatewayError

app = typer.Typer(no_args_is_help=True, help="Deliveries: what is on its way where, and what became of it.")

DestinationOption = Annotated[str, typer.Option(help="To this destination.")]
StudyOption = Annotated[str, typer.Option(help="Of this study: UID, identifier or accession number.")]
InstanceOption = Annotated[str, typer.Option(help="Of this instance: UID or identifier.")]
StateOption = Annotated[
    str, typer.Option(help="In this state: waiting, sending, held, delivered, refused, dead or cancelled.")
]


def destinations(url: UrlOption = LOCAL, user: UserOption = None, as_json: JsonOption = False) -> None:
    """The destinations: state, backlog, and why one is paused."""
    found = Asked(url, user).json("/destinations?expand")
    if as_json:
        print_json(found)
        return
    if not found:
        print_line("No destination is configured.")
    for each in found:
        print_line(
            f"{each['Name']:<20} {each['State']:<8} {count(each['Waiting'], 'waiting', 'waiting')}, "
            f"{each['Sending']} being sent, {each['HeldDeliveries']} held, {each['Refused']} refused, "
            f"{each['Dead']} dead"
        )
        if each["Reason"]:
            until = f", until {each['PausedUntil']} UTC" if each["PausedUntil"] else ""
            print_line(f"    {each['Reason']} ({count(each['Failures'], 'time')} in a row{until})")


@app.command("list")
def list_(
    destination: DestinationOption = "",
    study: StudyOption = "",
    instance: InstanceOption = "",
    state: StateOption = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest.")] = 50,
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliveries, newest first, with the reason of those that have failed."""
    gateway = Asked(url, user)
    chosen = _chosen(gateway, destination, study, instance, state)
    asked = {name.lower(): value for name, value in chosen.items()} | {"limit": str(limit)}
    found = gateway.json("/deliveries?" + urlencode(asked))["Deliveries"]
    if as_json:
        print_json(found)
        return
    for each in found:
        print_line(_line(each))


def _do(action: str) -> Any:
    def command(
        numbers: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Deliveries by number.")] = None,
        destination: DestinationOption = "",
        study: StudyOption = "",
        instance: InstanceOption = "",
        state: StateOption = "",
        url: UrlOption = LOCAL,
        user: UserOption = None,
        as_json: JsonOption = False,
    ) -> None:
        gateway = Asked(url, user)
        if numbers:
            for number in numbers:
                gateway.json(f"/deliveries/{number}/{action}", {})
            done = len(numbers)
        else:
            done = gateway.json(f"/deliveries/{action}", _chosen(gateway, destination, study, instance, state))["Count"]
        if as_json:
            print_json({"count": done})
        else:
            print_line(f"{action}: {count(done, 'delivery', 'deliveries')}")

    command.__doc__ = {
        "resend": "Send again, whatever became of them: by number, or all that fit.",
        "cancel": "Let be what is not over: by number, or all that fit.",
        "hold": "Let wait until released: by number, or all that fit.",
        "release": "Let what is held go on: by number, or all that fit.",
    }[action]
    return command


for _action in ("resend", "cancel", "hold", "release"):
    app.command(_action)(_do(_action))


def trace(
    name: Annotated[str, typer.Argument(help="A study, series or instance by UID or identifier; an accession number.")],
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole story: who brought it, which rules sent it where, and what every destination answered."""
    story = Asked(url, user).json(f"/trace?name={quote(name)}")
    if as_json:
        print_json(story)
        return
    for study in story["Studies"]:
        print_line(f"Study {study['StudyInstanceUID']}  accession {study['AccessionNumber'] or '(none)'}")
        print_line(
            f"  {count(study['Instances'], 'instance')}, {study['FirstReception']} to {study['LastReception']} UTC"
        )
        for origin in study["Origins"]:
            print_line(f"  {origin['Count']:>6} from {_origin(origin)}")
        for each in study["Deliveries"]:
            changes = f" with {each['Changes']}" if each["Changes"] else ""
            print_line(f"  {each['Count']:>6} to {each['Destination']}{changes} by {each['Rule']}: {each['State']}")
            if each["Reason"]:
                print_line(f"         {each['Reason']}")
        if not study["Deliveries"]:
            print_line("         no rule sends it anywhere")
    for each in story["Instances"]:
        print_line(f"Instance {each['SOPInstanceUID']}, version {each['Version']}")
        print_line(f"  {each['ReceptionTime']} UTC from {_origin(each)}")
        for delivery in each["Deliveries"]:
            print_line(f"  {_line(delivery)}")
        if not each["Deliveries"]:
            print_line("  no rule sends it anywhere")


def _origin(origin: dict[str, Any]) -> str:
    who = origin["CallingAet"] or "somebody"
    called = f" to {origin['CalledAet']}" if origin["CalledAet"] else ""
    return f"{who} at {origin['Peer'] or 'no address'}{called}, by {origin['Via']}"


def _line(each: dict[str, Any]) -> str:
    changes = f" with {each['Changes']} {each['ChangesVersion']}" if each["Changes"] else ""
    sent = f", {size(each['SentSize'])}" if each["SentSize"] else ""
    reason = f": {each['Reason']}" if each["Reason"] else ""
    proven = f", there at {each['ProvenTime']} UTC" if each["ProvenTime"] else ""
    return (
        f"{each['ID']:>8} {each['CreationTime']} {each['SOPInstanceUID']} v{each['Version']} to {each['Destination']}"
        f"{changes} by {each['Rule']}: {each['State']} after {count(each['Attempts'], 'attempt')}{sent}{proven}{reason}"
    )


def _chosen(gateway: Asked, destination: str, study: str, instance: str, state: str) -> dict[str, str]:
    """The selection as the gateway wants it: what is named otherwise is looked up."""
    chosen = {"Destination": destination, "State": state}
    if study:
        chosen["Study"] = _identifier(gateway, study, "Studies")
    if instance:
        chosen["Instance"] = _identifier(gateway, instance, "Instances")
    return {name: value for name, value in chosen.items() if value}


def _identifier(gateway: Asked, name: str, kind: str) -> str:
    found = [each["ID"] for each in gateway.json(f"/trace?name={quote(name)}")[kind]]
    if len(found) != 1:
        raise GatewayError(f"{name!r} names {count(len(found), 'of the ' + kind.lower(), kind.lower())}, not one")
    return str(found[0])
