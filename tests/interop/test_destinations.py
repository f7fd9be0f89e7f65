"""Deliveries to Debian's Orthanc by every way in, to DCMTK's receiver, to another gateway, into a folder."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import msgspec
import pytest

from gateway.config import Settings
from gateway.dicom.part10 import read_header
from gateway.remote.kinds import open_destination
from tests.contracts.destinations import SERIES, STUDY, item
from tests.support.datasets import sample
from tests.support.processes import Gateway, http_get, orthanc, storescp
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("kind", ["dicom", "dicomweb", "peer"])
async def test_orthanc_takes_and_has_them(tmp_path: Path, kind: str) -> None:
    with orthanc(tmp_path, dicomweb=True, DicomWeb={"Enable": True, "Root": "/dicom-web/"}) as peer:
        where = {
            "dicom": {"modality": "pacs"},
            "dicomweb": {"url": f"{peer.url}/dicom-web"},
            "peer": {"url": peer.url},
        }
        node = {"aet": peer.aet, "host": "127.0.0.1", "port": peer.port}
        settings = msgspec.convert(
            {"modalities": {"pacs": node}, "destinations": {"it": {"kind": kind, **where[kind]}}}, Settings
        )
        destination = open_destination("it", settings.destinations["it"], lambda: settings)
        uids = [f"1.2.3.4.{number}" for number in range(20)]
        try:
            async with asyncio.timeout(30):
                for _ in range(2):
                    answers = await asyncio.gather(*[destination.send(item(uid)) for uid in uids])
                    assert {each.outcome for each in answers} == {"delivered"}
                asked = [(STUDY, SERIES, uid) for uid in [*uids, "1.2.3.9"]]
                assert await destination.has(asked) == set(uids)
        finally:
            await destination.close()
        _, statistics = await asyncio.to_thread(http_get, f"{peer.url}/statistics")
        assert json.loads(statistics)["CountInstances"] == 20


async def test_storescp_takes_them(tmp_path: Path) -> None:
    """Whatever DCMTK's receiver makes of it, each arrives once, over associations that stay open."""
    with storescp(tmp_path / "scp", "+uf") as peer:
        node = {"aet": peer.aet, "host": "127.0.0.1", "port": peer.port}
        settings = msgspec.convert(
            {"modalities": {"pacs": node}, "destinations": {"it": {"kind": "dicom", "modality": "pacs"}}}, Settings
        )
        destination = open_destination("it", settings.destinations["it"], lambda: settings)
        try:
            async with asyncio.timeout(30):
                answers = await asyncio.gather(*[destination.send(item(f"1.2.3.4.{number}")) for number in range(20)])
            assert {(each.outcome, each.status) for each in answers} == {("delivered", 0)}
        finally:
            await destination.close()
        assert peer.folder is not None
        assert len([path for path in peer.folder.rglob("*") if path.is_file() and path.stat().st_size]) == 20


def test_a_gateway_delivers_to_another_and_into_a_folder(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with Gateway(tmp_path / "theirs") as theirs:
        config = tmp_path / "ours.toml"
        config.write_text(
            f"""
            [rules.all]
            destinations = ["web", "peer", "folder"]
            [destinations.web]
            kind = "dicomweb"
            url = "{theirs.url}/dicom-web"
            [destinations.peer]
            kind = "peer"
            url = "{theirs.url}"
            [destinations.folder]
            kind = "folder"
            path = "{files}"
            """
        )
        with Gateway(tmp_path / "ours", "--config", str(config)) as ours:
            data = sample("CT_small.dcm").read_bytes()
            request = urllib.request.Request(f"{ours.url}/instances", data=data, method="POST")
            urllib.request.urlopen(request, timeout=10).close()

            def delivered() -> bool:
                _, text = http_get(f"{ours.url}/deliveries")
                return [each["State"] for each in json.loads(text)["Deliveries"]] == ["Delivered"] * 3

            wait_until(delivered, 15, "three deliveries")
            (written,) = [path for path in files.rglob("*") if path.is_file()]
            assert _data_set(written.read_bytes()) == _data_set(data)
            _, found = http_get(f"{theirs.url}/dicom-web/instances")
            assert len(json.loads(found)) == 1


def _data_set(file: bytes) -> bytes:
    return file[read_header(lambda offset, length: file[offset : offset + length]).data_set_offset :]
