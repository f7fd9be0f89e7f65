"""`dicom-gateway commit` as a process, against a gateway in this one."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset

from gateway.net.requestor import associate
from tests.cli.test_commands import run
from tests.support.datasets import CT, EXPLICIT, encode, instance
from tests.support.intake import Intake, intake


def write(path: Path, source: Dataset) -> Path:
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = EXPLICIT
    source.save_as(path, enforce_file_format=True)
    return path


async def store(gateway: Intake, source: Dataset) -> None:
    async with associate(gateway.call()) as association:
        answer = await association.store(association.context_for(CT), source.SOPInstanceUID, [encode(source)])
        assert answer.status == 0


async def commit(gateway: Intake, *arguments: str, code: int = 0) -> Any:
    host, port = gateway.acceptor.address
    node = f"GATEWAY@{host}:{port}"
    done = await asyncio.to_thread(run, "commit", node, "--json", *arguments, code=code)
    return json.loads(done.stdout)


async def test_files(tmp_path: Path) -> None:
    async with asyncio.timeout(40), intake(tmp_path / "data") as gateway:
        known, unknown = instance(), instance()
        await store(gateway, known)
        file = write(tmp_path / "known.dcm", known)
        found = await commit(gateway, str(file))
        assert found["reported"]
        assert [each["committed"] for each in found["instances"]] == [True]
        write(tmp_path / "unknown.dcm", unknown)
        found = await commit(gateway, str(file), str(tmp_path / "unknown.dcm"), code=1)
        assert {each["sop_instance_uid"]: (each["committed"], each["reason"]) for each in found["instances"]} == {
            str(known.SOPInstanceUID): (True, None),
            str(unknown.SOPInstanceUID): (False, "0112"),
        }


async def test_a_report_on_another_association(tmp_path: Path) -> None:
    """To the port where the command listens, of a study in the data folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    modalities = {"us": {"aet": "TEST", "host": "127.0.0.1", "port": port}}
    settings: dict[str, Any] = {"modalities": modalities, "commitment": {"report": "new"}}
    async with asyncio.timeout(40), intake(tmp_path / "data", **settings) as gateway:
        source = instance()
        await store(gateway, source)
        study = ["--study", str(source.StudyInstanceUID), "--data", str(tmp_path / "data")]
        found = await commit(gateway, *study, "--aet", "TEST", "--listen", str(port), "--wait", "20")
        assert [each["committed"] for each in found["instances"]] == [True]
        found = await commit(gateway, *study, "--aet", "TEST", "--wait", "0.1", code=1)
        assert not found["reported"]


async def test_used_wrongly(tmp_path: Path) -> None:
    for arguments in ((), ("nowhere.dcm",)):
        assert (await asyncio.to_thread(run, "commit", "A@127.0.0.1:1", *arguments, code=2)).stdout == ""
