"""Jobs being done: attempts, backoff, leases, several runners over one table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.errors import AssociationLost, DatabaseError, PermanentFailure
from gateway.jobs import runner as runner_module
from gateway.jobs import table
from gateway.jobs.runner import CompletionScript, Handler, JobType, Postpone, QueuePaused, Retry, Runner
from gateway.jobs.table import Job
from tests.support.waiting import until


@asynccontextmanager
async def running(database: SQLite, handle: Handler, **options: Any) -> AsyncIterator[Runner]:
    retry = Retry(attempts=options.pop("attempts", 3), first=0.001)
    kind = JobType(handle, lambda job: retry, options.pop("timeout", 10), options.pop("failed", None))
    runner = Runner(database, {"work": kind}, **{"poll": 0.02, **options})
    runner.start()
    try:
        async with asyncio.timeout(20):
            yield runner
    finally:
        await runner.close()


async def add(database: SQLite, runner: Runner | None = None, **options: Any) -> int:
    payload = options.pop("payload", {})
    number = await database.write(lambda: table.add_job("work", payload, 0.0, **options))
    if runner is not None:
        runner.notify()
    return number


async def job_in(database: SQLite, number: int, *states: str) -> Job:
    """The job once it is in one of these states."""

    async def look() -> Job | None:
        job = await table.get_job(database, number)
        return job if job is not None and job.state in states else None

    job = await until(look, f"job {number} is to be {' or '.join(states)}")
    assert job is not None
    return job


async def paused_queue(database: SQLite, failures: int) -> table.QueueState:
    """The queue `to` once it has failed so often."""

    async def look() -> table.QueueState | None:
        queue = (await table.list_queues(database)).get("to")
        return queue if queue is not None and queue.failures >= failures else None

    queue = await until(look)
    assert queue is not None
    assert queue.failures == failures
    return queue


def failing(times: int, error: Exception) -> tuple[list[int], Callable[[Job], Awaitable[None]]]:
    """A handler that fails so many times, and the attempts that it saw."""
    seen: list[int] = []

    async def handle(job: Job) -> None:
        seen.append(job.attempts)
        if len(seen) <= times:
            raise error

    return seen, handle


async def test_a_job_is_done_at_once_when_it_is_announced(database: SQLite) -> None:
    seen: list[dict[str, Any]] = []

    async def handle(job: Job) -> None:
        seen.append(job.payload)

    async with running(database, handle, poll=100.0) as runner:
        number = await add(database, runner, payload={"a": 1})
        await job_in(database, number, "done")
    assert seen == [{"a": 1}]


async def test_a_job_of_another_process_is_noticed(database: SQLite) -> None:
    _, handle = failing(0, OSError())
    async with running(database, handle):
        await job_in(database, await add(database), "done")


async def test_tried_again_with_the_reason_kept(database: SQLite) -> None:
    seen, handle = failing(2, AssociationLost("nobody answers"))
    async with running(database, handle) as runner:
        await job_in(database, await add(database, runner), "done")
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "attempts", "text"),
    [
        (ConnectionRefusedError("refused"), 3, "refused"),
        (PermanentFailure("unknown there"), 1, "unknown there"),
        (KeyError("x"), 3, "internal error: KeyError"),
    ],
)
async def test_given_up(database: SQLite, error: Exception, attempts: int, text: str) -> None:
    seen, handle = failing(100, error)
    async with running(database, handle) as runner:
        job = await job_in(database, await add(database, runner), "failed")
    assert (len(seen), job.error, job.attempts) == (attempts, text, attempts)


async def test_not_yet_is_no_attempt(database: SQLite) -> None:
    seen, handle = failing(10, Postpone(0.001, "not there yet"))
    async with running(database, handle) as runner:
        job = await job_in(database, await add(database, runner), "done")
    assert seen == [1] * 11
    assert job.attempts == 1


async def test_one_that_takes_too_long(database: SQLite) -> None:
    async def handle(job: Job) -> None:
        await asyncio.Event().wait()

    async with running(database, handle, timeout=0.01, attempts=2) as runner:
        job = await job_in(database, await add(database, runner), "failed")
    assert job.error == "not finished within 0.01 s"


async def test_an_unknown_kind_fails_in_words(database: SQLite) -> None:
    _, handle = failing(0, OSError())
    async with running(database, handle) as runner:
        number = await database.write(lambda: table.add_job("novel", {}, 0.0))
        runner.notify()
        assert "novel" in (await job_in(database, number, "failed")).error


async def test_a_stuck_lane_holds_up_no_other(database: SQLite) -> None:
    async def handle(job: Job) -> None:
        if job.queue == "stuck":
            await asyncio.Event().wait()

    async with running(database, handle, slots=4, limit=lambda queue: 2) as runner:
        stuck = [await add(database, queue="stuck") for _ in range(6)]
        quick = [await add(database, runner, queue="quick") for _ in range(6)]
        for number in quick:
            await job_in(database, number, "done")
        states = [(await table.get_job(database, number)).state for number in stuck]  # type: ignore[union-attr]
        assert states.count("running") == 2


async def test_what_is_cancelled_is_interrupted(database: SQLite) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handle(job: Job) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(database, handle, lease=0.1) as runner:
        number = await add(database, runner)
        await begun.wait()
        await database.write(lambda: table.cancel_job(number, 1.0))
        await ended.wait()
        assert (await job_in(database, number, "cancelled")).owner == ""


async def test_a_runner_that_stops_gives_its_work_back(database: SQLite) -> None:
    begun = asyncio.Event()

    async def handle(job: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(database, handle) as runner:
        number = await add(database, runner)
        await begun.wait()
    job = await job_in(database, number, "waiting")
    assert (job.attempts, job.owner) == (0, "")


async def test_several_runners_share_the_work(tmp_path: Path) -> None:
    """As several processes do: each with a connection of its own, none told of anything."""
    done: list[tuple[int, int]] = []
    both = asyncio.Event()
    first, second = await SQLite.open(tmp_path / "db"), await SQLite.open(tmp_path / "db")

    def worker(name: int) -> Handler:
        async def handle(job: Job) -> None:
            done.append((name, job.id))
            if len({each for each, _ in done}) == 2:
                both.set()
            await both.wait()

        return handle

    try:
        numbers = [await add(first) for _ in range(30)]
        async with running(first, worker(1), slots=2), running(second, worker(2), slots=2):
            for number in numbers:
                await job_in(first, number, "done")
    finally:
        await first.close()
        await second.close()
    assert sorted(number for _, number in done) == numbers
    assert {name for name, _ in done} == {1, 2}


async def test_a_lease_is_kept_while_the_work_goes_on(database: SQLite) -> None:
    attempts: list[int] = []
    finish = asyncio.Event()

    async def handle(job: Job) -> None:
        attempts.append(job.attempts)
        await finish.wait()

    async with running(database, handle, lease=0.09) as runner:
        number = await add(database, runner)
        leases = set()

        async def renewed() -> bool:
            job = await table.get_job(database, number)
            assert job is not None
            leases.add(job.lease_until)
            return len(leases) == 4

        await until(renewed)
        finish.set()
        await job_in(database, number, "done")
    assert attempts == [1]


async def test_a_clock_that_jumps_takes_no_work_from_who_is_at_it(database: SQLite) -> None:
    """By the clock of the day its own lease is over; nobody else is at the job, and one attempt is one attempt."""
    attempts: list[int] = []
    wrong_by, begun, finish = 0.0, asyncio.Event(), asyncio.Event()

    async def handle(job: Job) -> None:
        attempts.append(job.attempts)
        begun.set()
        if job.id == first:
            await finish.wait()

    async with running(database, handle, clock=lambda: time.time() + wrong_by) as runner:
        first = await database.write(lambda: table.add_job("work", {}, 0.0))
        runner.notify()
        await begun.wait()
        wrong_by = 86400.0
        await job_in(database, await add(database, runner), "done")
        finish.set()
        await job_in(database, first, "done")
    assert attempts == [1, 1]


@pytest.mark.parametrize("started_again", [False, True], ids=["set right", "started again"])
async def test_what_came_while_the_clock_was_ahead_does_not_wait_for_that_time(
    database: SQLite, started_again: bool
) -> None:
    """Its first attempt fails by the wrong clock; the second is not an hour later, whoever makes it."""
    wrong_by, attempts, failed = 3600.0, 0, asyncio.Event()

    async def handle(job: Job) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            failed.set()
            raise Postpone(0.3, "not yet")

    async with running(database, handle, clock=lambda: time.time() + wrong_by) as runner:
        number = await database.write(lambda: table.add_job("work", {}, time.time() + wrong_by))
        runner.notify()
        await failed.wait()
        await job_in(database, number, "waiting", "done")
        if not started_again:
            wrong_by = 0.0
            runner.notify()
            await job_in(database, number, "done")
    if started_again:
        async with running(database, handle):
            await job_in(database, number, "done")
    assert attempts == 2


async def test_what_is_held_and_released_at_once_is_done_by_one_at_a_time(database: SQLite) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    at_it = most = attempts = 0

    async def handle(job: Job) -> None:
        nonlocal at_it, most, attempts
        at_it, attempts = at_it + 1, attempts + 1
        most = max(most, at_it)
        begun.set()
        try:
            await finish.wait()
        finally:
            at_it -= 1

    async with running(database, handle) as runner:
        number = await add(database, runner)
        await begun.wait()
        begun.clear()
        assert await database.write(lambda: table.hold_job(number))
        assert await database.write(lambda: table.release_job(number, 0.0))
        runner.notify()
        await begun.wait()
        finish.set()
        await job_in(database, number, "done")
    assert (most, attempts) == (1, 2)


async def test_an_attempt_that_ends_as_the_next_is_claimed_does_not_end_that(
    database: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row says only which runner has the job, and it is the same one."""
    begun, finish, write = asyncio.Event(), asyncio.Event(), database.write
    attempts, claims = [], []

    async def handle(job: Job) -> None:
        attempts.append(job)
        begun.set()
        if len(attempts) == 1:
            await finish.wait()
            raise PermanentFailure("taken back")

    async def slow(script: Callable[[], Script[Any]], **options: bool) -> Any:
        result = await write(script, **options)
        if isinstance(result, list) and result and isinstance(result[0], Job):
            claims.append(result)
            if len(claims) == 2:  # It is committed, and the runner does not know yet.
                finish.set()
                await ended.wait()
        elif finish.is_set():
            ended.set()
        return result

    ended = asyncio.Event()
    monkeypatch.setattr(database, "write", slow)
    async with running(database, handle) as runner:
        number = await add(database, runner)
        await begun.wait()
        assert await write(lambda: table.hold_job(number))
        assert await write(lambda: table.release_job(number, 0.0))
        runner.notify()
        assert (await job_in(database, number, "done", "failed")).state == "done"
    assert len(attempts) == 2


def test_backoff_doubles_up_to_its_limit() -> None:
    retry = Retry(first=10, longest=100)
    assert [retry.delay(n, 0.5) for n in (1, 2, 3, 4, 5, 1000)] == [10, 20, 40, 80, 100, 100]
    assert (retry.delay(1, 0.0), retry.delay(1, 1.0)) == (5, 15)


async def test_a_paused_queue_waits_without_counting(database: SQLite) -> None:
    """However many find it closed at once, it counts once; once it is open, all go on."""
    closed = True

    async def handle(job: Job) -> None:
        if closed:
            raise QueuePaused("nobody answers", 0.05)

    async with running(database, handle, limit=lambda queue: 3) as runner:
        numbers = [await add(database, runner, queue="to") for _ in range(6)]
        assert (await paused_queue(database, 1)).reason == "nobody answers"
        await database.write(lambda: table.release_queue("to"))
        runner.notify()
        await paused_queue(database, 2)
        closed = False
        await database.write(lambda: table.release_queue("to"))
        runner.notify()
        jobs = [await job_in(database, number, "done") for number in numbers]
    assert {job.attempts for job in jobs} == {1}
    assert (await table.list_queues(database))["to"].failures == 0


async def test_what_ends_a_job_is_written_with_it(database: SQLite) -> None:
    written: list[str] = []

    def record(text: str) -> Script[None]:
        yield table.queries.GET, (1,)
        written.append(text)

    async def handle(job: Job) -> CompletionScript | None:
        if job.payload:
            raise PermanentFailure("no")
        return lambda: record("done")

    def failed(job: Job, why: str, given_up: bool) -> Script[None]:
        return record(f"{why} {given_up}")

    async with running(database, handle, failed=failed) as runner:
        await job_in(database, await add(database, runner), "done")
        await job_in(database, await add(database, runner, payload={"a": 1}), "failed")
    assert written == ["done", "no True"]


class TestAFaultOfTheProgram:
    """No exception ends the runner, or takes a job with it, in silence."""

    @pytest.mark.case("item 2 a runner that fails for a moment goes on with the jobs")
    async def test_in_the_search_for_jobs(self, database: SQLite, caplog: pytest.LogCaptureFixture) -> None:
        faults = iter([ZeroDivisionError("at the first look")])

        def purge(_now: float) -> Script[int]:
            for fault in faults:
                raise fault
            return 0
            yield

        async def handle(_job: Job) -> None:
            return None

        async with running(database, handle, purge=purge) as runner:
            await job_in(database, await add(database, runner), "done")
        assert "looking for jobs has ended by a fault of the program" in caplog.text
        assert "at the first look" in caplog.text

    async def test_in_what_is_written_of_a_job(
        self, database: SQLite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Retry, "delay", lambda *_: 0.001)
        faults = iter([ZeroDivisionError("at the first job")])

        async def handle(_job: Job) -> CompletionScript:
            def record() -> Script[None]:
                for fault in faults:
                    raise fault
                return
                yield

            return record

        async with running(database, handle) as runner:
            job = await job_in(database, await add(database, runner), "done")
        assert job.attempts == 2
        assert "the result cannot be recorded" in caplog.text


@pytest.mark.case("item 2 a job is not left running for ever when what became of it could not be written down")
async def test_how_a_job_went_is_written_down_once_the_database_can(
    database: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_FIRST_RECORD_S", 0.001)
    write, failures, done = database.write, iter([DatabaseError("busy"), DatabaseError("busy")]), 0

    async def failing(script: Callable[[], Script[Any]], **options: bool) -> Any:
        if done:
            for failure in failures:
                raise failure
        return await write(script, **options)

    async def handle(_job: Job) -> None:
        nonlocal done
        done += 1

    monkeypatch.setattr(database, "write", failing)
    async with running(database, handle) as runner:
        job = await job_in(database, await add(database, runner), "done")
    assert (job.attempts, done) == (1, 1)
    assert next(failures, None) is None
