"""Verification: asks a destination whether it really has the instances that it accepted, and resends those it lacks.

One job for each study and destination, due some time after the last delivery. The query itself is passed in as a
function, because destinations are opened above this module.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.database.database import Database, Script
from gateway.forwarding import queries
from gateway.forwarding.rule_engine import RuleEngine
from gateway.forwarding.table import Delivery, deliveries, priority_of, send_again
from gateway.jobs.runner import JobType
from gateway.jobs.table import Job, add_job, move_jobs

log = logging.getLogger(__name__)

VERIFICATION: Final = "proof"
"""Type of the verification jobs, and prefix of their queues."""
MAX_RESENDS: Final = 3
"""Resends of one instance that the destination accepted and did not have when asked."""
_PAGE: Final = 200

AskDestination = Callable[[str, Sequence[Delivery]], Awaitable[set[str]]]
"""Asks a destination about accepted deliveries; returns the SOP Instance UIDs, as sent, that it has."""


def schedule_verification(destination: str, study: str, due_at: float, now: float) -> Script[None]:
    """Schedule the verification of a study at a destination; a verification already scheduled moves to `due_at`."""
    chain = f"{VERIFICATION}:{study}:{destination}"
    if not (yield from move_jobs(chain, due_at, now)):
        payload = {"destination": destination, "study": study}
        queue = f"{VERIFICATION}:{destination}"
        yield from add_job(VERIFICATION, payload, now, queue=queue, chain=chain, due_at=due_at)


def verify_again(destination: str, study: str, now: float) -> Script[None]:
    """Schedule a verification, now, of every instance of a study that a destination accepted, verified ones
    included."""
    yield queries.FORGET_PROOFS, (study, destination)
    yield from schedule_verification(destination, study, now, now)


class Verification:
    """Handles the jobs of type `VERIFICATION`."""

    def __init__(
        self, database: Database, ask: AskDestination, rule_engine: RuleEngine, *, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._ask = ask
        self._rule_engine = rule_engine
        self._clock = clock

    @property
    def kind(self) -> JobType:
        return JobType(self.work)

    async def work(self, job: Job) -> None:
        """Verify every instance of the study that the destination accepted and that was not verified since."""
        destination, study, after = str(job.payload["destination"]), str(job.payload["study"]), 0
        while rows := await self._database.fetch(queries.TO_PROVE, study, destination, after, _PAGE):
            accepted = deliveries(rows)
            after = accepted[-1].id
            present = await self._ask(destination, accepted)
            await self._database.write(lambda accepted=accepted, present=present: self._decide(accepted, present))  # type: ignore[misc]

    def _decide(self, accepted: Sequence[Delivery], present: set[str]) -> Script[None]:
        now = self._clock()
        for delivery in accepted:
            if delivery.sent_sop_uid in present:
                yield queries.PROVEN, (delivery.id, now)
                continue
            ((times,),) = yield queries.UNPROVEN, (delivery.id,)
            log.warning("%s accepted instance %s and does not have it", delivery.destination, delivery.sent_sop_uid)
            if times <= MAX_RESENDS:
                yield from send_again(delivery, priority_of(delivery, self._rule_engine.compiled.settings), now)
            else:
                why = f"{delivery.destination} accepted it {times} times and does not have it"
                yield queries.LACKING, (delivery.id, why, now)
