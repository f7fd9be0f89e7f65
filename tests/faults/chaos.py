"""`make chaos SEED=… HOURS=…`: everything at once, for as long as wanted; ends in one line of JSON with its figures.

Exit code 0 where nothing was lost and nothing was wrong. A seed repeats the plan and the data; how they meet the
gateway's own timing is different each time. What is wrong is left in the folder that it names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.support.chaos import campaign, faults
from tests.support.chaos.tally import Plan
from tests.support.faults import Shim


def main() -> int:
    plan, where = _arguments()
    print(f"seed {plan.seed}, in {where}", file=sys.stderr, flush=True)
    tally = asyncio.run(campaign.run(plan, Shim.build(where), where))
    print(json.dumps(tally.figures))
    return 0 if tally.good else 1


def _arguments() -> tuple[Plan, Path]:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--hours", type=float, default=1.0, help="at most")
    parser.add_argument("--kills", type=int, help="end after so many, and so many power cuts where these are limited")
    parser.add_argument("--power-cuts", type=int, default=0, help="0: none; otherwise needs root and loop devices")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keepers", type=int, default=1)
    parser.add_argument("--load-s", type=float, default=Plan.load_s, help="seconds of load between faults, at most")
    parser.add_argument("--faults", type=int, default=Plan.faults_per_round, help="in a round, at most; 0: cuts alone")
    parser.add_argument(
        "--fault", action="append", default=[], choices=faults.KINDS, help="only this kind of fault, and others named"
    )
    parser.add_argument("--set", action="append", default=[], metavar="GATEWAY_X__Y=VALUE", help="a setting")
    parser.add_argument("--folder", type=Path, help="a new folder for all data; one in the system's place by default")
    given = parser.parse_args()
    where = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    where.mkdir(parents=True, exist_ok=True)
    settings = dict(each.split("=", 1) for each in given.set)
    plan = Plan(
        given.seed,
        given.hours,
        workers=given.workers,
        keepers=given.keepers,
        kills=given.kills,
        power_cuts=given.power_cuts,
        load_s=given.load_s,
        faults_per_round=given.faults,
        kinds=given.fault,
        environment=settings,
    )
    return plan, where


if __name__ == "__main__":
    sys.exit(main())
