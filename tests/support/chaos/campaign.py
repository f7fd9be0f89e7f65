"""A campaign: one data folder after the other, each with rounds of load and faults, until it is enough."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from pathlib import Path

from tests.support.chaos.stage import Stage
from tests.support.chaos.tally import Plan, Tally


async def run(plan: Plan, library: Path, folder: Path) -> Tally:
    """What came of it. What is wrong ends it, and stays in `folder` to be looked at; `library` is the shim's.

    SIGTERM and Ctrl-C end it behind the round that it is in, with everything judged.
    """
    chance, tally = random.Random(plan.seed), Tally(plan)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tally.stop)
    while tally.good and not tally.enough:
        place = folder / f"folder-{tally.rounds}"
        place.mkdir(parents=True)
        await Stage(tally, place, library, random.Random(chance.random())).run()
        if tally.good:
            await asyncio.to_thread(shutil.rmtree, place)
    return tally
