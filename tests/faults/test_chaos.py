"""A minute of chaos, and that its judge can say no. Hours of it: `make chaos`."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos import campaign
from tests.support.chaos.judge import Judge
from tests.support.chaos.ledger import Ledger, digest
from tests.support.chaos.sinks import Sinks
from tests.support.chaos.tally import Plan
from tests.support.processes import Gateway
from tests.support.traffic import Traffic, make_item, new_uid

SEED = 20261128


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "workers", "power_cuts"), [(SEED, 2, 0), (SEED + 1, 1, None)], ids=["kills", "cuts"])
async def test_chaos_loses_nothing(
    seed: int, workers: int, power_cuts: int | None, library: Path, tmp_path: Path
) -> None:
    """With workers, and with power cuts. New seeds are for `make chaos`: what they find must not fall on whoever comes
    along with another change."""
    plan = Plan(seed, hours=20 / 3600, workers=workers, power_cuts=power_cuts, load_s=1.0)
    tally = await campaign.run(plan, library, tmp_path)
    print(json.dumps(tally.figures))
    assert (tally.lost, tally.wrong) == ([], []), f"seed {seed}"
    assert tally.rounds
    assert tally.looked_at


def _not_sent(ledger: Ledger, uids: list[str]) -> None:
    item = make_item(random.Random(1), ledger.entries[uids[0]].study, new_uid(random.Random(2)), 1, 100)
    ledger.know(item)
    ledger.settle(item.uid, digest(item.data))
    ledger.touched.add(item.uid)


def _deleted(ledger: Ledger, uids: list[str]) -> None:
    ledger.settle(uids[0], None)


def _other_bytes(ledger: Ledger, uids: list[str]) -> None:
    ledger.settle(uids[0], b"other")


def _unknown(ledger: Ledger, uids: list[str]) -> None:
    del ledger.entries[uids[0]]
    ledger.touched.discard(uids[0])


LIES: dict[str, tuple[Callable[[Ledger, list[str]], None], str]] = {
    "an instance that was acknowledged is gone": (_not_sent, "was acknowledged and is not there"),
    "one that was deleted is there": (_deleted, "was deleted and is there"),
    "one has other bytes": (_other_bytes, "has an older version"),
    "one was never sent": (_unknown, "was never stored there"),
}


@pytest.mark.faults
@pytest.mark.parametrize("lie", LIES)
async def test_the_judge_says_so_where(lie: str, tmp_path: Path) -> None:
    """The ledger is told something else than the gateway."""
    traffic, ledger = Traffic(random.Random(5), sizes=(500,)), Ledger()
    environment = {"GATEWAY_MODALITIES__CHAOS__AET": "CHAOS", "GATEWAY_MODALITIES__TRAFFIC__AET": "TRAFFIC"}
    sinks = Sinks(random.Random(5))
    try:
        with Gateway(tmp_path / "data", environment=environment) as gateway:
            await traffic.send(gateway.host, gateway.port, 4)
            for item in traffic.sent.values():
                with ledger.attempt({item.uid: ledger.know(item)}, "stored") as attempt:
                    attempt.succeeded(item.uid)
            async with Judge(gateway, ledger) as judge:
                await judge.look()
                assert (judge.lost, judge.wrong) == ([], [])
                change, text = LIES[lie]
                ledger.touched |= set(traffic.sent)
                change(ledger, list(traffic.sent))
                await judge.look()
                assert any(text in each for each in judge.lost + judge.wrong), (judge.lost, judge.wrong)
                judge.wrong.clear()
                await judge.deliveries(sinks)
                assert any("was not delivered to" in each for each in judge.wrong)
            await asyncio.to_thread(gateway.stop)
    finally:
        await sinks.close()
