"""One data folder: rounds of load and faults, each of which is ended and judged, and at last everything is.

A round ends with an orderly stop, with kill -9 of everything, or with a power cut, and a start; then the judge looks at
what was touched. At last the destinations are mended, everything is looked at, deliveries too, and the last backup is
brought back and looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.support.chaos.faults import Faults, processes
from tests.support.chaos.judge import Judge
from tests.support.chaos.ledger import Ledger
from tests.support.chaos.load import AET, Load
from tests.support.chaos.sinks import Sinks
from tests.support.chaos.tally import Tally
from tests.support.faults import Disk, Shim
from tests.support.processes import ROOT, Gateway, NotStarted, is_running

UP_S = 180.0
"""A gateway is up and ready by then."""
DELIVERED_S = 180.0
"""Nothing waits for a mended destination any more by then."""
PACKED = 640 << 10
STOPPED_S = 40.0
"""`drain_timeout` and as much again."""


class Stage:
    """One data folder, from its first start to its last."""

    def __init__(self, tally: Tally, folder: Path, library: Path, chance: random.Random) -> None:
        self.tally, self.plan, self.folder, self._chance = tally, tally.plan, folder, chance
        self._cuts = self.plan.power_cuts != 0
        self._disk = Disk.make(folder, megabytes=4096) if self._cuts else None
        place = self._disk.mount if self._disk is not None else folder
        self._clock = folder / "clock"
        self._shim = Shim(library, folder / "control", folder)
        self._file = folder / "gateway.toml"
        self.ledger = Ledger()
        self.sinks = Sinks(self._chance)
        environment = {
            **self._shim.environment,
            "FAULTS_CLOCK": str(self._clock),
            "GATEWAY_SERVER__WORKERS": str(self.plan.workers),
            "GATEWAY_STORAGE__KEEPERS": str(self.plan.keepers),
            **self.plan.environment,
        }
        self.gateway = Gateway(
            place / "data", "--config", str(self._file), environment=environment, log=folder / "gateway.log"
        )
        self.faults = Faults(self.gateway, self._shim, self._clock, self._chance)
        self.load = Load(self.gateway, self.ledger, f"{self.plan.seed} {tally.rounds}", folder)

    async def run(self) -> None:
        self._configure()
        try:
            async with self._mounted():
                await self._start()
                for _ in range(self.plan.rounds_per_folder):
                    await self._round()
                    if self.tally.enough or not self.tally.good:
                        break
                await self._finish()
        except (NotStarted, AssertionError) as error:  # the latter where it does not come to what is waited for
            self.tally.wrong.append(str(error)[:300])
        finally:
            self.tally.load += self.ledger.counts
            self.gateway.kill()
            await self.sinks.close()

    async def _round(self) -> None:
        self.tally.rounds += 1
        self.load.start()
        try:
            most = self.plan.faults_per_round
            for _ in range(self._chance.randint(min(2, most), most)):
                await asyncio.sleep(self._chance.uniform(0.3, self.plan.load_s))
                kind = self._kind()
                self.tally.faults[kind] += 1
                await self.faults.kinds[kind]()
                await self._up_again(anew=kind == "failed sync")
            await asyncio.sleep(self._chance.uniform(0, 0.5 if most else self.plan.load_s))
            await self._end_round()
        finally:
            self.faults.lift()
            await self.load.stop()
        await self._start()
        await self._judge()

    def _kind(self) -> str:
        if not self.plan.kinds and self._chance.random() < 0.4:
            return "kill"
        return self._chance.choice(self.plan.kinds or list(self.faults.kinds))

    async def _end_round(self) -> None:
        """Down, in one of the ways there are; the load goes on against nobody."""
        how = self._chance.choice(["stop", "kill", "kill"])
        cut_each = not (self.plan.faults_per_round and self.tally.power_cuts)
        if self._cuts and (cut_each or self._chance.random() < 0.6):
            how = "power cut"
        left = processes(self.gateway)
        if how == "power cut" and self._disk is not None:
            self.tally.power_cuts += 1
            await asyncio.to_thread(self.gateway.freeze)
            after = await asyncio.to_thread(self._disk.cut, f"cut{self.tally.power_cuts}")
            await self._killed(left)
            await self._change_disk(after)
        elif how == "kill":
            self.tally.kills += 1
            await self._killed(left)
        else:
            self.tally.faults["orderly stop"] += 1
            self.load.reloads = False
            try:
                code = await asyncio.to_thread(self.gateway.stop, STOPPED_S)
            except subprocess.TimeoutExpired:
                self.tally.wrong.append(f"it had not stopped after {STOPPED_S:g} s")
            else:
                if code:
                    self.tally.wrong.append(f"it stopped with exit code {code}")
            await self._gone(left)

    async def _up_again(self, *, anew: bool) -> None:
        """Ready, after a start where it has ended or has to begin `anew`, and otherwise by itself."""
        self.tally.kills, self.faults.kills = self.tally.kills + self.faults.kills, 0
        if anew or self.gateway.process is None or self.gateway.process.poll() is not None:
            self.gateway.kill()
        await self._start()

    async def _start(self) -> None:
        """Started, and ready. Raises NotStarted."""
        if self.gateway.process is None:
            self._configure()
            self.faults.age()
            await asyncio.to_thread(self.gateway.start, UP_S)
            self.tally.slowest_start_s = max(self.tally.slowest_start_s, self.gateway.seconds_to_listen)
        await asyncio.to_thread(self.gateway.wait_ready, UP_S)

    async def _killed(self, left: list[int]) -> None:
        self.gateway.kill()
        await self._gone(left)

    async def _gone(self, left: list[int]) -> None:
        """What a gateway has started ends with it: nothing is committed any more after this."""
        deadline = time.monotonic() + 20
        while alive := [pid for pid in left if is_running(pid)]:
            if time.monotonic() > deadline:
                self.tally.wrong.append(f"processes {alive} have outlived their gateway by 20 s")
                return
            await asyncio.sleep(0.05)

    async def _judge(self, everything: bool = False) -> None:
        async with Judge(self.gateway, self.ledger) as judge:
            self.tally.looked_at += len(self.ledger.entries if everything else self.ledger.touched)
            await judge.look(everything)
        self._note(judge)

    def _note(self, judge: Judge) -> None:
        where = f"round {self.tally.rounds}, {self.folder}: "
        self.tally.lost += [where + text for text in judge.lost]
        self.tally.wrong += [where + text for text in judge.wrong]

    async def _finish(self) -> None:
        """Everything is mended, and everything is looked at."""
        self.sinks.mend()
        self._configure()
        self.gateway.kill()
        await self._start()
        await self._delivered()
        async with Judge(self.gateway, self.ledger) as judge:
            await judge.look(everything=True)
            await judge.deliveries(self.sinks)
            await judge.jobs()
        self.tally.looked_at += len(self.ledger.entries)
        self.tally.delivered += sum(len(sink.taken) for sink in self.sinks.by_name.values())
        self._note(judge)
        self.tally.compactions += self.gateway.log.count("what lives in segment ")
        _, traceback, rest = self.gateway.log.partition("Traceback")
        if traceback:
            self.tally.wrong.append(f"{self.gateway.log_file} has a traceback{rest[:2000]}")
        for backup, wanted in self.load.backups:
            await self._check_backup(backup, wanted)
        if await asyncio.to_thread(self.gateway.stop, STOPPED_S):
            self.tally.wrong.append("it did not stop in order in the end")

    async def _delivered(self) -> None:
        """Until nothing waits for any destination, or for too long; the judge says then what does.

        Their pauses are ended as a person would who has mended them: they last up to five minutes.
        """
        async with aiohttp.ClientSession() as session:
            for name in self.sinks.by_name:
                async with session.post(f"{self.gateway.url}/destinations/{name}/release") as answer:
                    assert answer.status == 200, await answer.text()
        deadline = time.monotonic() + DELIVERED_S
        while time.monotonic() < deadline:
            _, body = await asyncio.to_thread(self.gateway.get, "/destinations?expand", 30)
            _, jobs = await asyncio.to_thread(self.gateway.get, "/jobs?expand&limit=1000", 30)
            going = [each for each in json.loads(jobs) if each["State"] not in ("Success", "Failure")]
            if not going and not any(each["Waiting"] + each["Sending"] for each in json.loads(body)):
                return
            await asyncio.sleep(0.2)

    async def _check_backup(self, backup: Path, wanted: dict[str, bytes]) -> None:
        """Restored into a folder of its own, it starts and has what it must have."""
        data = self.folder / "restored"
        command = [sys.executable, "-m", "gateway", "restore", str(backup), "--data", str(data)]
        done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            self.tally.wrong.append(f"restoring {backup} failed: {done.stderr[-500:]}")
            return
        file = self.folder / "restored.toml"
        file.write_text('[modalities.chaos]\naet = "CHAOS"\n')  # no destinations: nothing is to be sent from there
        restored = Gateway(data, "--config", str(file), environment=self.plan.environment)
        await asyncio.to_thread(restored.start, UP_S)
        try:
            async with Judge(restored, self.ledger) as judge:
                await judge.contents(wanted)
            self._note(judge)
            self.tally.load["backups restored"] += 1
        finally:
            restored.kill()

    def _configure(self) -> None:
        """Write the configuration; small instances are files of their own every third time, for `storage repack`."""
        own = f'[modalities.chaos]\naet = "{AET}"\n[storage]\nduplicates = "overwrite"\n'
        own += f"pack_below = {self._chance.choice([0, PACKED, PACKED])}\n[dicomweb]\ndelete = true\n"
        self._file.write_text(own + self.sinks.configuration())

    @contextlib.asynccontextmanager
    async def _mounted(self) -> AsyncIterator[None]:
        self._mount = contextlib.ExitStack()
        if self._disk is not None:
            self._mount.enter_context(self._disk.mounted())
        try:
            yield
        finally:
            self.gateway.kill()
            await asyncio.to_thread(self._mount.close)

    async def _change_disk(self, after: Disk) -> None:
        """The image that the power cut left takes the place of the disk."""
        assert self._disk is not None
        before, self._disk = self._disk, after
        await asyncio.to_thread(self._mount.close)
        before.forget()
        self._mount.enter_context(after.mounted())
        self.gateway.data = after.mount / "data"
