"""Storage commitment as a use case (PS3.4 Annex J): requests of peers, their decision, and the report of the outcome.

A request is a row and a job in one transaction, before it is answered: its outcome is reported whatever happens then.
Modalities delete what is committed. A row in the index is therefore not enough: the file is checked as well, and where
destinations are configured, only what each of them has committed is committed here.

`scu/commitment.py` opens associations; requests and reports are received in `scp/commitment.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence

from gateway.config import Modality, Settings
from gateway.config.tenants import EVERYBODYS
from gateway.database.database import Database, Row, Script
from gateway.database.view import VIEW, seeing, tenant_of_task
from gateway.dimse import commitment, status
from gateway.dimse.commitment import Outcome, Reference
from gateway.errors import ConfigurationError, GatewayError, NoSuchObject, StorageError
from gateway.jobs.runner import JobType, Postpone, Retry
from gateway.jobs.table import Job, add_job, expedite_jobs
from gateway.scu.commitment import report_commitment, request_commitment
from gateway.scu.node import Node, find_node, node_of
from gateway.storage.store import Store
from gateway.workflow import queries
from gateway.workflow.commitment_requests import COMMITTED, KIND, UNDECIDED, Commitment, not_stored_here

log = logging.getLogger(__name__)

GRACE = 90.0
"""Seconds in which the association of the request may take the report, before another one is opened for it."""
WAIT_ON_ASSOCIATION = 5.0
"""Seconds to wait for the report of a destination on the association of our request."""
ASK_AGAIN = 300.0
"""Seconds before a destination that lacked some instance is asked again."""
SILENCE = 3600.0
"""Seconds before a destination that did not report is asked again."""
_AT_ONCE = 200
_ATTEMPTS = 100


def new_transaction_uid() -> str:
    """A UID for a request of ours (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def open_commitment(
    transaction_uid: str,
    references: Sequence[Reference],
    peer_aet: str,
    our_aet: str,
    now: float,
    report_at: float,
    unseen: Collection[str] = (),
    tenant: str = "",
) -> Script[int]:
    """Add a peer's request, and the job that reports its outcome at `report_at` unless the association has taken it.

    A transaction UID that the peer reuses for other instances, while the first request is open, fails as a whole
    (0131H). What is `unseen` (SOP Instance UIDs) fails as what is not here.
    """
    rows = yield queries.FIND_COMMITMENTS, (transaction_uid, "SCP")
    reason = UNDECIDED
    for row in rows:
        earlier = Commitment(*row)
        if (earlier.state, earlier.peer_aet, earlier.tenant) == ("open", peer_aet, tenant):
            items = yield queries.COMMITMENT_ITEMS, (earlier.id,)
            if {(one[0], one[1]) for one in items} != set(references):
                reason = commitment.DUPLICATE_TRANSACTION_UID
    number = yield from _add("SCP", transaction_uid, references, peer_aet, our_aet, "", 0, now, reason, tenant)
    for uid in unseen if reason == UNDECIDED else ():
        yield queries.DECIDE_ITEM, (number, uid, commitment.NO_SUCH_INSTANCE)
    yield from add_job(
        KIND,
        {"commitment": number},
        now,
        queue=f"{KIND} {peer_aet}",
        chain=f"{KIND}-{number}",
        due_at=report_at,
    )
    return number


def _add(
    role: str,
    transaction_uid: str,
    references: Iterable[Reference],
    peer_aet: str,
    our_aet: str,
    destination: str,
    cause: int,
    now: float,
    reason: int,
    tenant: str,
) -> Script[int]:
    ((number,),) = yield (
        queries.ADD_COMMITMENT,
        (role, transaction_uid, peer_aet, our_aet, destination, cause, now, tenant),
    )
    for reference in references:
        yield queries.ADD_COMMITMENT_ITEM, (number, *reference, reason)
    return int(number)


class Commitments:
    """The requests of one gateway, over its index, store and current settings."""

    def __init__(
        self,
        database: Database,
        store: Store,
        settings: Callable[[], Settings],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` tells the job runner that a job may be due."""
        self._database = database
        self._store = store
        self._settings = settings
        self._clock = clock
        self.wake = wake

    @property
    def kind(self) -> JobType:
        """The job type: retried for four days, after which the peer has to ask again."""
        return JobType(self.work, lambda job: Retry(attempts=_ATTEMPTS))

    async def open(self, transaction_uid: str, references: Sequence[Reference], peer_aet: str, our_aet: str) -> int:
        """Commit a request. Once this returns, the request is decided and its outcome reported, whatever happens; what
        the requester does not see now is not here for them."""
        now, tenant, uids = self._clock(), tenant_of_task(), [each.sop_instance_uid for each in references]
        unseen = [] if VIEW.get() is None else await not_stored_here(self._database, uids)
        with seeing(None):
            return await self._database.write(
                lambda: open_commitment(
                    transaction_uid, references, peer_aet, our_aet, now, now + GRACE, unseen, tenant
                )
            )

    async def get(self, number: int) -> Commitment | None:
        rows = await self._database.fetch(queries.GET_COMMITMENT, number)
        return Commitment(*rows[0]) if rows else None

    async def outcome(self, number: int) -> Outcome | None:
        """Decide what is undecided. None while the answer of a destination is outstanding."""
        found = await self.get(number)
        if found is None:
            return None
        items = await self._items(number)
        if any(reason == UNDECIDED for _, reason in items):
            items = await self._decide(found, items)
        if any(reason == UNDECIDED for _, reason in items):
            return None
        return Outcome(
            found.transaction_uid,
            [reference for reference, reason in items if reason == COMMITTED],
            [(reference, reason) for reference, reason in items if reason != COMMITTED],
        )

    async def reported(self, number: int) -> None:
        """Record that the outcome was reported, which leaves nothing for the job to do."""
        found, now = await self.get(number), self._clock()
        if found is None:
            return

        def script() -> Script[None]:
            yield queries.END_COMMITMENT, (number, "reported", now)
            yield from expedite_jobs(found.chain, now)

        await self._database.write(script)
        self.wake()

    async def not_reported(self, number: int) -> None:
        """Make the job due now: the association of the request did not take the report."""
        now = self._clock()
        await self._database.write(lambda: expedite_jobs(f"{KIND}-{number}", now))
        self.wake()

    async def work(self, job: Job) -> None:
        """Report the outcome on an association of our own."""
        number = int(job.payload["commitment"])
        found = await self.get(number)
        if found is None or found.state != "open":
            return
        outcome = await self.outcome(number)
        if outcome is None:
            raise Postpone(60.0, "a destination has not committed yet")
        try:
            await self._tell(found, outcome)
        except GatewayError:
            if job.attempts >= _ATTEMPTS:
                await self._database.write(lambda: _end(number, "failed", self._clock()))
            raise

    async def _tell(self, found: Commitment, outcome: Outcome) -> None:
        node = await asyncio.to_thread(_node_of_peer, self._settings(), found)
        await report_commitment(node, outcome, found.our_aet)
        log.info("commitment %s: reported to %s", found.transaction_uid, found.peer_aet)
        await self._database.write(lambda: _end(found.id, "reported", self._clock()))

    # --- decisions

    async def _items(self, number: int) -> list[tuple[Reference, int]]:
        rows = await self._database.fetch(queries.COMMITMENT_ITEMS, number)
        return [(Reference(row[0], row[1]), int(row[2])) for row in rows]

    async def _decide(self, found: Commitment, items: list[tuple[Reference, int]]) -> list[tuple[Reference, int]]:
        before = dict(items)
        open_ones = [reference for reference, reason in items if reason == UNDECIDED]
        decided = await self.check(open_ones, found.tenant)
        settings = self._settings().commitment
        if settings.destinations:
            ours = [reference for reference in open_ones if decided[reference] == COMMITTED]
            decided.update(await self._decided_elsewhere(found, ours))
        now = self._clock()
        changed = {reference: reason for reference, reason in decided.items() if reason != UNDECIDED}
        done = len(changed) == len(open_ones)

        def script() -> Script[None]:
            for reference, reason in changed.items():
                if reason == COMMITTED and not (yield queries.IS_STORED, (reference.sop_instance_uid, found.tenant)):
                    reason = decided[reference] = commitment.NO_SUCH_INSTANCE  # deleted since the check
                yield queries.DECIDE_ITEM, (found.id, reference.sop_instance_uid, reason)
            if done:
                yield queries.DECIDE_COMMITMENT, (found.id, now, now + settings.keep_days * 86400)

        await self._database.write(script)
        return list({**before, **decided}.items())

    async def check(self, references: Sequence[Reference], tenant: str) -> dict[Reference, int]:
        """The status of each instance of a tenant, with '' of anybody: committed with a row, the SOP class, and a file
        of the length that was stored."""
        found: dict[Reference, int] = {}
        for start in range(0, len(references), _AT_ONCE):
            some = references[start : start + _AT_ONCE]
            first = await self._check_some(some, tenant)
            # A missing file may have been replaced by a newer version since its row was read: check once more.
            again = [reference for reference in some if first[reference] == commitment.PROCESSING_FAILURE]
            found.update(first)
            if again:
                found.update(await self._check_some(again, tenant))
        for reference, reason in found.items():
            if reason == commitment.PROCESSING_FAILURE:
                log.error("instance %s is in the index, but its file is not whole", reference.sop_instance_uid)
        return found

    async def _check_some(self, references: Sequence[Reference], tenant: str) -> dict[Reference, int]:
        uids = [reference.sop_instance_uid for reference in references]
        rows = await self._database.fetch(queries.stored_instances(len(uids)), *uids, tenant)
        return await asyncio.to_thread(self._look, references, rows)

    def _look(self, references: Sequence[Reference], rows: list[Row]) -> dict[Reference, int]:
        """Check files against rows. Blocking. For a UID under several parents, any whole file of the right class
        suffices."""
        by_uid: dict[str, list[Row]] = {}
        for row in rows:
            by_uid.setdefault(row[0], []).append(row)
        found = {}
        for reference in references:
            candidates = by_uid.get(reference.sop_instance_uid, [])
            fitting = [row for row in candidates if row[1] == reference.sop_class_uid]
            if any(self._is_whole(row[2], row[3]) for row in fitting):
                found[reference] = COMMITTED
            elif fitting:
                found[reference] = commitment.PROCESSING_FAILURE
            else:
                found[reference] = commitment.CLASS_INSTANCE_CONFLICT if candidates else commitment.NO_SUCH_INSTANCE
        return found

    def _is_whole(self, key: str, size: int) -> bool:
        try:
            with contextlib.closing(self._store.open(key)) as stored:
                return stored.size == size
        except NoSuchObject:
            return False
        except StorageError as error:
            log.error("%s", error)
            return False

    # --- destinations that must have committed as well

    async def _decided_elsewhere(self, found: Commitment, references: list[Reference]) -> dict[Reference, int]:
        """The decision of all destinations; UNDECIDED where one is outstanding or to be asked again."""
        settings = self._settings().commitment
        decided = dict.fromkeys(references, COMMITTED)
        late = self._clock() > found.requested_at + settings.patience
        for name in settings.destinations:
            try:
                answers = await self._answers(found, name, references)
            except GatewayError as error:
                if not late:
                    raise
                log.error("commitment %s: %s could not be asked: %s", found.transaction_uid, name, error)
                answers = {}
            for reference in references:
                reason = answers.get(reference, UNDECIDED)
                if reason != COMMITTED and decided[reference] in (COMMITTED, UNDECIDED):
                    failed = reason if reason != UNDECIDED else commitment.PROCESSING_FAILURE
                    decided[reference] = failed if late else UNDECIDED
        return decided

    async def _answers(self, found: Commitment, name: str, references: list[Reference]) -> dict[Reference, int]:
        """The answers of a destination so far; asks, or asks again, when that is due."""
        rows = await self._database.fetch(queries.ASKED_OF, found.id, name)
        answers: dict[Reference, int] = {}
        if rows:
            last = Commitment(*rows[0])
            answers = dict(await self._items(last.id))
            if all(answers.get(reference) == COMMITTED for reference in references):
                return answers
            # A failed request is repeated with the next attempt of the job.
            pause = {"open": SILENCE, "reported": ASK_AGAIN}.get(last.state, 0.0)
            if self._clock() < last.requested_at + pause:
                return answers
        outcome = await self.ask(name, references, cause=found.id)
        if outcome is None:
            return answers
        answers.update(dict.fromkeys(outcome.committed, COMMITTED))
        answers.update(dict(outcome.failed))
        return answers

    async def ask(
        self,
        name: str,
        references: Sequence[Reference],
        *,
        cause: int = 0,
        transaction_uid: str = "",
        wait_s: float = WAIT_ON_ASSOCIATION,
    ) -> Outcome | None:
        """Request the commitment of a destination (SCU). None while its report is outstanding after `wait_s` seconds.

        `transaction_uid` is for a caller that must know it before; empty: a new one.

        Raises: ConfigurationError when it is not configured; the errors of `request_commitment`.
        """
        node = await asyncio.to_thread(find_node, self._settings(), name)
        transaction_uid, now, tenant = transaction_uid or new_transaction_uid(), self._clock(), tenant_of_task()
        number = await self._database.write(
            lambda: _add(
                "SCU", transaction_uid, references, node.aet, node.calling_aet, name, cause, now, UNDECIDED, tenant
            )
        )

        async def take(outcome: Outcome) -> int:
            return await self.record(outcome, node.aet)

        try:
            return await request_commitment(node, transaction_uid, references, wait=wait_s, take=take)
        except GatewayError:
            await self._database.write(lambda: _end(number, "failed", self._clock()))
            raise

    async def record(self, outcome: Outcome, calling_aet: str) -> int:
        """Record a received report, on whichever association; returns the status to answer.

        Only the node that was asked may report: any other could make the gateway commit what is stored nowhere.
        """
        with seeing(None):  # It is about what was asked for, by whomever.
            rows = await self._database.fetch(queries.FIND_COMMITMENTS, outcome.transaction_uid, "SCU")
        requests = [Commitment(*row) for row in rows]
        if not requests:
            log.warning("a report about transaction %s, which this gateway did not open", outcome.transaction_uid)
            return status.INVALID_ARGUMENT_VALUE
        found = requests[0]
        if found.peer_aet != calling_aet:
            log.warning(
                "a report about transaction %s by %r, but %r was asked",
                *(found.transaction_uid, calling_aet, found.peer_aet),
            )
            return status.NOT_AUTHORIZED
        now = self._clock()

        def script() -> Script[None]:
            for reference in outcome.committed:
                yield queries.DECIDE_ITEM, (found.id, reference.sop_instance_uid, COMMITTED)
            for reference, reason in outcome.failed:
                yield queries.DECIDE_ITEM, (found.id, reference.sop_instance_uid, reason or UNDECIDED)
            yield queries.END_COMMITMENT, (found.id, "reported", now)
            if found.cause:
                yield from expedite_jobs(f"{KIND}-{found.cause}", now)

        await self._database.write(script)
        self.wake()
        return status.SUCCESS


def _node_of_peer(settings: Settings, request: Commitment) -> Node:
    """The node of the peer of a request, called from the title that it called: no modality of the same AE title that is
    another tenant's. Blocks. Raises ConfigurationError."""
    known = [(name, each) for name, each in settings.modalities.items() if each.aet == request.peer_aet and each.port]
    own = [(name, each) for name, each in known if not _is_of_another(settings, each, request.tenant)]
    for name, modality in own or ([] if request.tenant else known):
        return dataclasses.replace(node_of(settings, name, modality), calling_aet=request.our_aet)
    raise ConfigurationError(
        f"{request.peer_aet!r} cannot be called: add it as [modalities.NAME] with aet, host and port"
    )


def _is_of_another(settings: Settings, modality: Modality, tenant: str) -> bool:
    """Whether a modality is there for other tenants alone, or has roles of others alone."""
    of_roles = [role.tenant for name in modality.roles if (role := settings.roles.get(name)) is not None]
    tenants = {modality.tenant, *of_roles} - {"", EVERYBODYS}
    return bool(tenants) and tenant not in tenants


def _end(number: int, state: str, now: float) -> Script[bool]:
    return bool((yield queries.END_COMMITMENT, (number, state, now)))
