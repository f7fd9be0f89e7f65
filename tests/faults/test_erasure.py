"""What was deleted is not on the disk any more: its bytes are looked for in the image of the whole file system."""

from __future__ import annotations

import asyncio
import io
import json
import mmap
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from gateway.errors import GatewayError
from gateway.index.identity import public_id
from gateway.net.requestor import Call, associate
from tests.support.datasets import CT, EXPLICIT, ct_header, encode
from tests.support.faults import Disk, Shim
from tests.support.processes import ROOT, Gateway
from tests.support.traffic import Item, as_file
from tests.support.waiting import wait_until

GONE, STAYS = "GONE-4711-XQ", "STAYS-0815-YP"
NAMES = {GONE: "Zwiebelfisch^Ottilie", STAYS: "Bleibtreu^Walburga"}
BIG, SMALL = 1_500_000, 60_000
DAY_S = 86_400
UP_S = 90.0


def pattern(patient: str, number: int) -> bytes:
    """What the pixels of an instance repeat: found in an image, it tells whose they are."""
    return f"<{patient} {number:04} pixels>".encode()


def made(patient: str, number: int, size: int, version: int = 0) -> Item:
    own = pattern(patient, number + 1000 * version)
    pixels = (own * (size // len(own) + 1))[:size]
    study = f"1.2.{len(patient)}"
    header = ct_header(
        PatientID=patient, PatientName=NAMES[patient], StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.{number}", Rows=size // 1000, Columns=500, PixelData=pixels,
    )  # fmt: skip
    return Item(study, f"{study}.1", f"{study}.1.{number}", encode(header, EXPLICIT))


async def send(gateway: Gateway, items: Sequence[Item]) -> list[int | None]:
    call = Call(gateway.host, gateway.port, "GATEWAY", "TEST", [(CT, [EXPLICIT])])
    async with associate(call) as association:
        context = association.context_for(CT)
        return [(await association.store(context, item.uid, [item.data])).status for item in items]


async def fill(gateway: Gateway, patient: str, *, aside: bool) -> None:
    """Everything that a gateway may write of a patient, in every way there is; `aside`: what deletion leaves, too."""
    items = [made(patient, number, SMALL if number % 3 else BIG) for number in range(12)]
    assert set(await send(gateway, items)) == {0}
    assert set(await send(gateway, items[:4])) == {0}, "the same again"
    assert set(await send(gateway, [made(patient, number, size, 1) for number, size in ((3, BIG), (4, SMALL))])) == {0}
    if aside:
        broken = made(patient, 50, SMALL)
        cut = Item(broken.study, broken.series, broken.uid, broken.data[:-1000])
        assert (await send(gateway, [cut]))[0] != 0
    async with associate(Call(gateway.host, gateway.port, "GATEWAY", "TEST", [(CT, [EXPLICIT])])) as association:
        half = made(patient, 51, BIG)
        with pytest.raises((GatewayError, TimeoutError)):
            async with asyncio.timeout(0.5):
                await association.store(association.context_for(CT), half.uid, _half(half.data))
    study = public_id(patient, items[0].study)
    async with aiohttp.ClientSession(gateway.url) as session:

        async def ask(method: str, path: str, **arguments: object) -> bytes:
            async with session.request(method, path, **arguments) as answer:  # type: ignore[arg-type]
                body = await answer.read()
                assert answer.status < 300, (path, answer.status, body[:300])
                return body

        part = b"--X\r\nContent-Type: application/dicom\r\n\r\n" + as_file(made(patient, 20, BIG)) + b"\r\n--X--"
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=X'}
        await ask("POST", "/dicom-web/studies", data=io.BytesIO(part), headers=kind)
        await ask("PUT", f"/studies/{study}/attachments/1025", data=pattern(patient, 30) * 5000)
        await ask("PUT", f"/studies/{study}/metadata/1026", data=pattern(patient, 31))
        await ask("GET", f"/dicom-web/studies/{items[0].study}/metadata")
        await ask("GET", f"/dicom-web/studies/{items[0].study}/series/{items[0].series}/thumbnail")
        if not aside:
            return
        body = {"Asynchronous": True}
        job = json.loads(await ask("POST", f"/studies/{study}/archive", json=body))["ID"]
        async with asyncio.timeout(20):
            while json.loads(await ask("GET", f"/jobs/{job}"))["State"] != "Success":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        step = {"ScheduledProcedureStepStartDate": "20260102", "ScheduledStationAETitle": "CT1", "Modality": "CT"}
        item = {"PatientID": patient, "PatientName": NAMES[patient], "ScheduledProcedureStepSequence": [step]}
        await ask("POST", "/worklists/create", json={"Tags": item})


async def _half(data: bytes):  # type: ignore[no-untyped-def]
    yield data[: len(data) // 2]
    await asyncio.sleep(10)


def found(image: Path, patient: str) -> dict[str, int]:
    """How often pixels, name and Patient ID of a patient stand in an image."""
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        texts = {"pixels": f"<{patient} ".encode(), "name": NAMES[patient].encode(), "id": patient.encode()}
        return {what: _count(data, text) for what, text in texts.items()}


def _count(data: mmap.mmap, text: bytes) -> int:
    number, at = 0, -1
    while number < 100 and (at := data.find(text, at + 1)) >= 0:
        number += 1
    return number


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gateway", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["erase", "erase while nobody serves", "delete, and a day"])
async def test_nothing_of_a_patient_is_on_the_disk(how: str, library: Path, tmp_path: Path) -> None:
    disk = Disk.make(tmp_path, megabytes=512)
    clock = tmp_path / "clock"
    shim = Shim(library, tmp_path / "control", disk.mount)
    environment = {
        **shim.environment, "FAULTS_CLOCK": str(clock),
        "GATEWAY_DICOMWEB__DELETE": "true", "GATEWAY_STORAGE__DUPLICATES": "overwrite",
        "GATEWAY_MODALITIES__TEST__AET": "TEST",
    }  # fmt: skip
    with disk.mounted():
        gateway = Gateway(disk.mount / "data", environment=environment, log=tmp_path / "gateway.log")
        with gateway.start(UP_S):
            for patient in (GONE, STAYS):
                await fill(gateway, patient, aside="erase" in how)
            assert await asyncio.to_thread(gateway.stop) == 0
        before = disk.image.read_bytes()
        assert GONE.encode() in before, "the method itself"
        del before
        with gateway.start(UP_S):
            if how == "erase":
                done = await asyncio.to_thread(command, "erase", GONE, "--yes", "--data", str(gateway.data))
                assert done.returncode == 0, done.stderr
            elif how == "delete, and a day":
                async with (
                    aiohttp.ClientSession() as session,
                    session.delete(f"{gateway.url}/patients/{public_id(GONE)}") as answer,
                ):
                    assert answer.status == 200
            assert await asyncio.to_thread(gateway.stop) == 0
        if how == "erase while nobody serves":
            done = await asyncio.to_thread(command, "erase", GONE, "--yes", "--data", str(gateway.data))
            assert done.returncode == 0, done.stderr
        if how == "delete, and a day":
            clock.write_text(str(DAY_S + 60))
            with gateway.start(UP_S):
                await asyncio.to_thread(wait_until, lambda: len(list(gateway.data.glob("store/*/*/*"))) < 8, 30)
                assert await asyncio.to_thread(gateway.stop) == 0
    left = found(disk.image, GONE)
    print(how, left, found(disk.image, STAYS))
    assert not any(left.values()), left
    kept = found(disk.image, STAYS)
    assert all(kept.values()), kept
