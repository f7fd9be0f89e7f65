"""Proof: asking a destination whether it really has what it has taken, and sending again what it lacks.

A job for each study and destination, due some time after its last delivery. What is asked, and how, is the
destination's; it is handed in, since who speaks to destinations stands above.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.dispatch import Dispatch
from gateway.archive.deliveries.table import Delivery, deliveries, priority_of, send_again
from gateway.database.database import Database, Script
from gateway.jobs.runner import Kind
from gateway.jobs.table import Job, add_job, move_jobs

log = logging.getLogger(__name__)

PROOF: Final = "proof"
"""Kind of these jobs; their lanes begin with it too."""
MOST: Final = 3
"""Times that an instance is sent again because it was not there when asked for."""
_PAGE: Final = 200

Ask = Callable[[str, Sequence[Delivery]], Awaitable[set[str]]]
"""Given a destination and what it has taken, the SOP Instance UIDs, as they left, that it has."""


def ask_later(destination: str, study: str, due_at: float, now: float) -> Script[None]:
    """A destination has taken something of a study: it is asked then, or later where more goes there meanwhile."""
    chain = f"{PROOF}:{study}:{destination}"
    if not (yield from move_jobs(chain, due_at)):
        payload = {"destination": destination, "study": study}
        yield from add_job(PROOF, payload, now, lane=f"{PROOF}:{destination}", chain=chain, due_at=due_at)


def prove_again(destination: str, study: str, now: float) -> Script[None]:
    """Ask about everything of a study that a destination has taken, now, whatever it said before."""
    yield queries.FORGET_PROOFS, (study, destination)
    yield from ask_later(destination, study, now, now)


class Proof:
    """Does the jobs of kind `PROOF`."""

    def __init__(self, database: Database, ask: Ask, dispatch: Dispatch, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._ask = ask
        self._dispatch = dispatch
        self._clock = clock

    @property
    def kind(self) -> Kind:
        return Kind(self.work)

    async def work(self, job: Job) -> None:
        """The job: ask about all of a study that the destination has taken since it was last asked."""
        destination, study, after = str(job.payload["destination"]), str(job.payload["study"]), 0
        while rows := await self._database.fetch(queries.TO_PROVE, study, destination, after, _PAGE):
            asked = deliveries(rows)
            after = asked[-1].id
            there = await self._ask(destination, asked)
            await self._database.write(lambda asked=asked, there=there: self._decide(asked, there))  # type: ignore[misc]

    def _decide(self, asked: Sequence[Delivery], there: set[str]) -> Script[None]:
        now = self._clock()
        for delivery in asked:
            if delivery.sent_sop_uid in there:
                yield queries.PROVEN, (delivery.id, now)
                continue
            ((times,),) = yield queries.UNPROVEN, (delivery.id,)
            log.warning("%s has taken instance %s and has it not", delivery.destination, delivery.sent_sop_uid)
            if times <= MOST:
                yield from send_again(delivery, priority_of(delivery, self._dispatch.routes.settings), now)
            else:
                why = f"{delivery.destination} took it {times} times and has it not"
                yield queries.LACKING, (delivery.id, why, now)
