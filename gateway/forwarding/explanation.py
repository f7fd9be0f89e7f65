"""Explanations of what the rules do with a file or a stored instance, without doing it.

Nothing is changed here. Attributes are read exactly as at the intake of an instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from gateway.database.database import Database
from gateway.dicom.encode import DataSet
from gateway.dicom.source import Read
from gateway.edit.deid.rules import Change
from gateway.errors import DataSetError, EditError, NoSuchObject, NotFound, UnsupportedTransferSyntax
from gateway.forwarding import queries
from gateway.forwarding.rule_engine import CompiledRules, facts_of
from gateway.forwarding.table import Deliverable, deliverable
from gateway.forwarding.trace import MAX_TRACED
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin
from gateway.ingest.files import MAX_HEAD_BYTES, read_meta
from gateway.ingest.header_scan import HeaderScanner, wanted_tags
from gateway.routing.conditions import Facts
from gateway.routing.router import Verdict
from gateway.storage.store import Store

_PAGE: Final = 200


class Archived(Protocol):
    """The index and the files of an archive."""

    @property
    def database(self) -> Database:
        """The index."""

    @property
    def store(self) -> Store:
        """The files."""


PlannedDelivery = tuple[str, str, str]
"""Destination, change set and rule of a delivery."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan of the rules for one instance."""

    record: InstanceRecord
    verdicts: list[Verdict]
    planned: tuple[PlannedDelivery, ...]
    """Sorted."""
    withheld: tuple[str, ...]
    """Destinations to which the instance is not sent because it came from them."""
    changes: dict[str, tuple[Change, ...] | str] = field(default_factory=dict)
    """The changes to the attributes, by change set; or the reason why the set cannot be applied and nothing is sent."""


def read_attributes(head: bytes, transfer_syntax_uid: str, offset: int, tags: frozenset[int]) -> Reading:
    """The record and attributes that rules read from a file: `head` is its beginning, `offset` the start of its data
    set.

    Raises: DataSetError when the data set cannot be parsed.
    """
    scanner = HeaderScanner(transfer_syntax_uid, len(head), wanted_tags(tags))
    scanner.scan([head[offset:]], complete=True)
    return scanner.record(), scanner.attributes


Reading = tuple[InstanceRecord, DataSet]


def explain_file(path: Path, compiled: CompiledRules, origin: Origin) -> Explanation:
    """Explain what the rules would do with a file received from `origin`. Blocks.

    Raises: DataSetError when the file is not DICOM; OSError when it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEAD_BYTES)
        meta = read_meta(head)
        if meta is None:
            raise DataSetError("not a DICOM file (PS3.10 §7.1), or a DICOMDIR")
        syntax, start = meta.transfer_syntax_uid, meta.data_set_offset
        record, attributes = read_attributes(head, syntax, start, compiled.router.wanted)
        explanation = explain(compiled, record, facts_of(origin, attributes))

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return _with_changes(explanation, compiled, read, start, path.stat().st_size, syntax)


async def explain_stored(
    folder: Archived, compiled: CompiledRules, name: str
) -> AsyncIterator[tuple[str, Explanation]]:
    """Explain every stored instance of that name, each with its SOP Instance UID. Raises NotFound when there is
    none."""
    async for item, record, facts in stored(folder, compiled.router.wanted, name=name):
        opened = folder.store.open(item.located.key)
        try:
            where = item.located.data_set_offset, item.located.size, item.located.transfer_syntax_uid
            yield item.located.sop_uid, _with_changes(explain(compiled, record, facts), compiled, opened.read, *where)
        finally:
            opened.close()


def _with_changes(
    explanation: Explanation, compiled: CompiledRules, read: Read, start: int, end: int, syntax: str
) -> Explanation:
    made: dict[str, tuple[Change, ...] | str] = {}
    for name in dict.fromkeys(changes for _, changes, _ in explanation.planned if changes):
        try:
            edited = compiled.change_sets[name].apply(read, start, end, syntax)
        except (DataSetError, EditError, UnsupportedTransferSyntax) as error:
            made[name] = str(error)
        else:
            made[name] = edited.changes
            edited.close()
    return replace(explanation, changes=made)


def explain(compiled: CompiledRules, record: InstanceRecord, facts: Facts) -> Explanation:
    """Explain what the rules do with one instance."""
    planned, withheld = planned_deliveries(compiled, facts)
    return Explanation(record, compiled.router.explain(facts), planned, withheld)


def planned_deliveries(compiled: CompiledRules, facts: Facts) -> tuple[tuple[PlannedDelivery, ...], tuple[str, ...]]:
    """The values of `Explanation.planned` and `Explanation.withheld`."""
    planned, withheld = set(), set()
    for name, rule in compiled.router.route(facts):
        targets = compiled.targets(name, rule, facts.calling_aet)
        planned |= {(target.destination, target.changes, name) for target in targets}
        withheld |= set(rule.destinations) - {target.destination for target in targets}
    return tuple(sorted(planned)), tuple(sorted(withheld))


async def stored(
    folder: Archived, tags: frozenset[int], *, name: str = "", since: float = 0.0, newest: int = 0
) -> AsyncIterator[tuple[Deliverable, InstanceRecord, Facts]]:
    """Read what rules see of stored instances: those of the study or instance `name`, the `newest` so many, or all
    received after `since`.

    An instance whose file cannot be read is skipped. Raises: NotFound when nothing has the name.
    """
    chosen = _named(folder, name) if name else _newest(folder, newest) if newest else _since(folder, since)
    async for item in chosen:
        try:
            record, attributes = await asyncio.to_thread(read_stored, folder.store, item, tags)
        except (NoSuchObject, DataSetError):
            continue
        origin = item.calling_aet, item.called_aet, item.peer, item.via, item.received_at
        yield item, record, Facts(*origin, attributes, item.located.tenant)


def read_stored(store: Store, item: Deliverable, tags: frozenset[int]) -> Reading:
    """Read the beginning of a stored instance. Blocks. Raises: NoSuchObject, DataSetError."""
    opened = store.open(item.located.key)
    try:
        head = opened.read(0, MAX_HEAD_BYTES)
    finally:
        opened.close()
    return read_attributes(head, item.located.transfer_syntax_uid, item.located.data_set_offset, tags)


async def _newest(folder: Archived, count: int) -> AsyncIterator[Deliverable]:
    for row in await folder.database.fetch(queries.NEWEST_INSTANCES, count):
        yield deliverable(row)


async def _named(folder: Archived, name: str) -> AsyncIterator[Deliverable]:
    rows = await folder.database.fetch(queries.NAMED_INSTANCES, name, MAX_TRACED)
    studies = [] if rows else await folder.database.fetch(queries.NAMED_STUDIES, name, MAX_TRACED)
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


async def _since(folder: Archived, since: float) -> AsyncIterator[Deliverable]:
    after = 0
    while page := await folder.database.fetch(queries.INSTANCES_SINCE, since, after, _PAGE):
        after = int(page[-1][0])
        for row in page:
            yield deliverable(row)
