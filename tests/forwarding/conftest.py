"""An archive with rules, and a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Settings, Storage
from gateway.dicom.part10 import file_header
from gateway.forwarding.control import Deliveries, Selection
from gateway.forwarding.rule_engine import RuleEngine
from gateway.forwarding.stability import Stability
from gateway.forwarding.table import Delivery
from gateway.index.store import Origin, Via
from gateway.ingest.data_folder import DataFolder, open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import StoreResult
from gateway.ingest.part10_receiver import Part10Receiver
from gateway.jobs import table as jobs
from gateway.jobs.table import Job
from tests.support.datasets import CT, ct_header, encode

EXPLICIT = "1.2.840.10008.1.2.1"
NODE = {"aet": "PACS", "host": "127.0.0.1", "port": 104}
BASE: dict[str, Any] = {
    "modalities": {"pacs": NODE, "other": {**NODE, "aet": "OTHER"}},
    "destinations": {
        "pacs": {"kind": "dicom", "modality": "pacs", "priority": 1},
        "other": {"kind": "dicom", "modality": "other"},
    },
}


class Archive:
    """Takes instances in and shows what that began."""

    ingest: Ingest

    def __init__(self, folder: DataFolder, path: Path) -> None:
        self.now = 1000.0
        self.folder, self.database = folder, folder.database
        self._path = path
        self.configure()
        self.jobs_added = asyncio.Event()
        self.rule_engine = RuleEngine(lambda: self.settings, wake=self.jobs_added.set, clock=lambda: self.now)
        self.deliveries = Deliveries(self.database, lambda: self.settings, clock=lambda: self.now)
        self.settling = Stability(self.database, self.rule_engine, lambda: None, lambda: self.now)

    def configure(self, **rules: dict[str, Any]) -> None:
        storage = {"path": str(self._path), "min_free": 0, "duplicates": "overwrite"}
        self.settings = msgspec.convert({**BASE, "storage": storage, "rules": rules}, Settings)

    async def store(
        self, instance: str = "1.2.3.4", *, calling_aet: str = "CT1", via: Via = "dimse", **attributes: Any
    ) -> StoreResult:
        study = attributes.setdefault("StudyInstanceUID", "1.2")
        attributes.setdefault("SeriesInstanceUID", f"{study}.3")
        data_set = encode(ct_header(SOPInstanceUID=instance, **attributes))
        arrival = Part10Receiver(self.ingest, Origin(calling_aet, "GATEWAY", "10.0.0.7", self.now, via))
        head = file_header(sop_class_uid=CT, sop_instance_uid=instance, transfer_syntax_uid=EXPLICIT)
        await arrival.write(head + data_set)
        return await arrival.end()

    async def all(self) -> list[Delivery]:
        """Oldest first."""
        return (await self.deliveries.page(Selection())).deliveries[::-1]

    async def places(self) -> list[tuple[str, str, str]]:
        """(instance, destination, state) of all deliveries, in order."""
        return [(each.sop_uid, each.destination, each.state) for each in await self.all()]

    async def claim(self, most: int = 100) -> list[Job]:
        return await self.database.write(lambda: jobs.claim_jobs("me", self.now, 60.0, most, lambda queue: 100))

    async def settle(self) -> int:
        """Do the settling jobs that are due; how many."""
        due = [job for job in await self.claim() if job.kind == "settling"]
        for job in due:
            await self.settling.work(job)
            await self.database.write(lambda job=job: jobs.finish_job(job, "done", self.now))  # type: ignore[misc]
        return len(due)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    settings = msgspec.convert({"path": str(tmp_path / "data"), "min_free": 0, "duplicates": "overwrite"}, Storage)
    async with asyncio.timeout(30), open_folder(settings) as folder:
        made = Archive(folder, tmp_path / "data")
        async with open_ingest(folder, outbox=made.rule_engine) as made.ingest:
            yield made
