"""The command `dicom-gateway-loadtest`. Exit codes: 0 all went well, 1 something was not acknowledged or is missing,
2 used wrongly.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from loadtest.data import Instance, Preset, Source
    from loadtest.send import Target
    from loadtest.stats import Stats
    from loadtest.verify import Verification

app = typer.Typer(
    name="dicom-gateway-loadtest",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Puts load on any DICOM node, and compares servers side by side.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SizeOption = Annotated[
    str, typer.Option(help="Pixels of an instance (8KB, 512KB, 1GB), or ct, mr, pet, cr, dx, mg, us, us-cine, xa.")
]
_REFRESH = 0.1


@app.command("send")
def send_command(
    host: Annotated[str, typer.Argument(help="Name or address.")],
    port: Annotated[int, typer.Argument(min=1, max=65535)],
    called: Annotated[str, typer.Option("--aec", help="AE title that we call.")] = "ANY-SCP",
    calling: Annotated[str, typer.Option("--aet", help="AE title that we call ourselves.")] = "LOADTEST",
    associations: Annotated[int, typer.Option("--associations", "-k", min=1, help="How many at once.")] = 1,
    instances: Annotated[
        int | None,
        typer.Option("--instances", "-n", min=1, help="On each association.  [default: 100, or each file once]"),
    ] = None,
    size: SizeOption = "512KB",
    files: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="Send these files (or folders of them) byte for byte instead. May be repeated."),
    ] = None,
    new_uids: Annotated[bool, typer.Option("--new-uids", help="Give files new UIDs each time they are sent.")] = False,
    window: Annotated[
        int, typer.Option(min=1, max=65535, help="Instances on their way on one association, if the peer agrees.")
    ] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a connection or an answer.")] = 60.0,
    verify: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Then ask this DICOMweb service for all that was acknowledged."),
    ] = None,
    acknowledged: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write each SOP Instance UID there as soon as it is acknowledged."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Store instances (C-STORE) as fast as they are taken, and say how fast that was. Ctrl-C ends it early."""
    from loadtest import report
    from loadtest.data import Synthetic
    from loadtest.files import Files
    from loadtest.send import Target
    from loadtest.stats import Stats

    source: Source
    if files:
        source = Files(files, instances, new_uids=new_uids)
        for path, reason in source.skipped:
            _say(f"passed over {path}: {reason}")
        what = f"{len(source.files)} file{'s' if len(source.files) > 1 else ''}"
    else:
        source, what = Synthetic(_preset(size), instances or 100), size
    target = Target(host, port, called, calling, window=window, timeout=timeout)
    stats = Stats(source.total(associations))
    verification = _execute(target, source, associations, stats, acknowledged, verify)
    summary = stats.summary()
    if as_json:
        _print_json({"summary": summary, "verification": verification})
    else:
        plural = "" if associations == 1 else "s"
        print(report.run_text(summary, f"{called}@{host}:{port}  {associations} association{plural}, {what}"))
        if verification is not None:
            print(report.verification_text(verification))
    if not summary.complete or (verification is not None and verification.missing):
        raise typer.Exit(1)


@app.command("compare")
def compare_command(
    rounds: Annotated[int, typer.Option(min=1, help="How often each server gets each work.")] = 3,
    associations: Annotated[str, typer.Option(help="Numbers of associations at once, with commas.")] = "1,8",
    size: SizeOption = "512KB",
    count: Annotated[int, typer.Option(min=1, help="Instances in each run, over all associations together.")] = 200,
    peers: Annotated[
        str, typer.Option(help="Servers to start, with commas; the sink shows what the sender itself can do.")
    ] = "gateway,orthanc,orthanc-tuned,storescp,storescp-tuned,sink",
    work: Annotated[str, typer.Option(help="storescu, store (our own sender), or both.")] = "storescu,store",
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the servers keep their data meanwhile: the disk that is measured.", file_okay=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the same load against the gateway and others, in turn, and print rates and ratios.

    "-tuned" is a server as it is installed but with TCP_NODELAY=1 (for storescu: on both sides).
    """
    from loadtest import report
    from loadtest.compare import Work, compare
    from loadtest.peers import PEERS

    preset = _preset(size)
    names = _listed(peers, PEERS, "--peers")
    kinds = _listed(work, ("storescu", "store"), "--work")
    try:
        numbers = [int(number) for number in associations.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter("numbers with commas, such as 1,8,64", param_hint="--associations")
    works = [Work(preset, count, by_storescu=True)] if "storescu" in kinds else []
    works += [Work(preset, count, number) for number in numbers] if "store" in kinds else []
    with tempfile.TemporaryDirectory(prefix="loadtest-", dir=folder) as place, _bar("instances") as progress:
        comparison = compare(works, names, rounds, Path(place), progress)
    if as_json:
        _print_json(comparison)
    else:
        print(report.comparison_text(comparison))
    if not comparison.complete:
        raise typer.Exit(1)


@app.command("sink")
def sink_command(
    host: Annotated[str, typer.Argument()] = "127.0.0.1",
    port: Annotated[int, typer.Argument(min=0, max=65535, help="0 for any.")] = 11112,
) -> None:
    """Accept everything, answer at once, keep nothing, until Ctrl-C."""
    import uvloop

    from loadtest import sink

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(sink.serve(host, port))


def _execute(
    target: Target, source: Source, associations: int, stats: Stats, acknowledged: Path | None, verify: str | None
) -> Verification | None:
    """Send, with a progress bar; then verify."""
    import uvloop

    from loadtest.send import send
    from loadtest.verify import Acknowledged

    kept = Acknowledged()
    with contextlib.ExitStack() as stack:
        notes: list[Callable[[Instance], object]] = [kept.add] if verify else []
        if acknowledged is not None:
            # A line is with the kernel before the next instance is sent: it outlives us.
            file = stack.enter_context(acknowledged.open("w", buffering=1, encoding="ascii"))
            notes.append(lambda instance: file.write(instance.sop_instance_uid + "\n"))

        def note(instance: Instance) -> None:
            for one in notes:
                one(instance)

        async def run() -> Verification | None:
            with _bar("instances") as progress:

                async def show() -> None:
                    while True:
                        progress(stats.acknowledged + stats.failed, stats.planned, "sending")
                        await asyncio.sleep(_REFRESH)

                showing = asyncio.create_task(show())
                try:
                    await send(target, source, associations, stats, note)
                except asyncio.CancelledError:
                    _say("interrupted")
                finally:
                    showing.cancel()
            return await kept.verify(verify) if verify else None

        return uvloop.run(run())


def _preset(size: str) -> Preset:
    from loadtest.data import parse_size

    try:
        return parse_size(size)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--size") from None


def _listed(text: str, known: Collection[str], option: str) -> list[str]:
    """Names with commas, each of them known, none twice."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(known)}", param_hint=option)
    return names


@contextlib.contextmanager
def _bar(unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on standard error; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def _print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _say(text: str) -> None:
    print(f"dicom-gateway-loadtest: {text}", file=sys.stderr)


def main() -> None:
    """Run the command line; every error on purpose becomes one line on standard error, never a traceback."""
    try:
        app()
    except (GatewayError, OSError) as error:
        _say(" ".join(str(error).split()) or type(error).__name__)
        sys.exit(1)
