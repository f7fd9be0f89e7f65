"""`dicom-gateway migrate dicom` and `migrate dicomweb`: all studies of an archive, by queries and retrievals."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.client import name_and_password
from gateway.cli.common import (
    ConfigOption,
    CreateOption,
    DataOption,
    JsonOption,
    audited,
    complain,
    count,
    load_settings,
    need_archive,
    print_json,
    print_line,
)
from gateway.cli.grouped import takes
from gateway.cli.nodes import Calling, NodeArgument, calls_a_node, node_of
from gateway.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.config.destinations import DicomwebDestination
    from gateway.migration.crawl import CrawlReport
    from gateway.migration.crawled_archive import CrawledArchive

_UNKNOWN_CALLER: Final = re.compile("aborted the association|calling AE title")
"""The words of a node that does not know who calls: Orthanc aborts, others reject (PS3.8 Table 9-21)."""
Phases = Callable[..., AbstractContextManager[Any]]
RateOption = Annotated[
    int, typer.Option("--rate", min=0, metavar="N", help="Instances a second, at most; 0: no limit.")
]
ParallelOption = Annotated[int, typer.Option("--parallel", min=1, max=16, help="Studies at once.")]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        formats=["%Y%m%d", "%Y-%m-%d"],
        help="Only studies from this day on.  [default: all]",
        show_default=False,
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--until", formats=["%Y%m%d", "%Y-%m-%d"], help="Only studies up to this day.", show_default=False),
]
DryOption = Annotated[bool, typer.Option("--dry-run", help="List the studies, and bring nothing.")]


@dataclass(frozen=True, slots=True)
class Crawling:
    """The options of the commands that crawl an archive, as given."""

    since: SinceOption = None
    until: UntilOption = None
    rate: RateOption = 0
    parallel: ParallelOption = 2
    dry_run: DryOption = False
    data: DataOption = None
    create: CreateOption = False
    as_json: JsonOption = False


def commands(phases: Phases) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two commands; `phases` shows progress."""

    @takes(Crawling, "crawling")
    @calls_a_node()
    def dicom(
        node: NodeArgument,
        calling: Calling,
        crawling: Crawling,
        to: Annotated[
            str,
            typer.Option("--to", metavar="AET", help="Have it send by C-MOVE to this gateway, which runs; else C-GET."),
        ] = "",
    ) -> None:
        """Bring all studies of a DICOM node, found by C-FIND in windows of time that halve where it limits answers.

        What was broken off goes on when it is started again. Exit code 1 if the node has what is not here in the end.
        """
        _, called = node_of(node, calling)
        settings = load_settings(calling.config_file, crawling.data)

        async def source() -> CrawledArchive:
            from gateway.migration.dicom_source import DicomSource

            return DicomSource(called, to)

        try:
            _crawl(source, str(called), settings, phases, crawling)
        except SourceError as error:
            if not _UNKNOWN_CALLER.search(str(error)):
                raise
            raise SourceError(f"{error}; does it know our AE title {called.calling_aet} (--aet)?") from None

    @takes(Crawling, "crawling")
    def dicomweb(
        url: Annotated[
            str,
            typer.Argument(metavar="URL", help="The part before /studies, or the name of a configured destination."),
        ],
        crawling: Crawling,
        user: Annotated[
            str | None,
            typer.Option(
                metavar="NAME[:PASSWORD]", help="A user of the server. The password may be in SOURCE_PASSWORD."
            ),
        ] = None,
        config_file: ConfigOption = None,
    ) -> None:
        """Bring all studies of a DICOMweb server, by QIDO-RS and WADO-RS.

        What was broken off goes on when it is started again. Exit code 1 if the server has what is not here in the end.
        """
        settings = load_settings(config_file, crawling.data)
        section = _section(settings, url, user)

        async def source() -> CrawledArchive:
            from gateway.migration.dicomweb_source import DicomwebSource

            return DicomwebSource(url, section, settings.dicom.aet)

        _crawl(source, section.url, settings, phases, crawling)

    return dicom, dicomweb


def _days(since: datetime | None, until: datetime | None) -> tuple[date, date]:
    """The first and the last day; by default all that a study may have, a year to come among them."""
    from gateway.migration.crawl import EVER

    first = since.date() if since is not None else EVER
    # The same for a whole year: windows of another day would be listed anew.
    last = until.date() if until is not None else date(date.today().year + 1, 12, 31)
    if last < first:
        raise typer.BadParameter("--until is before --since")
    return first, last


def _section(settings: Settings, url: str, user: str | None) -> DicomwebDestination:
    """The section of a server: a configured one, or one made of a URL. Raises ConfigurationError, without the URL in
    its text: it may contain a password."""
    from gateway.config.destinations import DicomwebDestination

    known = settings.destinations.get(url)
    if isinstance(known, DicomwebDestination):
        return known
    if known is not None or not url.startswith(("http://", "https://")):
        raise ConfigurationError("URL: it is none, http:// or https://, and no destination of kind dicomweb")
    section = _checked(DicomwebDestination(url=url))
    if user is None:
        return section
    name, password = name_and_password(user, "SOURCE_PASSWORD")
    return _checked(DicomwebDestination(url=url, auth="basic", user=name, password=password))


def _checked(section: DicomwebDestination) -> DicomwebDestination:
    """The section itself. Raises ConfigurationError with its problems."""
    from gateway.config.destination_checks import destination_problems

    problems = [f"{place.rpartition('.')[2]}: {text}" for place, text in destination_problems("source", section)]
    if problems:
        hint = " (here: --user NAME, and the password in SOURCE_PASSWORD)" if "@" in section.url else ""
        raise ConfigurationError(*[f"{each}{hint}" for each in problems])
    return section


def _crawl(
    make: Callable[[], Awaitable[CrawledArchive]],
    name: str,
    settings: Settings,
    phases: Phases,
    options: Crawling,
) -> None:
    days = _days(options.since, options.until)
    need_archive(settings.storage, options.create)

    import uvloop

    from gateway.migration.crawl import open_crawl
    from gateway.migration.windows import Window

    async def run(show: Any) -> CrawlReport:
        source = await make()
        try:
            async with open_crawl(
                settings.storage, source, days, show, dry=options.dry_run, url=settings.database.url
            ) as (crawl, ingest):
                age = await crawl.age_of_list(time.time())
                if age is not None:
                    complain(f"going on with the list that was begun {age / 60:,.0f} minutes ago")
                await crawl.list_studies(Window(*days), undated=options.since is None and options.until is None)
                return await (crawl.end() if options.dry_run else crawl.bring(ingest, options.rate, options.parallel))
        finally:
            await source.close()

    with phases(quiet=options.as_json) as show:
        if options.dry_run:
            report = uvloop.run(run(show))
        else:
            with audited(settings, "import", source=name) as detail:
                report = uvloop.run(run(show))
                detail |= {"studies": report.studies, "brought": report.brought, "lacking": report.lacking}
    show_report(report, dry_run=options.dry_run, as_json=options.as_json)
    if report.lacking:
        raise typer.Exit(1)


def show_report(report: CrawlReport, *, dry_run: bool, as_json: bool) -> None:
    """Print what an archive has, what came, and what is lacking."""
    if as_json:
        print_json(report)
        return
    for problem in report.problems:
        complain(problem)
    for doubt in report.doubts:
        complain(doubt)
    if report.lacking > len(report.problems):
        complain(f"{report.lacking - len(report.problems):,} further problems")
    if dry_run:
        print_line(f"{count(report.studies, 'study', 'studies')} there")
        return
    print_line(
        f"{count(report.studies, 'study', 'studies')} there, {count(report.instances, 'instance')} compared, "
        f"{report.brought:,} brought in this run"
    )
    print_line(f"{report.lacking:,} not whole here" if report.lacking else "everything that it lists is here")
