"""What archives answer to a crawl over DICOMweb and DIMSE: every row counts, whatever it has for a UID."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config.destinations import DicomwebDestination
from gateway.dicom.encode import DataSet
from gateway.errors import DataSetError
from gateway.migration import dicom_source
from gateway.migration.crawled_archive import NamedInstance
from gateway.migration.dicom_source import DicomSource
from gateway.migration.dicomweb_source import DicomwebSource
from gateway.scu.node import Node

ODD = [f"1.2.3_{number}" for number in range(250)]


@asynccontextmanager
async def dicomweb(uids: list[str], *, pages: bool = True, key: str = "0020000D") -> AsyncIterator[DicomwebSource]:
    """A server with some studies or instances, which may pay no heed to `offset`."""

    async def search(request: web.Request) -> web.Response:
        at, length = int(request.query.get("offset", 0)) if pages else 0, int(request.query["limit"])
        return web.json_response([{key: {"vr": "UI", "Value": [uid]}} for uid in uids[at : at + length]])

    app = web.Application()
    app.router.add_get("/{path:.*}", search)
    async with asyncio.timeout(20), TestServer(app) as server:
        source = DicomwebSource("test", DicomwebDestination(url=str(server.make_url(""))), "US")
        try:
            yield source
        finally:
            await source.close()


@pytest.mark.parametrize("uids", [[*ODD, "1.2.3.999"], ["1.2.3", "1.2.3", *ODD, "1.2.4"]])
async def test_every_page_is_read(uids: list[str]) -> None:
    async with dicomweb(uids) as source:
        assert [row.uid async for row in source.studies(None)] == list(dict.fromkeys(uids))


async def test_a_server_that_knows_no_pages_ends() -> None:
    async with dicomweb(ODD, pages=False) as source:
        assert [row.uid async for row in source.studies(None)] == ODD[:200]


async def test_instances_whose_uids_are_none_are_named() -> None:
    async with dicomweb(["1.2.3_1", "1.2.4"], key="00080018") as source:
        assert await source.instances("1.2") == dict.fromkeys(["1.2.3_1", "1.2.4"], NamedInstance("", ""))


class _Match:
    """A match of C-FIND; one of None cannot be read."""

    def __init__(self, values: dict[int, str] | None) -> None:
        self._values = values

    def attributes(self) -> DataSet:
        if self._values is None:
            raise DataSetError("it cannot be read")
        return {tag: dicom_source._text("UI", value) for tag, value in self._values.items()}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> DicomSource:
    """A node of which a study, a series and an instance have UIDs that are none."""
    study, series, sop = dicom_source._STUDY_UID, dicom_source._SERIES_UID, dicom_source._SOP_INSTANCE
    answers: dict[str, list[dict[int, str] | None]] = {
        "study": [{study: "1.2"}, {study: "1.2_3"}, None],
        "series": [{series: "1.2.1"}, {series: "1.2/1"}],
        "instance": [{sop: "1.2.1.1"}, {sop: "1.2.1_1"}],
    }

    async def matches(_association: Any, wanted: Any) -> AsyncGenerator[_Match, None]:
        for each in answers[wanted]:
            yield _Match(each)

    @asynccontextmanager
    async def associated(*_arguments: Any) -> AsyncIterator[None]:
        yield None

    monkeypatch.setattr(dicom_source.find, "identifier", lambda level, _keys: level)
    monkeypatch.setattr(dicom_source.find, "find_on", matches)
    monkeypatch.setattr(dicom_source, "associate", associated)
    return DicomSource(Node("NODE", "127.0.0.1", 1))


async def test_a_node_whose_uids_are_none(node: DicomSource) -> None:
    assert [row.uid async for row in node.studies(None)] == ["1.2", "1.2_3", ""]
    assert await node.instances("1.2") == {
        "1.2.1.1": NamedInstance("1.2.1", ""),
        "1.2.1_1": NamedInstance("1.2.1", ""),
        "all of series 1.2/1": NamedInstance("1.2/1", ""),
    }
