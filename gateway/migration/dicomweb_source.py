"""A DICOMweb server that is crawled: QIDO-RS page by page, and WADO-RS (PS3.18 §10.6, §10.4)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from gateway.config.destinations import DicomwebDestination
from gateway.dicom.json import NOT_JSON
from gateway.errors import DataSetError, PermanentFailure, SourceError
from gateway.ingest.ingest import Ingest
from gateway.ingest.wado_transfer import WadoTransfer
from gateway.migration.crawled_archive import Instances, NamedInstance, StudyRow, number_of
from gateway.migration.windows import Window
from gateway.remote.destination import DestinationUnavailable
from gateway.remote.http import HttpClient, Reply, RequestBroken
from gateway.remote.qido import ACCEPT

_PAGE: Final = 200
"""Results per request, small enough for an answer of 4 MiB. Servers may return fewer (§8.3.4.4)."""
_MAX_PAGES: Final = 20_000


class DicomwebSource:
    """A server. Close it."""

    def __init__(self, name: str, section: DicomwebDestination, our_aet: str) -> None:
        self._http = HttpClient(name, section)
        self._host = urlsplit(section.url).hostname or ""
        self._our_aet = our_aet
        self._checked = False
        self.name = section.url
        """A text that is the same for the same server."""

    async def close(self) -> None:
        await self._http.close()

    async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
        """The studies in a window, or all of them, page by page. Raises PermanentFailure; SourceError."""
        await self._check()
        query = ""
        if window is not None:
            query = f"&StudyDate={window.study_date}"
            query += f"&StudyTime={quote(window.study_time)}" if window.study_time else ""
        async with aclosing(self._pages(f"/studies?includefield=00201208{query}")) as rows:
            async for row in rows:
                expected = number_of(_value(row, "00201208"))
                yield StudyRow(_value(row, "0020000D"), _value(row, "00080020"), _value(row, "00080030"), expected)

    async def instances(self, study_uid: str) -> Instances | None:
        """The instances of a study. Raises as `studies`."""
        named: dict[str, NamedInstance] = {}
        async with aclosing(self._pages(f"/studies/{study_uid}/instances?includefield=0020000E", "00080018")) as rows:
            async for row in rows:
                named[_value(row, "00080018")] = NamedInstance(_value(row, "0020000E"), _value(row, "00080016"))
        return named or None

    async def bring(self, ingest: Ingest, study_uid: str, lacking: Instances, series_uid: str = "") -> None:
        """Retrieve a study or a series. Raises PermanentFailure for what does not come; SourceError."""

        async def stored() -> None:
            pass

        transfer = WadoTransfer(ingest, self._host, self._our_aet, stored)
        try:
            await transfer.retrieve(self._http, [study_uid, *([series_uid] if series_uid else [])])
        except DataSetError as error:
            raise PermanentFailure(f"{self._http.name}: {error}") from None
        except DestinationUnavailable as error:
            raise SourceError(str(error)) from None

    async def _pages(self, path: str, key: str = "0020000D") -> AsyncGenerator[dict[str, Any], None]:
        """Every row once, by what it has at `key`, be that a UID or not. A server that pays no heed to `offset` ends
        with its first page."""
        seen: set[str] = set()
        received = 0
        for _ in range(_MAX_PAGES):
            rows = await self._page(f"{path}&limit={_PAGE}&offset={received}")
            new = {uid: row for row in rows if (uid := _value(row, key)) not in seen}
            for row in new.values():
                yield row
            seen |= new.keys()
            received += len(rows)
            if not new:
                return

    async def _check(self) -> None:
        """Ask for one study, once. Raises SourceError where there is no DICOMweb: some servers answer 404 to a search
        without matches, and others to a wrong URL."""
        if not self._checked:
            reply = await self._request("/studies?limit=1")
            if reply.status not in (200, 204):
                raise SourceError(f"{self._http.name}: {reply.words} to a search: there is no DICOMweb, or no study")
            self._checked = True

    async def _request(self, path: str) -> Reply:
        try:
            return await self._http.request("GET", path, headers=ACCEPT, missing=True)
        except (DestinationUnavailable, RequestBroken) as error:
            raise SourceError(str(error)) from None

    async def _page(self, path: str) -> list[dict[str, Any]]:
        reply = await self._request(path)
        if reply.status in (204, 404):
            return []
        if reply.status != 200:
            raise PermanentFailure(f"{self._http.name}: {reply.words} to a search")
        try:
            return msgspec.json.decode(reply.body or b"[]", type=list[dict[str, Any]])
        except NOT_JSON:
            raise PermanentFailure(f"{self._http.name}: its answer to a search is no DICOM JSON") from None


def _value(row: Mapping[str, Any], tag: str) -> str:
    attribute = row.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values and values[0] is not None else ""
