"""The contract over every kind but `dicom`, which has its own tests beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.dicom.part10 import read_header
from gateway.remote.destination import Destination
from gateway.remote.kinds import open_destination
from tests.contracts.destinations import DestinationContract, settings_of
from tests.support.web_servers import WebServer, web_server


def body(file: bytes) -> bytes:
    return file[read_header(lambda offset, length: file[offset : offset + length]).data_set_offset :]


class WebHouse:
    def __init__(self, server: WebServer, destination: Destination) -> None:
        self.server, self.destination = server, destination

    def arrived(self) -> dict[str, bytes]:
        return {uid: body(file) for uid, file in self.server.files.items()}


class FolderHouse:
    def __init__(self, folder: Path, destination: Destination) -> None:
        self.folder, self.destination = folder, destination

    def arrived(self) -> dict[str, bytes]:
        return {path.stem: body(path.read_bytes()) for path in self.folder.rglob("*") if path.is_file()}


def opened(**section: object) -> Destination:
    settings = settings_of(**section)
    return open_destination("it", settings.destinations["it"], lambda: settings)


class TestDicomweb(DestinationContract):
    @pytest.fixture
    async def house(self) -> AsyncIterator[WebHouse]:
        async with web_server() as server:
            house = WebHouse(server, opened(kind="dicomweb", url=server.url))
            yield house
            await house.destination.close()


class TestPeer(DestinationContract):
    @pytest.fixture
    async def house(self) -> AsyncIterator[WebHouse]:
        async with web_server() as server:
            house = WebHouse(server, opened(kind="peer", url=server.url))
            yield house
            await house.destination.close()


class TestFolder(DestinationContract):
    @pytest.fixture
    async def house(self, tmp_path: Path) -> AsyncIterator[FolderHouse]:
        house = FolderHouse(tmp_path, opened(kind="folder", path=str(tmp_path)))
        yield house
        await house.destination.close()
