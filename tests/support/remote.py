"""A gateway with its REST API and its jobs, and beside it a second one that is a modality of the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from gateway.config import SERVICES
from gateway.dicom.part10 import file_header
from gateway.jobs.runner import Runner
from tests.support.datasets import EXPLICIT, encode, instance
from tests.support.destination import Destination
from tests.support.intake import Intake, intake
from tests.support.web import House, archive


@dataclass
class Remote:
    """`here` is asked over REST; `there` is its modality `there`; `target` takes what C-MOVE sends to `TARGET`."""

    here: House
    there: Intake
    target: Destination
    runner: Runner

    async def post(self, path: str, body: Any = None, *, data: bytes | None = None) -> tuple[int, Any]:
        answer = await (
            self.here.client.post(path, json=body) if data is None else self.here.client.post(path, data=data)
        )
        return answer.status, await answer.json(content_type=None)

    async def upload(self, data_set: Dataset) -> dict[str, str]:
        """Store an instance here; Orthanc's answer."""
        status, answer = await self.post("/instances", data=file_of(data_set))
        assert status == 200, answer
        return answer

    async def fill(self, *numbers: int) -> list[dict[str, str]]:
        """Instances of one study, stored here."""
        return [await self.upload(numbered(number)) for number in numbers]


def numbered(number: int, **values: Any) -> Dataset:
    return instance(
        PatientID="P1",
        PatientName="Doe^Jane",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.1",
        SOPInstanceUID=f"1.2.3.1.{number}",
        InstanceNumber=str(number),
        **values,
    )


def file_of(data_set: Dataset) -> bytes:
    head = file_header(
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        transfer_syntax_uid=EXPLICIT,
    )
    return head + encode(data_set, EXPLICIT)


@asynccontextmanager
async def remote(folder: Path) -> AsyncIterator[Remote]:
    target = Destination()
    places = {"target": {"aet": "TARGET", "host": "127.0.0.1", "port": target.port}}
    dicom = {"allow_any_caller": True, "any_caller_may": list(SERVICES)}
    try:
        async with (
            intake(folder / "there", modalities=places, dicom=dicom) as there,
            archive(folder / "here") as here,
        ):
            runner = Runner(here.database, here.use_cases.kinds, poll=0.02)
            runner.start()
            made = Remote(here, there, target, runner)
            host, port = there.acceptor.address
            answer = await here.client.put("/modalities/there", json={"AET": "GATEWAY", "Host": host, "Port": port})
            assert answer.status == 200
            try:
                yield made
            finally:
                await runner.close()
    finally:
        await target.acceptor.stop(0)
