"""Whether a gateway has what it acknowledged and nothing else, asked over DICOMweb, DIMSE and REST.

There must be no load meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import aiohttp

from gateway.dicom.encode import Attribute
from gateway.net.requestor import Call, associate
from gateway.scu.find import STUDY_ROOT, find_on, identifier
from tests.support.chaos.ledger import Derivation, Entry, Ledger, digest, pixels_of
from tests.support.chaos.load import AET
from tests.support.chaos.sinks import Sinks
from tests.support.processes import Gateway
from tests.support.traffic import EXPLICIT

PAGE = 1000
AT_ONCE = 8
ENDED = {"Success", "Failure"}


class Judge:
    """Looks at one gateway for as long as a `with` lasts. What is wrong is in `lost` and `wrong`."""

    def __init__(self, gateway: Gateway, ledger: Ledger) -> None:
        self.gateway, self.ledger = gateway, ledger
        self.lost: list[str] = []
        """Acknowledged instances that are gone, or have other bytes."""
        self.wrong: list[str] = []
        self._room = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Judge:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def look(self, everything: bool = False) -> None:
        """Compare what there is with the ledger: what was touched since the last time, or all; and every counter.

        What is seen is what has to stay from now on.
        """
        await self._quiet()
        ledger = self.ledger
        touched = set(ledger.entries) if everything else set(ledger.touched)
        studies = {ledger.entries[uid].study for uid in touched}
        for study in studies:
            listed = await self._instances(study)
            await asyncio.gather(*(self._check(study, uid, series) for uid, series in listed.items()))
            for entry in ledger.of_study(study):
                if entry.uid not in listed:
                    if entry.acknowledged:
                        self.lost.append(f"{entry.uid} was acknowledged and is not there")
                    ledger.settle(entry.uid, None)
        ledger.touched.clear()
        derivations, ledger.derivations = ledger.derivations, []
        for made in derivations:
            await self._check_derivation(made)
        await self._check_counts()
        self.wrong += ledger.seen
        ledger.seen.clear()

    async def deliveries(self, sinks: Sinks) -> None:
        """Everything that is there has been taken by every destination, and nothing that was never there."""
        for name, sink in sinks.by_name.items():
            for entry in self.ledger.present:
                if entry.content not in sink.taken.get(entry.uid, ()):
                    self.wrong.append(f"{entry.uid} is there and was not delivered to {name}, as it is now")
            for uid, contents in sink.taken.items():
                if uid in self.ledger.ever and (strange := set(contents) - self.ledger.ever[uid]):
                    self.wrong.append(f"{name} has been sent {uid} with {len(strange)} contents that it never had")
                elif uid not in self.ledger.ever:
                    self.wrong.append(f"{name} has been sent {uid}, which was never there")

    async def jobs(self) -> None:
        """No job is left that is not over, and no delivery has been given up."""
        waiting = [job for job in await self._json("/jobs?expand&limit=1000") if job["State"] not in ENDED]
        self.wrong += [
            f"job {job['ID']} ({job['Type']}) is {job['State']}: {job['ErrorDescription']}" for job in waiting
        ]
        for each in await self._json("/destinations?expand"):
            left = {name: each[name] for name in ("Waiting", "Sending", "HeldDeliveries", "Dead") if each[name]}
            if left:
                self.wrong.append(f"destination {each['Name']}: {left} {each['Reason']}")

    async def contents(self, wanted: dict[str, bytes]) -> None:
        """These instances are there with these contents; of a backup, which may have others too."""
        by_study: defaultdict[str, list[Entry]] = defaultdict(list)
        for uid in wanted:
            by_study[self.ledger.entries[uid].study].append(self.ledger.entries[uid])
        for study, entries in by_study.items():
            listed = await self._instances(study)
            for entry in entries:
                if entry.uid not in listed:
                    self.lost.append(f"{entry.uid} is not in the backup")
                    continue
                data, _ = await self._fetch(study, entry.series, entry.uid)
                if digest(data) != wanted[entry.uid]:
                    self.lost.append(f"{entry.uid} has other bytes in the backup")

    async def _check(self, study: str, uid: str, series: str) -> None:
        entry = self.ledger.entries.get(uid)
        if entry is None or (entry.study, entry.series) != (study, series):
            self.wrong.append(f"{uid} is listed in study {study} and was never stored there")
            return
        data, size = await self._fetch(study, series, uid)
        content = digest(data)
        if entry.possible == {None}:
            self.wrong.append(f"{uid} was deleted and is there")
        elif content not in entry.possible:
            known = "an older version" if content in self.ledger.ever.get(uid, ()) else "bytes that were never sent"
            self.lost.append(f"{uid} has {known} ({len(data)} bytes)")
        entry.size = size
        self.ledger.settle(uid, content)

    async def _check_derivation(self, made: Derivation) -> None:
        """The instances of a study that the gateway made: as many as there should be, with the pixels of their sources.
        From now on they are as any other.
        """
        found = await self._pages("/dicom-web/instances", {"StudyDescription": made.mark})
        if len(found) > made.count or (made.acknowledged and len(found) < made.count):
            self.lost.append(f"{made.mark} has {len(found)} instances of {made.count}")
        for row in found:
            study, series, uid = (_value(row, tag) for tag in ("0020000D", "0020000E", "00080018"))
            data, size = await self._fetch(study, series, uid)
            if pixels_of(data) not in made.pixels:
                self.lost.append(f"{uid} of {made.mark} has pixels that its source had not")
            content = digest(data)
            self.ledger.entries[uid] = Entry(
                study, series, uid, made.patient, possible={content}, derived=True, size=size
            )
            self.ledger.ever[uid] = {content}
            self.ledger.pixels[content] = pixels_of(data)

    async def _check_counts(self) -> None:
        """All that counts instances, series, studies, patients and bytes says what there is."""
        present = self.ledger.present
        series: defaultdict[str, set[str]] = defaultdict(set)
        instances: defaultdict[str, int] = defaultdict(int)
        for entry in present:
            series[entry.study].add(entry.series)
            instances[entry.study] += 1
        expected = {
            "CountInstances": len(present),
            "CountSeries": sum(map(len, series.values())),
            "CountStudies": len(series),
            "CountPatients": len({entry.patient for entry in present}),
            "TotalDiskSize": str(sum(entry.size for entry in present)),
        }
        found = await self._json("/statistics")
        for name, value in expected.items():
            if found[name] != value:
                self.wrong.append(f"/statistics says {name} {found[name]}, and there are {value}")
        fields = {"includefield": "NumberOfStudyRelatedSeries,NumberOfStudyRelatedInstances"}
        over_web = {
            _value(row, "0020000D"): (int(_value(row, "00201206")), int(_value(row, "00201208")))
            for row in await self._pages("/dicom-web/studies", fields)
        }
        wanted = {study: (len(series[study]), count) for study, count in instances.items()}
        for how, listed in (("QIDO-RS", over_web), ("C-FIND", await self._find_studies())):
            for study in wanted.keys() | listed.keys():
                if wanted.get(study) != listed.get(study):
                    self.wrong.append(
                        f"study {study}, {how} says {listed.get(study)}, and there are {wanted.get(study)}"
                    )

    async def _find_studies(self) -> dict[str, tuple[int, int]]:
        keys = {0x0020000D: Attribute("UI", []), 0x00201206: Attribute("IS", []), 0x00201208: Attribute("IS", [])}
        call = Call(self.gateway.host, self.gateway.port, "GATEWAY", AET, [(STUDY_ROOT, [EXPLICIT])])
        async with associate(call) as association:
            rows = [json.loads(match.json()) async for match in find_on(association, identifier("study", keys))]
        return {_value(row, "0020000D"): (int(_value(row, "00201206")), int(_value(row, "00201208"))) for row in rows}

    async def _quiet(self) -> None:
        """Nobody is connected any more, and nothing says otherwise."""
        async with asyncio.timeout(30):
            while [each for each in await self._json("/associations") if each["CallingAet"] == AET]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        async with self._session.get(f"{self.gateway.url}/metrics") as answer:
            text = (await answer.read()).decode()
        counted = sum(float(value) for value in re.findall(r"^gateway_associations(?:\{[^}]*\})? (\S+)$", text, re.M))
        if counted:
            self.wrong.append(f"/metrics says {counted:g} associations are open, and none is")

    async def _instances(self, study: str) -> dict[str, str]:
        """The series of each instance of a study."""
        found: dict[str, str] = {}
        for row in await self._pages(f"/dicom-web/studies/{study}/instances", {}):
            uid = _value(row, "00080018")
            if uid in found:
                self.wrong.append(f"{uid} is listed twice")
            found[uid] = _value(row, "0020000E")
        return found

    async def _fetch(self, study: str, series: str, uid: str) -> tuple[bytes, int]:
        """The data set of an instance, and the size of its file; nothing where it cannot be had."""
        path = f"{self.gateway.url}/dicom-web/studies/{study}/series/{series}/instances/{uid}"
        async with (
            self._room,
            self._session.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"}) as answer,
        ):
            body = await answer.read()
        if answer.status != 200 or body[128:132] != b"DICM":
            self.lost.append(f"{uid} is listed and cannot be had: {answer.status} {body[:100]!r}")
            return b"", 0
        (length,) = struct.unpack_from("<I", body, 140)
        return body[144 + length :], len(body)

    async def _pages(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = await self._json(path, {**query, "limit": str(PAGE), "offset": str(len(rows))})
            rows += page
            if len(page) < PAGE:
                return rows

    async def _json(self, path: str, query: dict[str, str] | None = None) -> Any:
        async with self._session.get(self.gateway.url + path, params=query) as answer:
            text = await answer.read()
        if answer.status == 204:
            return []
        if answer.status != 200:
            self.wrong.append(f"GET {path} was answered {answer.status}: {text[:200]!r}")
            return []
        return json.loads(text)


def _value(row: dict[str, Any], tag: str) -> str:
    values: Iterable[Any] = row.get(tag, {}).get("Value", [""])
    return str(next(iter(values)))
