"""What else is written in the transaction of an instance: its deliveries, and the moments that rules about whole series
and studies wait for.

It is data, made ready before, so that the transaction can be run by another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.table import Deliverable, Wish, add_delivery, supersede
from gateway.config.routes import Rule
from gateway.database.database import Script
from gateway.index.locate import START, Located
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin, Placement, Stored
from gateway.jobs.table import add_job, move_jobs

SETTLING: Final = "settling"
"""Kind and lane of the jobs that wait until a series or study has no more news."""


class Following(NamedTuple):
    """What follows one instance."""

    record: InstanceRecord
    placement: Placement
    origin: Origin
    wishes: tuple[Wish, ...]
    """Where it is to go, by itself."""
    settling: Mapping[str, Rule]
    """By name, the rules that wait for its series or study."""
    clock: Callable[[], float]

    def script(self, stored: Stored) -> Script[None]:
        """To be run once the instance is entered."""
        if stored.version == 1 and not self.wishes and not self.settling:
            return
        now = self.clock()
        if stored.version > 1:
            yield from supersede(self.record.public_id, stored.version, now)
        if self.wishes:
            item = yield from _item(self.record, self.placement, self.origin, stored.version, self.wishes)
            for wish in self.wishes:
                yield from add_delivery(wish, item, now)
        for name, rule in self.settling.items():
            yield from _settle_later(name, rule, self.record, now)


def _item(
    record: InstanceRecord, placement: Placement, origin: Origin, version: int, wishes: Iterable[Wish]
) -> Script[Deliverable]:
    parents = record.parents
    began = origin.received_at
    if any(wish.newest_first for wish in wishes):
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
    )


def _settle_later(name: str, rule: Rule, record: InstanceRecord, now: float) -> Script[None]:
    """There is news of a series or study that a rule waits for: it waits anew."""
    whole = record.parents.study_public_id if rule.each == "study" else record.parents.series_public_id
    chain, due = f"{SETTLING}:{whole}:{name}", now + rule.stable_after
    if not (yield from move_jobs(chain, due)):
        payload = {"rule": name, "level": rule.each, "id": whole}
        yield from add_job(SETTLING, payload, now, chain=chain, due_at=due)
