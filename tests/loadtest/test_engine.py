"""The work over DICOM, against a sink in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable

import msgspec
import pytest

from gateway.dimse import messages
from gateway.dimse.command import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, Command
from gateway.net.buffers import Block
from gateway.net.receiver import Receiver
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ
from loadtest import engine
from loadtest import run as run_module
from loadtest.data import Instance, Synthetic, parse_size
from loadtest.scenario import Data, Network, Prepare, Scenario, Work
from loadtest.shelf import Place
from loadtest.sink import Sink
from loadtest.stats import Summary
from loadtest.target import Target
from tests.loadtest.serving import serving
from tests.support.waiting import until

CT = "1.2.840.10008.5.1.4.1.1.2"
PLACES = [Place("1.2", "1.2.1", f"1.2.1.{number}", CT) for number in range(3)]


class Answering(Sink):
    """Calls `answer` with the number of each message, at its end: a status, None for silence, "abort"."""

    def __init__(self, answer: Callable[[int], int | str | None] = lambda number: 0, delay: float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.delay = delay
        self.received = 0
        self.associations = 0
        self.commands: list[Command] = []
        self.refusal: Refusal | None = None

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        self.associations += 1
        return self.refusal or await super().admit(session, request)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        self.commands.append(command)
        return _Message(self, session, context, command)


class _Message(Receiver):
    def __init__(self, sink: Answering, session: Session, context: PresentationContext, command: Command) -> None:
        self.sink, self.session, self.context, self.command = sink, session, context, command

    def write(self, data: memoryview, block: Block) -> None:
        self.sink.bytes += len(data)

    def end(self) -> None:
        self.sink.received += 1
        answer = self.sink.answer(self.sink.received)
        if answer == "abort":
            self.session.abort()
        elif isinstance(answer, int):
            asyncio.get_running_loop().call_later(self.sink.delay, self.respond, answer)

    def respond(self, status: int) -> None:
        response = messages.response(self.command, status)
        if self.command.command_field in (C_MOVE_RQ, C_GET_RQ):
            response.completed_suboperations, response.failed_suboperations = 3, 0
        if self.command.command_field == C_FIND_RQ and not status:
            for _ in range(2):
                pending = messages.c_find_response(self.command, 0xFF00)
                self.session.send(self.context.id, pending.encode(), [b"\x10\0\x20\0LO\x02\0P1"])
        self.session.respond(self.context.id, response.encode())


async def run(services: Sink, *works: Work, target: Target | None = None, **changes: object) -> list[Summary]:
    scenario = Scenario(title="t", about="a", work=works)
    options = {key: changes.pop(key) for key in ("acknowledged", "places", "source") if key in changes}
    scenario = msgspec.structs.replace(scenario, **changes)
    async with asyncio.timeout(20), serving(services) as there:
        return [stats.summary() for stats in await engine.run(scenario, target or there, **options)]  # type: ignore[arg-type]


async def store(services: Sink, instances: int = 10, associations: int = 1, **options: object) -> Summary:
    """Instances on each association."""
    source = Synthetic(parse_size("128"), instances)
    window = options.pop("window", 1)
    work = Work(do="store", data="128", count=source.total(associations), at_once=associations, window=window)  # type: ignore[arg-type]
    (summary,) = await run(services, work, source=source, **options)
    return summary


class TestStore:
    @pytest.mark.parametrize(("associations", "window"), [(1, 1), (1, 8), (7, 3)])
    async def test_everything_is_sent_and_named(self, associations: int, window: int) -> None:
        named: set[str] = set()

        def note(one: Instance) -> None:
            named.add(one.sop_instance_uid)

        summary = await store(Sink(), 40, associations, window=window, acknowledged=note)
        assert summary.complete
        assert summary.operations == summary.instances == len(named) == 40 * associations
        assert summary.latency is not None

    async def test_failures_are_counted_by_status_and_warnings_acknowledged(self) -> None:
        answers = {3: 0xA700, 4: 0xA700, 5: 0xC123, 6: 0xB000}
        named: list[Instance] = []
        summary = await store(Answering(lambda number: answers.get(number, 0)), acknowledged=named.append)
        assert (summary.operations, summary.failed, summary.not_begun) == (7, 3, 0)
        assert list(summary.failures.values()) == [2, 1]
        assert "out of resources" in next(iter(summary.failures))
        assert len(named) == 7
        assert sum(summary.warnings.values()) == 1

    async def test_an_association_that_is_aborted_costs_one_instance(self) -> None:
        services = Answering(lambda number: "abort" if number in (3, 6) else 0)
        summary = await store(services)
        assert (summary.operations, summary.failed, summary.not_begun) == (8, 2, 0)
        assert "SINK" in next(iter(summary.failures))
        assert services.associations == 3

    async def test_no_answer_in_time_ends_the_association(self) -> None:
        services = Answering(lambda number: None if number == 2 else 0)
        async with serving(services) as there:
            (summary,) = await run(services, Work(do="store", data="128", count=10), target=_impatient(there))
        assert (summary.operations, summary.failed) == (9, 1)
        assert len(summary.failures) == 1

    async def test_a_rejected_association_sends_nothing(self) -> None:
        services = Answering()
        services.refusal = Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, "full")
        summary = await store(services, 10, 3)
        assert summary.failures == {"association rejected for now: local limit exceeded": 3}
        assert (summary.failed, summary.not_begun) == (0, 30)

    async def test_nobody_there(self) -> None:
        async with serving() as there:
            pass
        (summary,) = await run(Sink(), Work(do="store", data="128", count=5), target=there)
        assert summary.failures == {"Connection refused": 1}
        assert summary.not_begun == 5

    async def test_a_study_each_is_an_association_each(self) -> None:
        services = Answering()
        data = {"s": Data(size="64", series=2, instances=3)}
        (summary,) = await run(services, Work(do="store", data="s", each="study", count=4, at_once=2), data=data)
        assert (summary.operations, summary.instances, services.associations) == (4, 24, 4)

    async def test_a_study_with_a_refused_instance_is_a_failure_and_goes_on(self) -> None:
        services = Answering(lambda number: 0xA700 if number == 2 else 0)
        data = {"s": Data(size="64", instances=3)}
        (summary,) = await run(services, Work(do="store", data="s", each="study", count=2), data=data)
        assert (summary.operations, summary.failed, summary.instances) == (1, 1, 5)


class TestOthers:
    async def test_echo_find_move_and_get(self) -> None:
        services = Answering()
        kinds = ("echo", "find", "move", "get")
        works = [Work(do=kind, count=5, at_once=2) for kind in kinds]  # type: ignore[arg-type]
        summaries = await run(services, *works, places=PLACES)
        assert [summary.complete for summary in summaries] == [True] * 4, [each.failures for each in summaries]
        assert [summary.operations for summary in summaries] == [5] * 4
        assert summaries[1].instances == 10  # Two matches each.
        assert summaries[2].instances == 15  # The server says three each.
        assert {command.move_destination for command in services.commands} == {None, "LOADTEST"}

    async def test_a_failure_is_one_of_its_kind(self) -> None:
        services = Answering(lambda number: 0xA801)
        for kind in ("find", "move", "get", "echo"):
            (summary,) = await run(services, Work(do=kind, count=2), places=PLACES)  # type: ignore[arg-type]
            assert (summary.operations, summary.failed, len(summary.failures)) == (0, 2, 1)

    async def test_readers_wait_for_the_first_that_is_written(self) -> None:
        works = [Work(do="store", data="128", count=3, start=0.1), Work(do="find", count=3)]
        summaries = await run(Answering(), *works)
        assert [summary.complete for summary in summaries] == [True, True]


class TestPacing:
    async def test_an_open_loop_tells_what_a_stall_cost_those_behind_it(self) -> None:
        """The first answer takes 0.3 s; all that should have begun meanwhile were late."""
        services = Answering(delay=0.3)
        asyncio.get_running_loop().call_later(0.2, setattr, services, "delay", 0.0)
        work = Work(do="echo", rate=100, count=20)
        (summary,) = await run(services, work)
        assert summary.operations == 20
        assert summary.late >= 15
        assert summary.latency is not None
        assert summary.latency.p50 > 0.1

    async def test_work_ends_with_the_duration(self) -> None:
        began = time.perf_counter()
        closed, opened = await run(
            Sink(), Work(do="echo"), Work(do="echo", rate=50, arrivals="random"), duration=0.4, seed=7
        )
        assert time.perf_counter() - began < 2
        assert closed.operations > 20
        assert opened.planned == pytest.approx(20, abs=15)
        assert opened.operations <= (opened.planned or 0)

    async def test_a_pause_makes_a_person_of_a_connection(self) -> None:
        (summary,) = await run(Sink(), Work(do="echo", pause="50ms", at_once=2), duration=0.5)
        assert 4 <= summary.operations <= 40


class TestPreparing:
    async def test_what_is_prepared_is_there_when_the_clock_starts(self) -> None:
        services = Answering()
        data = {"s": Data(size="64", instances=4, series=1)}
        prepare = (Prepare("s", 2),)
        (summary,) = await run(services, Work(do="find", count=3), prepare=prepare, data=data)
        assert summary.complete
        assert len([command for command in services.commands if command.affected_sop_class_uid == CT]) == 8

    async def test_without_anything_to_read_it_does_not_begin(self) -> None:
        with pytest.raises(engine.Unprepared, match="there is nothing to read"):
            await run(Sink(), Work(do="get", count=1))

    @pytest.mark.parametrize(
        ("work", "target", "says"),
        [
            (Work(do="echo", count=1), Target(), "--to"),
            (Work(do="qido", count=1), Target(port=1), "--web"),
            (Work(do="move", count=1), Target(port=1), "--move-to"),
        ],
    )
    async def test_a_target_that_lacks_something_is_told(self, work: Work, target: Target, says: str) -> None:
        with pytest.raises(engine.Unprepared, match=says):
            await run(Sink(), work, target=target)


async def test_a_slow_network_slows_both_ways_down() -> None:
    network = Network(latency="40ms")
    (summary,) = await run(Sink(), Work(do="echo", count=5), network=network)
    assert summary.complete
    assert summary.latency is not None
    assert summary.latency.p50 >= 0.08


async def test_interrupted_while_it_prepares_there_is_still_a_result() -> None:
    scenario = Scenario(title="t", about="a", work=(Work(do="find", count=1),), prepare=(Prepare("128"),))
    sink = Answering(lambda number: None)
    async with asyncio.timeout(10), serving(sink) as there:
        task = asyncio.create_task(run_module.run(scenario, there, run_module.Options()))
        await until(lambda: sink.received)
        task.cancel()
        result = await task
    assert (result.works, result.ceilings, result.troubles) == ([], [], ["interrupted before its end"])
    assert not result.good


async def test_cancelled_it_all_stops_at_once() -> None:
    scenario = Scenario(title="t", about="a", work=(Work(do="echo", at_once=5),), duration=60)
    sink = Answering()
    async with asyncio.timeout(10), serving(sink) as there:
        task = asyncio.create_task(engine.run(scenario, there))
        await until(lambda: sink.received >= 5)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError)


def _impatient(target: Target) -> Target:
    return dataclasses.replace(target, timeout=0.2)
