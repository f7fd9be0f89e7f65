"""`dicom-gateway deliveries`, `destinations`, `trace`: the view and control of deliveries of a running gateway."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from gateway.cli.client import LOCAL, GatewayClient, UrlOption, UserOption
from gateway.cli.common import JsonOption, count, print_json, print_line, size
from gateway.errors import GatewayError

app = typer.Typer(no_args_is_help=True, help="Deliveries: list them, and resend, cancel, hold or release them.")
destinations_app = typer.Typer(invoke_without_command=True)

DestinationOption = Annotated[str, typer.Option(help="Only those to this destination.")]
StudyOption = Annotated[str, typer.Option(help="Only those of this study: UID, identifier or accession number.")]
InstanceOption = Annotated[str, typer.Option(help="Only those of this instance: UID or identifier.")]
StateOption = Annotated[
    str, typer.Option(help="Only those in this state: waiting, sending, held, delivered, refused, dead or cancelled.")
]


@destinations_app.callback()
def destinations(
    context: typer.Context, url: UrlOption = LOCAL, user: UserOption = None, as_json: JsonOption = False
) -> None:
    """List the destinations: state, backlog, and why one is paused. Subcommands hold or release one."""
    if context.invoked_subcommand is not None:
        for name in context.params:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(f"give options after {context.invoked_subcommand}")
        return
    found = GatewayClient(url, user).json("/destinations?expand")
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


def _set(action: str) -> Any:
    def command(
        name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a destination in the configuration.")],
        url: UrlOption = LOCAL,
        user: UserOption = None,
    ) -> None:
        gateway = GatewayClient(url, user)
        _check_destination(gateway, name)
        gateway.json(f"/destinations/{quote(name, safe='')}/{action}", {})
        print_line(f"{action}: {name}")

    command.__doc__ = {
        "hold": "Send nothing more to a destination until `release`. Running transfers continue.",
        "release": "Resume sending to a destination at once, whether it was held or paused for being unreachable.",
    }[action]
    return command


for _action in ("hold", "release"):
    destinations_app.command(_action)(_set(_action))


@app.command("list")
def list_(
    destination: DestinationOption = "",
    study: StudyOption = "",
    instance: InstanceOption = "",
    state: StateOption = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Deliveries listed at most, the newest.")] = 50,
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first, with the reason of those that have failed."""
    gateway = GatewayClient(url, user)
    selection = _selection(gateway, destination, study, instance, state)
    query = {name.lower(): value for name, value in selection.items()} | {"limit": str(limit)}
    found = gateway.json("/deliveries?" + urlencode(query))["Deliveries"]
    if not found:
        _check_destination(gateway, destination)
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
        gateway = GatewayClient(url, user)
        if numbers:
            for number in numbers:
                gateway.json(f"/deliveries/{number}/{action}", {})
            done = len(numbers)
        else:
            done = gateway.json(f"/deliveries/{action}", _selection(gateway, destination, study, instance, state))[
                "Count"
            ]
            if not done:
                _check_destination(gateway, destination)
        if as_json:
            print_json({"count": done})
        else:
            print_line(f"{action}: {count(done, 'delivery', 'deliveries')}")

    command.__doc__ = {
        "resend": "Send deliveries again, even delivered ones: by number, or all that match the options.",
        "cancel": "Cancel deliveries that are not over: by number, or all that match the options.",
        "hold": "Hold deliveries until `release`: by number, or all that match the options.",
        "release": "Release held deliveries: by number, or all that match the options.",
    }[action]
    return command


for _action in ("resend", "cancel", "hold", "release"):
    app.command(_action)(_do(_action))


def trace(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="UID or identifier of a study, series or instance; or accession number."),
    ],
    url: UrlOption = LOCAL,
    user: UserOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trace a study or instance: who sent it, which rules sent it where, and what every destination answered."""
    found = GatewayClient(url, user).json(f"/trace?name={quote(name)}")
    if as_json:
        print_json(found)
        return
    for study in found["Studies"]:
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
            print_line("         no rule sent it anywhere")
    for each in found["Instances"]:
        print_line(f"Instance {each['SOPInstanceUID']}, version {each['Version']}")
        print_line(f"  {each['ReceptionTime']} UTC from {_origin(each)}")
        if each["Incomplete"]:
            print_line(f"  incomplete: {each['Incomplete']}")
        for delivery in each["Deliveries"]:
            print_line(f"  {_line(delivery)}")
        if not each["Deliveries"]:
            print_line("  no rule sent it anywhere")


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


def _check_destination(gateway: GatewayClient, name: str) -> None:
    """Raise GatewayError if no destination has that name, after nothing was found for it."""
    from gateway.config.suggestion import did_you_mean

    names = gateway.json("/destinations") if name else [name]
    if name not in names:
        raise GatewayError(f"no destination is called {name!r}{did_you_mean(name, names)}")


def _selection(gateway: GatewayClient, destination: str, study: str, instance: str, state: str) -> dict[str, str]:
    """The selection as the API expects it: names are resolved to identifiers."""
    selection = {"Destination": destination, "State": state}
    if study:
        selection["Study"] = _identifier(gateway, study, "Studies")
    if instance:
        selection["Instance"] = _identifier(gateway, instance, "Instances")
    return {name: value for name, value in selection.items() if value}


def _identifier(gateway: GatewayClient, name: str, kind: str) -> str:
    found = [each["ID"] for each in gateway.json(f"/trace?name={quote(name)}")[kind]]
    if len(found) != 1:
        raise GatewayError(f"{name!r} names {count(len(found), 'of the ' + kind.lower(), kind.lower())}, not one")
    return str(found[0])
