"""Why something goes where it goes, before it does: rules asked about files, and about what is stored.

Nothing is changed here. What a rule looks at is read as it is read when an instance comes in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.dispatch import Routes
from gateway.archive.deliveries.story import MOST
from gateway.archive.deliveries.table import Deliverable, deliverable
from gateway.archive.files import HEAD, read_meta
from gateway.archive.folder import DataFolder
from gateway.archive.heading import Heading, looked_for
from gateway.dicom.encode import DataSet
from gateway.dicom.source import Read
from gateway.edit.deid.rules import Change
from gateway.errors import DataSetError, EditError, NoSuchObject, NotFound, UnsupportedTransferSyntax
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin
from gateway.routing.conditions import Facts
from gateway.routing.router import Verdict

_PAGE: Final = 200


Place = tuple[str, str, str]
"""Destination, changes and rule of a delivery."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What the rules make of one instance."""

    record: InstanceRecord
    verdicts: list[Verdict]
    places: tuple[Place, ...]
    """Sorted."""
    kept_back: tuple[str, ...]
    """Destinations that it is not sent to because it came from there."""
    changes: dict[str, tuple[Change, ...] | str] = field(default_factory=dict)
    """By set, what it does to the attributes; or in words why it cannot be made, so that nothing is sent."""


def read_attributes(head: bytes, transfer_syntax_uid: str, offset: int, tags: frozenset[int]) -> Reading:
    """What rules see of a file that begins with `head` and whose data set begins at `offset`. Raises DataSetError."""
    heading = Heading(transfer_syntax_uid, len(head), looked_for(tags))
    heading.look([head[offset:]], complete=True)
    return heading.record(), heading.attributes


Reading = tuple[InstanceRecord, DataSet]


def explain_file(path: Path, routes: Routes, origin: Origin) -> Explained:
    """What would become of a file that came so. Blocks. Raises DataSetError where it is no DICOM file, and OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        meta = read_meta(head)
        if meta is None:
            raise DataSetError("not a DICOM file (PS3.10 §7.1), or a DICOMDIR")
        syntax, start = meta.transfer_syntax_uid, meta.data_set_offset
        record, attributes = read_attributes(head, syntax, start, routes.router.wanted)
        facts = Facts(origin.calling_aet, origin.called_aet, origin.peer, origin.via, origin.received_at, attributes)
        told = explain(routes, record, facts)

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return _with_changes(told, routes, read, start, path.stat().st_size, syntax)


async def explain_stored(folder: DataFolder, routes: Routes, name: str) -> AsyncIterator[tuple[str, Explained]]:
    """The same of what is stored under a name, each with its SOP Instance UID. NotFound where nothing is."""
    async for item, record, facts in stored(folder, routes.router.wanted, name=name):
        opened = folder.store.open(item.located.key)
        try:
            where = item.located.data_set_offset, item.located.size, item.located.transfer_syntax_uid
            yield item.located.sop_uid, _with_changes(explain(routes, record, facts), routes, opened.read, *where)
        finally:
            opened.close()


def _with_changes(told: Explained, routes: Routes, read: Read, start: int, end: int, syntax: str) -> Explained:
    made: dict[str, tuple[Change, ...] | str] = {}
    for name in dict.fromkeys(changes for _, changes, _ in told.places if changes):
        try:
            edited = routes.change_sets[name].apply(read, start, end, syntax)
        except (DataSetError, EditError, UnsupportedTransferSyntax) as error:
            made[name] = str(error)
        else:
            made[name] = edited.changes
            edited.close()
    return replace(told, changes=made)


def explain(routes: Routes, record: InstanceRecord, facts: Facts) -> Explained:
    """What the rules make of an instance."""
    places, kept_back = places_of(routes, facts)
    return Explained(record, routes.router.explain(facts), places, kept_back)


def places_of(routes: Routes, facts: Facts) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """`Explained.places` and `Explained.kept_back`."""
    places, kept_back = set(), set()
    for name, rule in routes.router.route(facts):
        wishes = routes.wishes(name, rule, facts.calling_aet)
        places |= {(wish.destination, wish.changes, name) for wish in wishes}
        kept_back |= set(rule.destinations) - {wish.destination for wish in wishes}
    return tuple(sorted(places)), tuple(sorted(kept_back))


async def stored(
    folder: DataFolder, tags: frozenset[int], *, name: str = "", since: float = 0.0
) -> AsyncIterator[tuple[Deliverable, InstanceRecord, Facts]]:
    """What rules see of stored instances: of those of a study or instance by `name`, or of all that came `since`.

    One whose file cannot be read is passed over. Raises NotFound where nothing has the name.
    """
    async for item in _named(folder, name) if name else _since(folder, since):
        try:
            opened = folder.store.open(item.located.key)
        except NoSuchObject:
            continue
        try:
            head = opened.read(0, HEAD)
        finally:
            opened.close()
        try:
            record, attributes = read_attributes(
                head, item.located.transfer_syntax_uid, item.located.data_set_offset, tags
            )
        except DataSetError:
            continue
        origin = item.calling_aet, item.called_aet, item.peer, item.via, item.received_at
        yield item, record, Facts(*origin, attributes)


async def _named(folder: DataFolder, name: str) -> AsyncIterator[Deliverable]:
    rows = await folder.database.fetch(queries.NAMED_INSTANCES, name, MOST)
    studies = [] if rows else await folder.database.fetch(queries.NAMED_STUDIES, name, MOST)
    if not rows and not studies:
        raise NotFound(f"nothing here is called {name[:80]}")
    for row in rows:
        yield deliverable(row)
    for study in studies:
        after = 0
        while page := await folder.database.fetch(queries.STUDY_INSTANCES, study[1], after, _PAGE):
            after = int(page[-1][0])
            for row in page:
                yield deliverable(row)


async def _since(folder: DataFolder, since: float) -> AsyncIterator[Deliverable]:
    after = 0
    while page := await folder.database.fetch(queries.INSTANCES_SINCE, since, after, _PAGE):
        after = int(page[-1][0])
        for row in page:
            yield deliverable(row)
