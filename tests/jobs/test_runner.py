"""Jobs being done: attempts, backoff, leases, several runners over one table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.errors import AssociationLost, JobGivenUp
from gateway.jobs import table
from gateway.jobs.runner import Handler, Kind, LaneClosed, Later, Record, Retry, Runner
from gateway.jobs.table import Job


@asynccontextmanager
async def running(database: SQLite, handle: Handler, **options: Any) -> AsyncIterator[Runner]:
    retry = Retry(attempts=options.pop("attempts", 3), first=0.001)
    kind = Kind(handle, lambda job: retry, options.pop("timeout", 10), options.pop("failed", None))
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


async def until(database: SQLite, number: int, *states: str) -> Job:
    """The job once it is in one of these states; the test's timeout bounds the wait."""
    while True:
        job = await table.get_job(database, number)
        if job is not None and job.state in states:
            return job
        await asyncio.sleep(0.002)


async def closed_lane(database: SQLite, failures: int) -> table.Lane:
    """The lane `to` once it was found closed so often."""
    while True:
        lane = (await table.list_lanes(database)).get("to")
        if lane is not None and lane.failures >= failures:
            assert lane.failures == failures
            return lane
        await asyncio.sleep(0.002)


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
        await until(database, number, "done")
    assert seen == [{"a": 1}]


async def test_a_job_of_another_process_is_noticed(database: SQLite) -> None:
    _, handle = failing(0, OSError())
    async with running(database, handle):
        await until(database, await add(database), "done")


async def test_tried_again_with_the_reason_kept(database: SQLite) -> None:
    seen, handle = failing(2, AssociationLost("nobody answers"))
    async with running(database, handle) as runner:
        await until(database, await add(database, runner), "done")
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "attempts", "text"),
    [
        (ConnectionRefusedError("refused"), 3, "refused"),
        (JobGivenUp("unknown there"), 1, "unknown there"),
        (KeyError("x"), 3, "internal error: KeyError"),
    ],
)
async def test_given_up(database: SQLite, error: Exception, attempts: int, text: str) -> None:
    seen, handle = failing(100, error)
    async with running(database, handle) as runner:
        job = await until(database, await add(database, runner), "failed")
    assert (len(seen), job.error, job.attempts) == (attempts, text, attempts)


async def test_not_yet_is_no_attempt(database: SQLite) -> None:
    seen, handle = failing(10, Later(0.001, "not there yet"))
    async with running(database, handle) as runner:
        job = await until(database, await add(database, runner), "done")
    assert seen == [1] * 11
    assert job.attempts == 1


async def test_one_that_takes_too_long(database: SQLite) -> None:
    async def handle(job: Job) -> None:
        await asyncio.Event().wait()

    async with running(database, handle, timeout=0.01, attempts=2) as runner:
        job = await until(database, await add(database, runner), "failed")
    assert job.error == "not done within 0.01 s"


async def test_an_unknown_kind_fails_in_words(database: SQLite) -> None:
    _, handle = failing(0, OSError())
    async with running(database, handle) as runner:
        number = await database.write(lambda: table.add_job("novel", {}, 0.0))
        runner.notify()
        assert "novel" in (await until(database, number, "failed")).error


async def test_a_stuck_lane_holds_up_no_other(database: SQLite) -> None:
    async def handle(job: Job) -> None:
        if job.lane == "stuck":
            await asyncio.Event().wait()

    async with running(database, handle, slots=4, limit=lambda lane: 2) as runner:
        stuck = [await add(database, lane="stuck") for _ in range(6)]
        quick = [await add(database, runner, lane="quick") for _ in range(6)]
        for number in quick:
            await until(database, number, "done")
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
        assert (await until(database, number, "cancelled")).owner == ""


async def test_a_runner_that_stops_gives_its_work_back(database: SQLite) -> None:
    begun = asyncio.Event()

    async def handle(job: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(database, handle) as runner:
        number = await add(database, runner)
        await begun.wait()
    job = await until(database, number, "waiting")
    assert (job.attempts, job.owner) == (0, "")


async def test_several_runners_share_the_work(tmp_path: Path) -> None:
    """As several processes do: each with a connection of its own, none told of anything."""
    done: list[tuple[int, int]] = []
    first, second = await SQLite.open(tmp_path / "db"), await SQLite.open(tmp_path / "db")

    def worker(name: int) -> Handler:
        async def handle(job: Job) -> None:
            done.append((name, job.id))
            await asyncio.sleep(0.001)

        return handle

    try:
        numbers = [await add(first) for _ in range(30)]
        async with running(first, worker(1), slots=2), running(second, worker(2), slots=2):
            for number in numbers:
                await until(first, number, "done")
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
        while len(leases) < 4:
            job = await table.get_job(database, number)
            assert job is not None
            leases.add(job.lease_until)
            await asyncio.sleep(0.002)
        finish.set()
        await until(database, number, "done")
    assert attempts == [1]


def test_backoff_doubles_up_to_its_limit() -> None:
    retry = Retry(first=10, longest=100)
    assert [retry.delay(n, 0.5) for n in (1, 2, 3, 4, 5, 1000)] == [10, 20, 40, 80, 100, 100]
    assert (retry.delay(1, 0.0), retry.delay(1, 1.0)) == (5, 15)


async def test_a_closed_lane_waits_without_counting_and_is_tried_with_one(database: SQLite) -> None:
    """However many find it closed at once, it counts once; then a single job looks, and all go on."""
    closed, together, most = True, 0, 0

    async def handle(job: Job) -> None:
        nonlocal together, most
        if closed:
            raise LaneClosed("nobody answers", 0.05)
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.001)
        together -= 1

    async with running(database, handle, limit=lambda lane: 3) as runner:
        numbers = [await add(database, runner, lane="to") for _ in range(6)]
        assert (await closed_lane(database, 1)).reason == "nobody answers"
        await database.write(lambda: table.release_lane("to"))
        runner.notify()
        await closed_lane(database, 2)
        closed = False
        await database.write(lambda: table.release_lane("to"))
        runner.notify()
        jobs = [await until(database, number, "done") for number in numbers]
    assert {job.attempts for job in jobs} == {1}
    assert (await table.list_lanes(database))["to"].failures == 0


async def test_what_ends_a_job_is_written_with_it(database: SQLite) -> None:
    written: list[str] = []

    def record(text: str) -> Script[None]:
        yield table.queries.GET, (1,)
        written.append(text)

    async def handle(job: Job) -> Record | None:
        if job.payload:
            raise JobGivenUp("no")
        return lambda: record("done")

    def failed(job: Job, why: str, given_up: bool) -> Script[None]:
        return record(f"{why} {given_up}")

    async with running(database, handle, failed=failed) as runner:
        await until(database, await add(database, runner), "done")
        await until(database, await add(database, runner, payload={"a": 1}), "failed")
    assert written == ["done", "no True"]
