"""The work, against a sink in this process; verification against a small QIDO-RS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.dimse import messages
from gateway.dimse.command import Command
from gateway.net.buffers import Block
from gateway.net.session import Receiver, Refusal, Session
from gateway.ul import negotiation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ
from loadtest.data import Instance, Synthetic, parse_size
from loadtest.send import Target, send
from loadtest.sink import Sink, open_sink
from loadtest.stats import Stats, Summary
from loadtest.verify import Acknowledged, VerifyFailed

TINY = parse_size("128")


class Answering(Sink):
    """Calls `answer` with the number of each message, at its end: a status, None for silence, "abort"."""

    def __init__(self, answer: Callable[[int], int | str | None]) -> None:
        self.answer = answer
        self.received = 0
        self.refusal: Refusal | None = None

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        return self.refusal or await super().admit(session, request)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        return _Message(self, session, context, command)


class _Message:
    def __init__(self, sink: Answering, session: Session, context: PresentationContext, command: Command) -> None:
        self.sink, self.session, self.context, self.command = sink, session, context, command

    def write(self, data: memoryview, block: Block) -> None:
        pass

    def end(self) -> None:
        self.sink.received += 1
        answer = self.sink.answer(self.sink.received)
        if answer == "abort":
            self.session.abort()
        elif isinstance(answer, int):
            self.session.respond(self.context.id, messages.response(self.command, answer).encode())

    def flush(self) -> None:
        pass

    def lost(self) -> None:
        pass


async def run(
    services: Sink,
    instances: int = 10,
    associations: int = 1,
    *,
    window: int = 1,
    timeout: float = 5.0,
    acknowledged: Callable[[Instance], None] = lambda instance: None,
) -> Summary:
    async with asyncio.timeout(20):
        acceptor = open_sink("127.0.0.1", 0, services)
        try:
            source = Synthetic(TINY, instances)
            stats = Stats(source.total(associations))
            target = Target(*acceptor.address, "SINK", window=window, timeout=timeout)
            await send(target, source, associations, stats, acknowledged)
            return stats.summary()
        finally:
            await acceptor.stop(0)


@pytest.mark.parametrize(("associations", "window"), [(1, 1), (1, 8), (7, 3)])
async def test_everything_is_sent_and_named(associations: int, window: int) -> None:
    named: set[str] = set()
    summary = await run(
        Sink(), 40, associations, window=window, acknowledged=lambda one: named.add(one.sop_instance_uid)
    )
    assert summary.complete
    assert summary.acknowledged == len(named) == 40 * associations
    assert summary.latency is not None


async def test_failures_are_counted_by_status_and_warnings_acknowledged() -> None:
    answers = {3: 0xA700, 4: 0xA700, 5: 0xC123, 6: 0xB000}
    named: list[Instance] = []
    summary = await run(Answering(lambda number: answers.get(number, 0)), acknowledged=named.append)
    assert (summary.acknowledged, summary.failed, summary.not_sent) == (7, 3, 0)
    assert list(summary.failures.values()) == [2, 1]
    assert "out of resources" in next(iter(summary.failures))
    assert len(named) == 7
    assert sum(summary.warnings.values()) == 1


async def test_an_association_that_is_aborted_costs_one_instance() -> None:
    summary = await run(Answering(lambda number: "abort" if number in (3, 6) else 0))
    assert (summary.acknowledged, summary.failed, summary.not_sent) == (8, 2, 0)
    assert "SINK" in next(iter(summary.failures))


async def test_no_answer_in_time_ends_the_association() -> None:
    summary = await run(Answering(lambda number: None if number == 2 else 0), timeout=0.2)
    assert (summary.acknowledged, summary.failed) == (9, 1)
    assert summary.failures == {"no answer in time": 1}


async def test_a_rejected_association_sends_nothing() -> None:
    services = Answering(lambda number: 0)
    services.refusal = Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, "full")
    summary = await run(services, 10, 3)
    assert summary.failures == {"association rejected for now: local limit exceeded": 3}
    assert (summary.failed, summary.not_sent) == (0, 30)


async def test_nobody_there() -> None:
    acceptor = open_sink("127.0.0.1", 0)
    address = acceptor.address
    await acceptor.stop(0)
    stats = Stats(5)
    await send(Target(*address, "SINK"), Synthetic(TINY, 5), 1, stats)
    assert stats.summary().failures == {"Connection refused": 1}


class TestVerification:
    @asynccontextmanager
    async def qido(self, known: dict[str, list[str]], status: int = 200) -> AsyncIterator[str]:
        """Answers QIDO-RS for instances, two at a time whatever is asked for."""

        def rows(uids: list[str]) -> web.Response:
            return web.json_response([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids], status=status)

        async def of_study(request: web.Request) -> web.Response:
            offset = int(request.query["offset"])
            return rows(known.get(request.match_info["study"], [])[offset : offset + 2])

        async def by_uid(request: web.Request) -> web.Response:
            uid = request.query["SOPInstanceUID"]
            return rows([uid] if any(uid in uids for uids in known.values()) else [])

        app = web.Application()
        app.router.add_get("/dicom-web/studies/{study}/instances", of_study)
        app.router.add_get("/dicom-web/instances", by_uid)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://user:secret@127.0.0.1:{runner.addresses[0][1]}/dicom-web/"
        finally:
            await runner.cleanup()

    def acknowledged(self, known: dict[str, list[str]]) -> Acknowledged:
        kept = Acknowledged()
        for study, uids in known.items():
            for uid in uids:
                kept.add(Instance("1.2", uid, study, "1.2", 1, ()))
        return kept

    async def test_all_there(self) -> None:
        known = {"1.1": ["1.1.1", "1.1.2", "1.1.3", "1.1.4"], "1.2": ["1.2.1"]}
        async with self.qido(known) as url:
            result = await self.acknowledged(known).verify(url)
        assert (result.asked, result.found, result.missing) == (5, 5, [])
        assert "secret" not in result.url

    async def test_what_is_missing_is_named(self) -> None:
        asked = {"1.1": ["1.1.1", "1.1.2", "1.1.3"], "1.3": ["1.3.1"], "": ["1.1.1", "1.4.1"]}
        async with self.qido({"1.1": ["1.1.1", "1.1.3"]}) as url:
            result = await self.acknowledged(asked).verify(url)
        assert result.missing == ["1.1.2", "1.3.1", "1.4.1"]
        assert result.found == 3

    async def test_a_server_that_cannot_answer_is_no_proof(self) -> None:
        async with self.qido({}, status=401) as url:
            with pytest.raises(VerifyFailed, match="401"):
                await self.acknowledged({"1.1": ["1.1.1"]}).verify(url)
