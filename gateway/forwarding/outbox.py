"""The outbox: rows that are committed in the transaction of an instance: its deliveries and stability timers, and the
label of what waits in the inbox.

An entry is plain data, computed before the transaction, so that another process can run the transaction; it is the same
for all instances of which the rules want the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from gateway.config.routes import Rule
from gateway.database.database import Script
from gateway.forwarding import queries
from gateway.forwarding.table import Deliverable, DeliveryTarget, add_delivery, supersede
from gateway.index.inbox import put_in_inbox
from gateway.index.locate import START, Located
from gateway.index.record import InstanceRecord
from gateway.index.store import FileLocation, Origin, Stored
from gateway.jobs.table import add_job, move_jobs, traced

STABILITY: Final = "settling"
"""Job type and queue of the timers that wait until a series or study is stable."""


class OutboxEntry(NamedTuple):
    """The rows to write with one instance."""

    targets: tuple[DeliveryTarget, ...]
    """The deliveries of this instance alone."""
    stability_rules: Mapping[str, Rule]
    """The rules, by name, that wait for the series or study of the instance to be stable."""
    waits: bool
    """Whether the study waits in the inbox."""
    clock: Callable[[], float]
    traceparent: str = ""
    """The trace of the instance, which its deliveries continue; '' for none."""

    @property
    def noted(self) -> dict[str, Any] | None:
        """The deliveries and the names of the rules, as the frame of a new instance notes them for `restoration.py`."""
        if self.waits:
            return None
        if not self.targets and not self.stability_rules:
            return {}
        return {"targets": self.targets, "rules": list(self.stability_rules), **traced(self.traceparent)}

    def script(self, record: InstanceRecord, placement: FileLocation, origin: Origin, stored: Stored) -> Script[None]:
        """Write the rows, once the rows of the instance are written."""
        if self.waits:
            yield from put_in_inbox(record.parents.study_public_id, [record.public_id])
        if stored.version == 1 and not self.targets and not self.stability_rules:
            return
        now = self.clock()
        if stored.version > 1:
            yield from supersede(record.public_id, stored.version, now)
        if self.targets:
            item = yield from _item(record, placement, origin, stored.version, self.targets)
            for target in self.targets:
                yield from add_delivery(target, item, now, self.traceparent)
        for name, rule in self.stability_rules.items():
            parents = record.parents
            yield from restart_timer(name, rule, parents.study_public_id, parents.series_public_id, now)


def _item(
    record: InstanceRecord, placement: FileLocation, origin: Origin, version: int, targets: Iterable[DeliveryTarget]
) -> Script[Deliverable]:
    parents = record.parents
    began = origin.received_at
    if any(target.newest_first for target in targets):
        ((began,),) = yield queries.STUDY_BEGAN, (parents.study_public_id,)
    located = Located(
        0,
        parents.study_instance_uid,
        parents.series_instance_uid,
        record.sop_instance_uid,
        record.sop_class_uid,
        placement.transfer_syntax_uid,
        placement.key,
        placement.size,
        placement.data_set_offset,
        version,
        START,
    )
    return Deliverable(
        located,
        parents.study_public_id,
        parents.series_public_id,
        record.public_id,
        origin.calling_aet,
        began,
        origin.received_at,
        origin.via,
        origin.called_aet,
        origin.peer,
        placement.lacking,
    )


def restart_timer(name: str, rule: Rule, study: str, series: str, now: float) -> Script[None]:
    """Restart the stability timer of a rule for a study or series, by public id, of which an instance has arrived."""
    whole = study if rule.each == "study" else series
    chain, due = f"{STABILITY}:{whole}:{name}", now + rule.stable_after
    if not (yield from move_jobs(chain, due, now)):
        payload = {"rule": name, "level": rule.each, "id": whole}
        yield from add_job(STABILITY, payload, now, chain=chain, due_at=due)
