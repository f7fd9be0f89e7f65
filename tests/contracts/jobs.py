"""What the table of jobs must do over any database driver. A test class inherits JobsContract and gives `database`.

Time is a number that the tests pass in; nothing here waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from gateway.database.database import Database, Script
from gateway.jobs import table
from gateway.jobs.table import Job

T = TypeVar("T")


class Desk:
    """The scripts of the table, run one by one."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def run(self, script: Callable[[], Script[T]]) -> T:
        return await self.database.write(script)

    async def add(self, kind: str = "work", now: float = 100.0, **options: Any) -> int:
        payload = options.pop("payload", {})
        return await self.run(lambda: table.add_job(kind, payload, now, **options))

    async def claim(
        self, owner: str = "me", now: float = 100.0, most: int = 10, per_queue: int = 10, taken: int = 0
    ) -> list[Job]:
        return await self.run(lambda: table.claim_jobs(owner, now, 60.0, most, lambda queue: per_queue, taken=taken))

    async def ids(self, **options: Any) -> list[int]:
        return [job.id for job in await self.claim(**options)]

    async def finish(self, job: Job, state: Any = "done") -> bool:
        return await self.run(lambda: table.finish_job(job, state, 101.0))

    async def state(self, number: int) -> str:
        job = await table.get_job(self.database, number)
        return job.state if job is not None else "gone"


class JobsContract:
    @pytest.fixture
    def desk(self, database: Database) -> Desk:
        return Desk(database)

    async def test_a_job_is_claimed_once_with_its_payload(self, desk: Desk) -> None:
        number = await desk.add(payload={"text": "Ä'", "list": [1, None]})
        (job,) = await desk.claim()
        assert (job.id, job.payload, job.state, job.attempts) == (
            number,
            {"text": "Ä'", "list": [1, None]},
            "running",
            1,
        )
        assert (job.owner, job.lease_until) == ("me", 160.0)
        assert await desk.claim("other") == []

    async def test_many_who_claim_at_once_share_the_jobs(self, desk: Desk) -> None:
        numbers = [await desk.add() for _ in range(20)]
        async with asyncio.timeout(20):
            shares = await asyncio.gather(*[desk.ids(owner=f"o{n}", most=3, per_queue=100) for n in range(10)])
        assert sorted(number for share in shares for number in share) == numbers

    async def test_what_is_not_due_waits(self, desk: Desk) -> None:
        await desk.add(due_at=200.0)
        assert await table.next_moment(desk.database) == 200.0
        assert await desk.claim(now=199.9) == []
        assert len(await desk.claim(now=200.0)) == 1

    async def test_priority_then_due_time_then_age(self, desk: Desk) -> None:
        late = await desk.add(due_at=99.0)
        early, equal = await desk.add(due_at=98.0), await desk.add(due_at=98.0)
        urgent = await desk.add(priority=5, due_at=100.0)
        assert [await desk.ids(most=1) for _ in range(4)] == [[urgent], [early], [equal], [late]]

    async def test_a_lane_has_a_limit_over_all_owners(self, desk: Desk) -> None:
        for _ in range(5):
            await desk.add(queue="slow")
        other = await desk.add(queue="quick")
        assert len(await desk.claim(per_queue=2)) == 3
        assert await desk.claim("other", per_queue=2) == []
        assert (await table.get_job(desk.database, other)).state == "running"  # type: ignore[union-attr]

    async def test_lanes_share_what_can_be_claimed(self, desk: Desk) -> None:
        for _ in range(9):
            await desk.add(queue="a")
        await desk.add(queue="b")
        assert {job.queue for job in await desk.claim(most=4)} == {"a", "b"}

    @pytest.mark.case("broken 28 a destination that hangs holds up no other")
    async def test_a_lane_has_slots_of_its_own_when_others_have_taken_all(self, desk: Desk) -> None:
        for _ in range(20):
            await desk.add(queue="hangs")
        assert len(await desk.claim(most=12, per_queue=100)) == 12
        assert await desk.claim(most=12, per_queue=100, taken=12) == []
        for _ in range(9):
            await desk.add(queue="healthy")
        claimed = await desk.claim(most=12, per_queue=100, taken=12)
        assert [job.queue for job in claimed] == ["healthy"] * 4
        assert await desk.claim(most=12, per_queue=100, taken=16) == []
        await desk.finish(claimed[0])
        assert [job.queue for job in await desk.claim(most=12, per_queue=100, taken=15)] == ["healthy"]

    async def test_a_chain_is_done_in_order(self, desk: Desk) -> None:
        first, second = await desk.add(chain="c"), await desk.add(chain="c", priority=9)
        alone = await desk.add(chain="d")
        (one, two) = await desk.claim()
        assert {one.id, two.id} == {first, alone}
        assert await desk.claim() == []
        await desk.finish(one if one.id == first else two, "failed")
        assert await desk.ids() == [second]
        assert [job.id for job in await table.chained_jobs(desk.database, "c")] == [first, second]

    async def test_a_chain_waits_for_a_held_job_and_not_for_a_cancelled_one(self, desk: Desk) -> None:
        first, second = await desk.add(chain="c"), await desk.add(chain="c")
        assert await desk.run(lambda: table.hold_job(first))
        assert await desk.claim() == []
        assert await desk.run(lambda: table.cancel_job(first, 100.0))
        assert await desk.ids() == [second]

    async def test_a_lease_that_runs_out_is_taken_over(self, desk: Desk) -> None:
        await desk.add()
        (mine,) = await desk.claim(now=100.0)
        assert await table.next_moment(desk.database) == 160.0
        assert await desk.claim("other", now=159.0) == []
        (theirs,) = await desk.claim("other", now=160.0)
        assert (theirs.attempts, theirs.error) == (2, "the process that worked on it has ended")
        assert not await desk.finish(mine)
        assert await desk.finish(theirs)

    async def test_a_lease_is_extended(self, desk: Desk) -> None:
        number = await desk.add()
        await desk.claim()
        assert await desk.run(lambda: table.extend_leases("me", 500.0)) == {number}
        assert await desk.claim("other", now=400.0) == []

    async def test_a_postponed_job_keeps_its_error(self, desk: Desk) -> None:
        number = await desk.add()
        (job,) = await desk.claim()
        assert await desk.run(lambda: table.postpone_job(job, 130.0, 100.0, "nobody there"))
        found = await table.get_job(desk.database, number)
        assert found is not None
        assert (found.state, found.due_at, found.attempts, found.error) == ("waiting", 130.0, 1, "nobody there")
        (job,) = await desk.claim(now=130.0)
        assert await desk.run(lambda: table.postpone_job(job, 140.0, 130.0, "not yet", counted=False))
        assert (await desk.claim(now=140.0))[0].attempts == 2

    async def test_hurried(self, desk: Desk) -> None:
        await desk.add(chain="c", due_at=900.0)
        await desk.add(chain="other", due_at=900.0)
        await desk.run(lambda: table.expedite_jobs("c", 100.0))
        assert len(await desk.claim()) == 1

    async def test_hurried_while_it_runs(self, desk: Desk) -> None:
        """What it waited for came while it looked: it does not wait out its time."""
        await desk.add(chain="c")
        (job,) = await desk.claim()
        await desk.run(lambda: table.expedite_jobs("c", 101.0))
        assert await desk.run(lambda: table.postpone_job(job, 900.0, 101.0, "not there yet", counted=False))
        assert len(await desk.claim(now=101.0)) == 1

    async def test_given_back_as_if_not_begun(self, desk: Desk) -> None:
        await desk.add()
        await desk.claim()
        await desk.run(lambda: table.give_back_jobs("me", 101.0))
        (job,) = await desk.claim("other", now=101.0)
        assert job.attempts == 1

    async def test_cancelled_while_it_runs(self, desk: Desk) -> None:
        number = await desk.add()
        (job,) = await desk.claim()
        assert await desk.run(lambda: table.cancel_job(number, 101.0))
        assert await desk.run(lambda: table.extend_leases("me", 500.0)) == set()
        assert not await desk.finish(job)
        assert await desk.state(number) == "cancelled"
        assert not await desk.run(lambda: table.cancel_job(number, 102.0))

    async def test_held_and_released(self, desk: Desk) -> None:
        number = await desk.add()
        assert await desk.run(lambda: table.hold_job(number))
        assert await desk.claim() == []
        assert await desk.run(lambda: table.release_job(number, 100.0))
        assert await desk.ids() == [number]

    async def test_what_has_failed_can_be_sent_again(self, desk: Desk) -> None:
        number = await desk.add()
        (job,) = await desk.claim()
        await desk.finish(job, "failed")
        assert await desk.run(lambda: table.release_job(number, 105.0))
        (again,) = await desk.claim(now=105.0)
        assert again.attempts == 1
        await desk.finish(again)
        assert not await desk.run(lambda: table.release_job(number, 106.0))

    async def test_what_is_over_is_forgotten_later(self, desk: Desk) -> None:
        done, waiting = await desk.add(), await desk.add(due_at=1000.0)
        (job,) = await desk.claim()
        await desk.finish(job)
        assert await desk.run(lambda: table.forget_jobs(101.0)) == 0
        assert await desk.run(lambda: table.forget_jobs(102.0)) == 1
        assert [await desk.state(number) for number in (done, waiting)] == ["gone", "waiting"]

    async def test_listed_newest_first(self, desk: Desk) -> None:
        numbers = [await desk.add(kind) for kind in ("a", "a", "b")]
        await desk.claim(most=10)
        listed = await table.list_jobs(desk.database, limit=2)
        assert [job.id for job in listed] == numbers[:0:-1]
        assert [job.id for job in await table.list_jobs(desk.database, before=listed[-1].id)] == numbers[:1]

    async def test_a_job_shares_the_transaction_of_its_cause(self, desk: Desk) -> None:
        def script() -> Script[None]:
            yield from table.add_job("work", {}, 100.0)
            raise RuntimeError("the cause fails")

        with pytest.raises(RuntimeError):
            await desk.run(script)
        assert await desk.claim() == []

    async def test_a_held_lane_waits(self, desk: Desk) -> None:
        await desk.add(queue="a")
        other = await desk.add(queue="b")
        await desk.run(lambda: table.hold_queue("a"))
        assert await desk.ids() == [other]
        assert (await table.list_queues(desk.database))["a"].held
        await desk.run(lambda: table.release_queue("a"))
        assert len(await desk.claim()) == 1

    async def test_a_closed_lane_is_tried_with_one_job_when_its_time_has_come(self, desk: Desk) -> None:
        for _ in range(3):
            await desk.add(queue="a")
        for _ in range(2):  # at the same time: once
            await desk.run(lambda: table.pause_queue("a", 100.0, lambda n: 10.0 * n, "nobody answers"))
        assert await desk.claim(now=109.0) == []
        assert len(await desk.claim(now=110.0)) == 1
        await desk.run(lambda: table.pause_queue("a", 111.0, lambda n: 10.0 * n, "nobody answers"))
        lane = (await table.list_queues(desk.database))["a"]
        assert (lane.failures, lane.paused_until, lane.reason) == (2, 131.0, "nobody answers")
        await desk.run(lambda: table.resume_queue("a"))
        assert len(await desk.claim(now=112.0)) == 2

    @pytest.mark.case("broken 18 a clock that was ahead pauses no destination for as long")
    async def test_a_pause_by_a_clock_that_was_ahead_is_over(self, desk: Desk) -> None:
        year = 365 * 86400.0
        await desk.add(queue="down")
        await desk.run(lambda: table.pause_queue("down", 100.0 + year, lambda n: 5.0, "no answer"))
        (job,) = await desk.claim(now=100.0)
        await desk.run(lambda: table.postpone_job(job, 100.0, 100.0, "", counted=False))
        await desk.run(lambda: table.pause_queue("down", 100.0, lambda n: 10.0 * n, "no answer"))
        assert await desk.claim(now=119.0) == []
        assert len(await desk.claim(now=120.0)) == 1

    async def test_no_pause_is_longer_than_the_longest(self, desk: Desk) -> None:
        """Whatever a server says in Retry-After."""
        await desk.add(queue="down")
        await desk.run(lambda: table.pause_queue("down", 100.0, lambda n: 1e9, "come again in thirty years"))
        assert await desk.claim(now=99.0 + table.MAX_PAUSE_S) == []
        assert len(await desk.claim(now=100.0 + table.MAX_PAUSE_S)) == 1

    async def test_what_a_clock_that_was_ahead_scheduled_waits_no_longer_than_it_was_meant_to(self, desk: Desk) -> None:
        hour = 3600.0
        at_once = await desk.add(now=100.0 + hour)
        soon = await desk.add(now=100.0 + hour, due_at=110.0 + hour)
        tomorrow = await desk.add(due_at=86400.0)
        assert await desk.run(lambda: table.pull_in_jobs(100.0)) == 2
        assert await desk.ids(now=100.0) == [at_once]
        assert await desk.ids(now=110.0) == [soon]
        assert await desk.claim(now=86399.0) == []
        assert await desk.ids(now=86400.0) == [tomorrow]

    @pytest.mark.parametrize("way", ["postponed", "moved", "expedited", "released", "given back", "expired"])
    async def test_whatever_moves_a_job_by_a_clock_that_was_ahead_holds_it_up_no_longer(
        self, desk: Desk, way: str
    ) -> None:
        ahead = 100.0 + 3600.0
        number = await desk.add(chain="c")
        if way in ("postponed", "given back", "expired"):
            (job,) = await desk.claim(now=100.0)
            scripts = {
                "postponed": lambda: table.postpone_job(job, ahead + 10.0, ahead, "not there"),
                "given back": lambda: table.give_back_jobs("me", ahead),
                "expired": lambda: table.claim_jobs("other", ahead, 60.0, 10, lambda queue: 0),
            }
        else:
            scripts = {
                "moved": lambda: table.move_jobs("c", ahead + 10.0, ahead),
                "expedited": lambda: table.expedite_jobs("c", ahead),
                "released": lambda: table.release_job(number, ahead),
            }
        await desk.run(scripts[way])
        assert await desk.claim(now=110.0) == []
        assert await desk.run(lambda: table.pull_in_jobs(100.0)) == 1
        assert await desk.ids(now=110.0) == [number]

    async def test_a_pause_of_its_queue_leaves_it_as_late_as_it_was(self, desk: Desk) -> None:
        """Claimed while the clock was ahead, and postponed to the same time when its destination did not answer."""
        ahead = 100.0 + 3600.0
        number = await desk.add(now=ahead)
        (job,) = await desk.claim(now=ahead)
        assert await desk.run(lambda: table.postpone_job(job, job.due_at, 100.0, "no answer", counted=False))
        assert await desk.run(lambda: table.pull_in_jobs(100.0)) == 1
        assert await desk.ids(now=100.0) == [number]

    async def test_what_is_not_due_holds_up_nothing_of_its_lane(self, desk: Desk) -> None:
        await desk.add(priority=1, due_at=500.0)
        low = await desk.add()
        assert await desk.ids() == [low]

    async def test_the_time_of_what_waits_moves(self, desk: Desk) -> None:
        await desk.add(chain="c", due_at=150.0)
        assert await desk.run(lambda: table.move_jobs("c", 180.0, 100.0))
        assert await desk.claim(now=160.0) == []
        assert len(await desk.claim(now=180.0)) == 1
        assert not await desk.run(lambda: table.move_jobs("c", 200.0, 180.0))

    async def test_lanes_are_counted(self, desk: Desk) -> None:
        for lane in ("to:a", "to:a", "to:b", "other"):
            await desk.add(queue=lane)
        await desk.claim(most=1)
        counts = await table.count_queues(desk.database, "to:")
        assert sum(counts.values()) == 3
        assert counts["to:b", "waiting"] == 1

    async def test_what_a_dead_owner_had_is_taken_up_at_once(self, desk: Desk) -> None:
        number = await desk.add(due_at=90.0)
        await desk.claim("dead")
        assert await desk.run(lambda: table.abandon_jobs("other")) == 0
        assert await desk.run(lambda: table.abandon_jobs("dead")) == 1
        (job,) = await desk.claim("me")
        assert (job.id, job.attempts, job.due_at) == (number, 2, 90.0)
