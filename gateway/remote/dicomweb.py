"""Destinations of kind `dicomweb`: instances to a server by STOW-RS (PS3.18 §10.5), several in one request.

Waiting instances are sent in concurrent requests, at most one for each connection. A request that fails as a whole is
split and sent again, down to the single instance that causes the failure, which alone fails. `stow_answer.py` reads the
responses.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway import tracing
from gateway.config.destinations import DicomwebDestination
from gateway.errors import GatewayError
from gateway.http.multipart_writer import Multipart
from gateway.remote import qido
from gateway.remote.destination import Answer, DestinationUnavailable, Named, matching
from gateway.remote.http import Body, HttpClient, Reply, RequestBroken, RequestUnanswered
from gateway.remote.outgoing_file import choosing, file_of, unreadable
from gateway.remote.pending_send import PendingSend
from gateway.remote.rate_limit import Bandwidth, RateLimited
from gateway.remote.stow_answer import Stored, outcome, read_answer
from gateway.scu.transfer import Choose, Content, Instance

_DICOM: Final = "application/dicom"
_GATHER: Final = 0.005
"""Seconds that the first instance of a batch waits for others."""
_HARMLESS: Final = "/studies?limit=1"
_FAILURES: Final = frozenset({0x0000, 0x0110})
"""Failure reasons without information: Google's Healthcare API uses them for instances that it already has."""


class DicomwebServer:
    """A DICOMweb server as a destination."""

    def __init__(self, name: str, section: DicomwebDestination) -> None:
        self._name = name
        self._section = section
        self._http = HttpClient(name, section)
        self._choose = choosing(section.transfer_syntaxes)
        self._retried = matching(section.retried)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._waiting: deque[PendingSend] = deque()
        self._requests: set[asyncio.Task[None]] = set()

    async def send(self, instance: Instance) -> Answer:
        """Send one instance; see `Destination.send`."""
        pending = PendingSend.of(RateLimited(instance, self._bandwidth))
        self._waiting.append(pending)
        if len(self._requests) < self._section.connections:
            task = asyncio.get_running_loop().create_task(self._work(), name=f"to-{self._name}")
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        return await pending.answer

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """Ask by QIDO-RS, a series at a time; see `Destination.has`."""
        return await qido.present(self._http, instances)

    async def close(self) -> None:
        """Close after the running requests; waiting instances fail."""
        while self._waiting:
            self._waiting.popleft().fail(DestinationUnavailable("the destination is being closed"))
        try:
            await asyncio.gather(*self._requests, return_exceptions=True)
        finally:
            await self._http.close()

    async def _work(self) -> None:
        """Send requests, one after another, while instances wait."""
        await asyncio.sleep(_GATHER)
        while self._waiting:
            batch: list[PendingSend] = []
            while self._waiting and len(batch) < self._section.batch:
                pending = self._waiting[0]
                uid = pending.instance.sop_instance_uid
                if any(other.instance.sop_instance_uid == uid for other in batch):
                    break  # One response could not tell the two apart.
                self._waiting.popleft()
                if pending.wanted:
                    batch.append(pending)
            try:
                await self._store(batch)
            except Exception as error:
                for pending in batch:
                    pending.fail(error)
                if isinstance(error, DestinationUnavailable):
                    while self._waiting:
                        self._waiting.popleft().fail(error)
            except BaseException:
                for pending in batch:
                    pending.answer.cancel()
                raise

    async def _store(self, batch: Sequence[PendingSend]) -> None:
        """Send a batch until every instance has its answer. Raises DestinationUnavailable."""
        while batch := [pending for pending in batch if pending.wanted]:
            request = _Request(batch, self._choose, self._section.batch_size)
            first, *others = [pending.trace for pending in batch]
            try:
                # One request is of many deliveries: it is in the trace of the first, and points at the others.
                with tracing.span("STOW-RS", parent=first, links=others, about={"gateway.instances": len(batch)}):
                    batch = await self._send(request)
            finally:
                request.close()

    async def _send(self, request: _Request) -> list[PendingSend]:
        """Send one request; returns the instances that need another one."""
        await request.open(request.batch[0])
        if not request.begun:  # The first instance could not be read, and has its answer.
            return request.batch[1:]
        headers = {**qido.ACCEPT, "Content-Type": request.multipart.content_type}
        try:
            reply = await self._http.request("POST", "/studies", body=request.body, headers=headers)
        except RequestBroken as error:
            if request.culprit is not None:
                return [pending for pending in request.batch if pending is not request.culprit]
            await self._http.check(_HARMLESS)
            answer = Answer("again", None, str(error), 0)
            if isinstance(error, RequestUnanswered):  # Splitting would take hours.
                return request.rest_after(answer)
            return await self._halve(request, answer)
        if reply.status in (200, 202, 409):
            await self._resolve(request, reply)
            return request.rest
        if reply.status >= 500:
            await self._http.check(_HARMLESS)
        detail = f"{self._name}: {reply.words}"
        never = 400 <= reply.status < 500 and reply.status != 408
        return await self._halve(request, Answer("refused" if never else "again", reply.status, detail, 0))

    async def _halve(self, request: _Request, answer: Answer) -> list[PendingSend]:
        """Split a request that failed as a whole into halves; a single instance gets `answer`."""
        begun = [pending for pending in request.begun if pending.wanted]
        request.close()
        if len(begun) == 1:
            return request.rest_after(answer)
        if begun:
            middle = len(begun) // 2
            await self._store(begun[:middle])
            await self._store(begun[middle:])
        return request.rest

    async def _resolve(self, request: _Request, reply: Reply) -> None:
        """Resolve the instances of an answered request."""
        stored = read_answer(reply.headers.get("Content-Type", ""), reply.body)
        for pending in request.begun:
            uid, sent = pending.instance.sop_instance_uid, pending.instance.sent
            answer = outcome(stored, uid, self._retried, sent)
            # A 200 alone proves nothing: login pages answer 200 as well.
            unclear = answer is None or (answer.outcome != "delivered" and answer.status in _FAILURES)
            if unclear and await self._is_there(uid):
                answer = Answer("delivered", reply.status, "it is there", sent)
            pending.resolve(answer or self._unnamed(reply, stored, sent))

    def _unnamed(self, reply: Reply, stored: Stored, sent: int) -> Answer:
        refused = reply.status == 409 and not stored.named
        text = f"{self._name}: {reply.words if refused else f'it answers {reply.status}, and says nothing of this one'}"
        return Answer("refused" if refused else "again", reply.status, text, sent)

    async def _is_there(self, uid: str) -> bool:
        try:
            return await qido.has_one(self._http, uid)
        except GatewayError:
            return False  # If the server has it, the next attempt shows that.


@dataclass(slots=True, eq=False)
class _Request:
    """One multipart body (PS3.18 §8.6.1.2), with the instances written to it so far."""

    batch: list[PendingSend]
    choose: Choose
    max_bytes: int
    """Bytes after which no further instance is begun."""
    multipart: Multipart = field(default_factory=lambda: Multipart(_DICOM))
    begun: list[PendingSend] = field(default_factory=list)
    """The instances written to the body."""
    culprit: PendingSend | None = None
    """The instance whose reading failed midway."""
    _open: dict[PendingSend, Content] = field(default_factory=dict)

    @property
    def body(self) -> Body:
        return Body(self._pieces)

    @property
    def rest(self) -> list[PendingSend]:
        """The instances that need another request."""
        return [pending for pending in self.batch if pending not in self.begun]

    def rest_after(self, answer: Answer) -> list[PendingSend]:
        """Resolve every instance that was begun with one answer; returns the others."""
        for pending in self.begun:
            pending.resolve(dataclasses.replace(answer, sent=pending.instance.sent))
        return self.rest

    async def open(self, pending: PendingSend) -> None:
        """Prepare an instance. Almost every fault of an instance shows here, where it fails no other."""
        try:
            self._open[pending] = await pending.instance.prepare(self.choose)
            self.begun.append(pending)
        except Exception as error:
            pending.resolve(unreadable(error))

    def close(self) -> None:
        for content in self._open.values():
            content.close()
        self._open.clear()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        self.begun = [pending for pending in self.begun if pending in self._open]  # The body may be produced twice.
        total = 0
        for pending in self.batch:
            if total > self.max_bytes or not pending.wanted:
                continue
            if pending not in self._open:
                await self.open(pending)
                if pending not in self._open:
                    continue
            content = self._open[pending]
            pending.instance.sent = 0
            try:
                yield self.multipart.head(_DICOM)
                async with aclosing(file_of(pending.instance, content)) as pieces:
                    async for piece in pieces:
                        total += len(piece)
                        yield piece
                yield Multipart.END
            except Exception as error:
                self.culprit = pending
                pending.resolve(unreadable(error, pending.instance.sent))
                raise
            finally:
                self._open.pop(pending).close()
        yield self.multipart.close()
