"""Destinations of kind `dicomweb`: instances to a server by STOW-RS (PS3.18 §10.5), several in one request.

What waits is put into requests, as many at once as there may be connections. A request that fails as a whole is sent
again in halves, down to the one instance whose fault it is; that one alone is told so. What an answer means is
`stow_answer.py`'s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway.config.destinations import DicomwebDestination
from gateway.errors import GatewayError
from gateway.remote import qido
from gateway.remote.asked import Asked
from gateway.remote.destination import Answer, DestinationUnavailable, Named, matching
from gateway.remote.http import Body, HttpClient, Reply, RequestBroken, RequestUnanswered
from gateway.remote.metering import Bandwidth, Metered
from gateway.remote.outgoing_file import choosing, file_of, unreadable
from gateway.remote.stow_answer import Stored, outcome, read_answer
from gateway.scu.sending import Choose, Content, Instance

_GATHER: Final = 0.005
"""Seconds that the first of a batch waits for others."""
_HARMLESS: Final = "/studies?limit=1"
_FAILURES: Final = frozenset({0x0000, 0x0110})
"""Failure reasons that say nothing of why: Google's Healthcare API gives such to what it has already."""


class DicomwebServer:
    """A server by its url."""

    def __init__(self, name: str, section: DicomwebDestination) -> None:
        self._name = name
        self._section = section
        self._http = HttpClient(name, section)
        self._choose = choosing(section.transfer_syntaxes)
        self._retried = matching(section.retried)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._waiting: deque[Asked] = deque()
        self._requests: set[asyncio.Task[None]] = set()

    async def send(self, instance: Instance) -> Answer:
        """As `Destination.send`."""
        asked = Asked.of(Metered(instance, self._bandwidth))
        self._waiting.append(asked)
        if len(self._requests) < self._section.connections:
            task = asyncio.get_running_loop().create_task(self._work(), name=f"to-{self._name}")
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        return await asked.answer

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """By QIDO-RS, a series at a time."""
        return await qido.present(self._http, instances)

    async def close(self) -> None:
        """Requests that are under way end; what waits is not sent."""
        while self._waiting:
            self._waiting.popleft().fail(DestinationUnavailable("the destination is being closed"))
        await asyncio.gather(*self._requests, return_exceptions=True)
        await self._http.close()

    async def _work(self) -> None:
        """Requests, one after another, as long as anything waits."""
        await asyncio.sleep(_GATHER)
        while self._waiting:
            batch: list[Asked] = []
            while self._waiting and len(batch) < self._section.batch:
                asked = self._waiting[0]
                uid = asked.instance.sop_instance_uid
                if any(other.instance.sop_instance_uid == uid for other in batch):
                    break  # Its answer would be that of the other.
                self._waiting.popleft()
                if asked.wanted:
                    batch.append(asked)
            try:
                await self._store(batch)
            except Exception as error:
                for asked in batch:
                    asked.fail(error)
                if isinstance(error, DestinationUnavailable):
                    while self._waiting:
                        self._waiting.popleft().fail(error)
            except BaseException:
                for asked in batch:
                    asked.answer.cancel()
                raise

    async def _store(self, batch: Sequence[Asked]) -> None:
        """Every one is told what became of it, unless this raises DestinationUnavailable."""
        while batch := [asked for asked in batch if asked.wanted]:
            request = _Request(batch, self._choose, self._section.batch_size)
            try:
                batch = await self._send(request)
            finally:
                request.close()

    async def _send(self, request: _Request) -> list[Asked]:
        """One request; those that are to go in another one."""
        await request.open(request.batch[0])
        if not request.begun:  # The first cannot be read, and has been told so.
            return request.batch[1:]
        headers = {
            **qido.ACCEPT,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={request.name}',
        }
        try:
            reply = await self._http.request("POST", "/studies", body=request.body, headers=headers)
        except RequestBroken as error:
            if request.guilty is not None:
                return [asked for asked in request.batch if asked is not request.guilty]
            await self._http.check(_HARMLESS)
            answer = Answer("again", None, str(error), 0)
            if isinstance(error, RequestUnanswered):  # To ask again and again would take hours.
                return request.rest_after(answer)
            return await self._halve(request, answer)
        if reply.status in (200, 202, 409):
            await self._settle(request, reply)
            return request.rest
        if reply.status >= 500:
            await self._http.check(_HARMLESS)
        detail = f"{self._name}: {reply.words}"
        never = 400 <= reply.status < 500 and reply.status != 408
        return await self._halve(request, Answer("refused" if never else "again", reply.status, detail, 0))

    async def _halve(self, request: _Request, answer: Answer) -> list[Asked]:
        """A request failed as a whole: each half of it alone; the only one of a request is told `answer`."""
        begun = [asked for asked in request.begun if asked.wanted]
        request.close()
        if len(begun) == 1:
            return request.rest_after(answer)
        if begun:
            middle = len(begun) // 2
            await self._store(begun[:middle])
            await self._store(begun[middle:])
        return request.rest

    async def _settle(self, request: _Request, reply: Reply) -> None:
        """The server has answered for each instance, or for all."""
        stored = read_answer(reply.headers.get("Content-Type", ""), reply.body)
        for asked in request.begun:
            uid, sent = asked.instance.sop_instance_uid, asked.instance.sent
            answer = outcome(stored, uid, self._retried, sent)
            # That it says 200 is not enough: so do pages where one is to log in.
            unclear = answer is None or (answer.outcome != "delivered" and answer.status in _FAILURES)
            if unclear and await self._is_there(uid):
                answer = Answer("delivered", reply.status, "it is there", sent)
            asked.tell(answer or self._unnamed(reply, stored, sent))

    def _unnamed(self, reply: Reply, stored: Stored, sent: int) -> Answer:
        refused = reply.status == 409 and not stored.named
        text = f"{self._name}: {reply.words if refused else f'it answers {reply.status}, and says nothing of this one'}"
        return Answer("refused" if refused else "again", reply.status, text, sent)

    async def _is_there(self, uid: str) -> bool:
        try:
            return await qido.has_one(self._http, uid)
        except GatewayError:
            return False  # It may be there; sent again, it will say so.


@dataclass(slots=True, eq=False)
class _Request:
    """One multipart body (PS3.18 §8.6.1.2), and what has been put into it so far."""

    batch: list[Asked]
    choose: Choose
    most: int
    """Bytes after which no further one is begun."""
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    """The boundary."""
    begun: list[Asked] = field(default_factory=list)
    """Those that went into it."""
    guilty: Asked | None = None
    """The one that could not be read to its end."""
    _open: dict[Asked, Content] = field(default_factory=dict)

    @property
    def body(self) -> Body:
        return Body(self._pieces)

    @property
    def rest(self) -> list[Asked]:
        """Those that are to go in another request."""
        return [asked for asked in self.batch if asked not in self.begun]

    def rest_after(self, answer: Answer) -> list[Asked]:
        """Tell all that were begun the same."""
        for asked in self.begun:
            asked.tell(dataclasses.replace(answer, sent=asked.instance.sent))
        return self.rest

    async def open(self, asked: Asked) -> None:
        """Whatever is wrong with an instance shows here, in almost all cases, and takes no other with it."""
        try:
            self._open[asked] = await asked.instance.prepare(self.choose)
            self.begun.append(asked)
        except Exception as error:
            asked.tell(unreadable(error))

    def close(self) -> None:
        for content in self._open.values():
            content.close()
        self._open.clear()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        self.begun = [asked for asked in self.begun if asked in self._open]  # It may be made a second time.
        total = 0
        for asked in self.batch:
            if total > self.most or not asked.wanted:
                continue
            if asked not in self._open:
                await self.open(asked)
                if asked not in self._open:
                    continue
            content = self._open[asked]
            asked.instance.sent = 0
            try:
                yield f"--{self.name}\r\nContent-Type: application/dicom\r\n\r\n".encode()
                async with aclosing(file_of(asked.instance, content)) as pieces:
                    async for piece in pieces:
                        total += len(piece)
                        yield piece
                yield b"\r\n"
            except Exception as error:
                self.guilty = asked
                asked.tell(unreadable(error, asked.instance.sent))
                raise
            finally:
                self._open.pop(asked).close()
        yield f"--{self.name}--\r\n".encode()
