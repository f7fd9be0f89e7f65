"""The work that a gateway under chaos is given: storing, overwriting, deleting, modifying, reading, backing up,
repacking.

Every client goes on whatever happens to the gateway, and writes into the ledger what it asked and what was answered.
It sleeps between its calls because a pace is what it has: nothing is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from gateway.errors import GatewayError
from gateway.index.identity import public_id
from gateway.net.requestor import Call, Requestor, associate
from tests.support.chaos.ledger import Derivation, Ledger
from tests.support.processes import ROOT, Gateway
from tests.support.traffic import CT, EXPLICIT, Item, as_file, make_item, new_uid

AET = "CHAOS"
SIZES = (2_000, 2_000, 2_000, 20_000, 150_000, 400_000)
PATIENCE = 20.0
"""Seconds for an answer."""
FOUND = frozenset({200, 204, 404})
UNABLE = frozenset({409, 413, 429, 500, 502, 503, 507})
"""HTTP statuses that say no; what was asked for may be done all the same."""


class Load:
    """All clients of one gateway. `folder` is for backups."""

    def __init__(self, gateway: Gateway, ledger: Ledger, seed: str, folder: Path) -> None:
        self.gateway, self.ledger, self.folder = gateway, ledger, folder
        self.backups: list[tuple[Path, dict[str, bytes]]] = []
        """Finished ones, each with the instances that must be in it."""
        self.reloads = True
        """Whether SIGHUP may come; not in the last moments of a process."""
        self._chance, self._seed = random.Random(seed), seed
        self._marks = itertools.count(1)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let all clients begin, each with a chance of its own."""
        self._stopping, self.reloads = False, True
        clients = [self._store, self._store, self._store, self._overwrite, self._stow, self._delete, self._modify]
        clients += [self._read, self._back_up, self._repack, self._reload]
        self._tasks = [
            asyncio.create_task(self._again_and_again(client, random.Random(self._chance.random())))
            for client in clients
        ]

    async def stop(self) -> None:
        """No more requests; those under way may still be answered, for a while."""
        self._stopping = True
        _, late = await asyncio.wait(self._tasks, timeout=PATIENCE)
        for task in late:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _again_and_again(self, client: Callable[[random.Random], Awaitable[None]], chance: random.Random) -> None:
        while not self._stopping:
            try:
                await client(chance)
            except (GatewayError, OSError, aiohttp.ClientError, TimeoutError):
                self.ledger.counts["connections lost"] += 1
                await asyncio.sleep(0.05)  # the gateway may be away

    @asynccontextmanager
    async def _association(self) -> AsyncIterator[Requestor]:
        call = Call(
            self.gateway.host,
            self.gateway.port,
            "GATEWAY",
            AET,
            [(CT, [EXPLICIT])],
            response_timeout=PATIENCE,
            timeout=5,
        )
        async with associate(call) as association:
            yield association

    @asynccontextmanager
    async def _session(self, *traces: aiohttp.TraceConfig) -> AsyncIterator[aiohttp.ClientSession]:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout, trace_configs=list(traces)) as session:
            yield session

    async def _send(self, association: Requestor, item: Item, what: str) -> None:
        with self.ledger.attempt({item.uid: self.ledger.know(item)}, what) as attempt:
            answer = await association.store(association.context_for(CT), item.uid, [item.data])
            if answer.status == 0:
                attempt.succeeded(item.uid)
            else:
                await asyncio.sleep(0.02)

    async def _store(self, chance: random.Random) -> None:
        """New instances by C-STORE, some series of a study on one association."""
        study, series = new_uid(chance), new_uid(chance)
        async with self._association() as association:
            for number in range(1, chance.randint(2, 60)):
                if self._stopping:
                    return
                if number % 20 == 0:
                    series = new_uid(chance)
                await self._send(association, make_item(chance, study, series, number, chance.choice(SIZES)), "stored")

    async def _overwrite(self, chance: random.Random) -> None:
        """Other bytes for what is there, and for what has been deleted."""
        async with self._association() as association:
            for number in range(40):
                if self._stopping:
                    return
                await asyncio.sleep(0.02)  # fewer than new ones
                old = self.ledger.pick(chance, derived=False, deleted=number % 4 == 0)
                if old is not None:
                    what = "overwritten" if old.acknowledged else "stored again"
                    item = make_item(chance, old.study, old.series, number, chance.choice(SIZES), old.uid)
                    await self._send(association, item, what)

    async def _stow(self, chance: random.Random) -> None:
        study, series = new_uid(chance), new_uid(chance)
        items = [make_item(chance, study, series, number, chance.choice(SIZES)) for number in range(1, 7)]
        parts = [b"--X\r\nContent-Type: application/dicom\r\n\r\n" + as_file(item) for item in items]
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=X'}
        body = io.BytesIO(b"\r\n".join([*parts, b"--X--"]))
        contents = {item.uid: self.ledger.know(item) for item in items}
        async with self._session() as session:
            with self.ledger.attempt(contents, "stored over STOW-RS") as attempt:
                async with session.post(f"{self.gateway.url}/dicom-web/studies", data=body, headers=headers) as answer:
                    text = await answer.read()
                if answer.status in (200, 202):
                    for each in json.loads(text).get("00081199", {}).get("Value", []):
                        attempt.succeeded(each["00081155"]["Value"][0])
        await asyncio.sleep(0.05)

    async def _delete(self, chance: random.Random) -> None:
        """An instance, or all of its series."""
        await asyncio.sleep(0.05)
        entry = self.ledger.pick(chance)
        if entry is None:
            return
        path = f"{self.gateway.url}/dicom-web/studies/{entry.study}/series/{entry.series}"
        some = [entry]
        if chance.random() < 0.1:
            some = [each for each in self.ledger.of_study(entry.study) if each.series == entry.series]
            if any(each.busy for each in some):
                return
        else:
            path += f"/instances/{entry.uid}"
        connections = 0

        async def count(*_: object) -> None:
            nonlocal connections
            connections += 1

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(count)
        async with self._session(trace) as session:
            with self.ledger.attempt({each.uid: None for each in some}, "deleted") as attempt:
                async with session.delete(path) as answer:
                    await answer.read()
                if answer.status in (200, 204):
                    for each in some:
                        attempt.succeeded(each.uid)
                elif answer.status == 404 and connections > 1:
                    pass  # aiohttp has asked again where the first worker was killed, perhaps after it had deleted
                elif answer.status not in UNABLE:
                    self.ledger.seen.append(f"deleting {path}, which was there, was answered {answer.status}")

    async def _modify(self, chance: random.Random) -> None:
        """A study becomes another one beside it."""
        await asyncio.sleep(0.5)
        entry = self.ledger.pick(chance, derived=False)
        some = self.ledger.of_study(entry.study) if entry is not None else []
        there = [each for each in some if each.acknowledged]
        if entry is None or any(each.busy for each in some) or len(there) > 20:
            return
        pixels = frozenset(self.ledger.pixels[content] for each in there for content in each.possible if content)
        made = Derivation(f"CHAOS {self._seed} {next(self._marks)}", len(there), pixels, entry.patient)
        self.ledger.derivations.append(made)
        self.ledger.touched |= {each.uid for each in there}
        for each in there:  # and so they stay where no answer comes: it may still be reading them
            each.busy = True
        path = f"{self.gateway.url}/studies/{public_id(entry.patient, entry.study)}/modify"
        body = {"Replace": {"StudyDescription": made.mark}}
        async with self._session() as session, session.post(path, json=body) as answer:
            text = await answer.read()
        for each in there:
            each.busy = False
        if answer.status == 200 and json.loads(text)["FailedInstancesCount"] == 0:
            made.acknowledged = True
            self.ledger.counts["modified"] += 1
        elif answer.status not in UNABLE and answer.status != 200:
            self.ledger.seen.append(f"modifying {entry.study}: {answer.status} {text[:200]!r}")

    async def _read(self, chance: random.Random) -> None:
        """What was acknowledged before the question is in the answer, byte for byte."""
        await asyncio.sleep(0.05)
        entry = self.ledger.pick(chance)
        if entry is None:
            return
        before = set(entry.possible)
        path = f"{self.gateway.url}/dicom-web/studies/{entry.study}/series/{entry.series}/instances"
        async with self._session() as session:
            async with session.get(path, params={"SOPInstanceUID": entry.uid}) as answer:
                await answer.read()
            if entry.possible == before and not entry.busy and answer.status == 204:
                self.ledger.seen.append(f"{entry.uid} was acknowledged and a query did not find it")
            elif answer.status not in FOUND | UNABLE:
                self.ledger.seen.append(f"a query was answered {answer.status}")
            async with session.get(f"{self.gateway.url}/dicom-web/studies/{entry.study}/metadata") as answer:
                await answer.read()
        self.ledger.counts["queries"] += 1

    async def _back_up(self, chance: random.Random) -> None:
        await asyncio.sleep(5 + 6 * chance.random())
        target = self.folder / f"backup-{len(self.backups)}-{time.monotonic_ns()}"
        entries = self.ledger.entries
        before = {uid: entry.content for uid, entry in entries.items() if entry.acknowledged and entry.content}
        code = await self._run(chance, "backup", str(target), "--data", str(self.gateway.data))
        # What nobody has asked to change meanwhile must be in it.
        wanted = {uid: content for uid, content in before.items() if entries[uid].possible == {content}}
        if code == 0:
            self.ledger.counts["backups"] += 1
            for old, _ in self.backups:
                await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)
            self.backups[:] = [(target, wanted)]
        else:
            self.ledger.counts["backups failed"] += 1
            await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)

    async def _repack(self, chance: random.Random) -> None:
        """What is a file of its own, and small, moves into segments."""
        await asyncio.sleep(4 + 6 * chance.random())
        code = await self._run(chance, "storage", "repack", "--data", str(self.gateway.data))
        self.ledger.counts["repacks failed" if code else "repacks"] += 1

    async def _reload(self, chance: random.Random) -> None:
        await asyncio.sleep(1 + 2 * chance.random())
        if self.reloads and self.gateway.process is not None and self.gateway.url:
            self.gateway.signal(signal.SIGHUP)
            self.ledger.counts["reloads"] += 1

    async def _run(self, chance: random.Random, *arguments: str) -> int:
        """The exit code of a command of the gateway, which has its clock; every fourth is killed soon."""
        own = {name: text for name, text in self.gateway.environment.items() if name in ("LD_PRELOAD", "FAULTS_CLOCK")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            cwd=ROOT,
            env={**os.environ, **own},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            if chance.random() < 0.25:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5 + 1.5 * chance.random()):
                        return await process.wait()
                self.ledger.counts["commands killed"] += 1
                process.kill()
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
