"""The parts of a Store request on their way into the archive (PS3.18 §10.5.2): what each is, and whom it goes to.

A part is a DICOM file, metadata, or bulk data that metadata refer to by the part's Content-Location. Some instances
are on their way at once, so that the parts of one request do not wait for each other's syncs. One that fails harms no
other. How a body falls into parts is `multipart.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin

from gateway.archive.arrival import Arrival
from gateway.archive.assembly import Bulk, assemble
from gateway.archive.ingest import Ingest, Taken
from gateway.errors import BadRequest, DataSetError, GatewayError
from gateway.index.store import Origin
from gateway.storage.scratch import Scratch
from gateway.web.accept import DICOM_JSON, JSON, content_type
from gateway.web.dicomweb.receipts import Receipt, UnsupportedPart
from gateway.web.dicomweb.stow_metadata import MAX_INSTANCES, MAX_METADATA, MAX_NAMELESS, Pending, read_json, read_xml
from gateway.web.multipart import Malformed

DICOM: Final = "application/dicom"
DICOM_XML: Final = "application/dicom+xml"
METADATA: Final = frozenset({DICOM_JSON, DICOM_XML, JSON, "application/xml"})
_OCTETS: Final = "application/octet-stream"
WINDOW = 16
"""Instances of one request on their way at once. The next is not read before one is safe."""
_GATHER = 1 << 20


class Parts:
    """Those of one request. `begin`, `write`, `end` each; then `finish` or `cut`; `close` in any case."""

    def __init__(self, ingest: Ingest, origin: Origin, study_instance_uid: str, base: str) -> None:
        """`study_instance_uid`: the only study that is taken, or empty; `base`: what relative URIs are relative to."""
        self.receipts: list[Receipt] = []
        self._ingest = ingest
        self._origin = origin
        self._study = study_instance_uid
        self._base = base
        self._part: _File | _Metadata | _BulkData | None = None
        self._room = asyncio.Semaphore(WINDOW)
        self._tasks: set[asyncio.Task[Taken]] = set()
        self._nameless = 0
        self._metadata = 0
        self._scratch: Scratch | None = None
        self._bulk: dict[str, list[Bulk]] = {}
        self._wanting: dict[str, list[Pending]] = {}
        self._location = ""

    async def begin(self, headers: Mapping[str, str], default: str = "") -> None:
        """A part begins; `default` is its media type where it names none. Raises Malformed past the limits."""
        if len(self.receipts) > MAX_INSTANCES or self._nameless > MAX_NAMELESS:
            raise Malformed(f"at most {MAX_INSTANCES} instances are taken, and {MAX_NAMELESS} parts that are none")
        media_type, parameters = content_type(headers.get("content-type") or default)
        location = headers.get("content-location", "").strip()
        location = urljoin(self._base, location) if location else ""
        try:
            if media_type in METADATA:
                self._part = _Metadata(self, media_type)
            elif location and location in self._wanting:
                await self._turn_to(location)
                self._part = _BulkData(self, location, media_type, parameters.get("transfer-syntax", ""))
            elif media_type in (DICOM, _OCTETS, ""):
                await self._room.acquire()
                self._part = _File(self)
            else:
                raise UnsupportedPart(f"a part of {media_type} that no metadata refer to")
        except GatewayError as error:
            self.fail(error, self.new_receipt())

    async def write(self, data: memoryview) -> None:
        if self._part is not None:
            try:
                await self._part.write(data)
            except Exception as error:
                self._give_up(error)

    async def end(self) -> None:
        if self._part is not None:
            try:
                await self._part.end()
            except Exception as error:
                self._give_up(error)
            self._part = None

    async def finish(self) -> None:
        """The body was whole: instances that still lack bulk data will not get any."""
        await self._turn_to("")
        for pending in {id(each): each for some in self._wanting.values() for each in some}.values():
            lacking = next(uri for uri, place in pending.uris.items() if place not in self._bulk)
            self.fail(DataSetError(f"its bulk data did not come: {lacking}"), pending.receipt)
        self._wanting.clear()

    def cut(self, error: BadRequest | GatewayError) -> None:
        """The body broke off. What was whole before is not touched."""
        if self._part is not None:
            self._give_up(error)
        else:
            self.fail(error, self.new_receipt())
        for pending in {id(each): each for some in self._wanting.values() for each in some}.values():
            self.fail(error, pending.receipt)
        self._wanting.clear()

    async def close(self) -> None:
        """Let go of everything; returns when nothing is on its way any more, and all receipts are filled in."""
        if self._part is not None:
            self._part.abandon()
            self._part = None
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.close)

    # What parts call.

    def new_receipt(self) -> Receipt:
        receipt = Receipt()
        self.receipts.append(receipt)
        return receipt

    def fail(self, error: BaseException, receipt: Receipt) -> None:
        receipt.failed(error)
        self._nameless += not receipt.sop_instance_uid

    def new_arrival(self) -> Arrival:
        return Arrival(self._ingest, self._origin, study_instance_uid=self._study)

    def own(self, task: asyncio.Task[Taken], receipt: Receipt) -> None:
        """Something is on its way; when it has arrived there is room for another."""

        def settled(task: asyncio.Task[Taken]) -> None:
            self._tasks.discard(task)
            self._room.release()
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                receipt.stored(task.result())
            else:
                self.fail(error, receipt)

        self._tasks.add(task)
        task.add_done_callback(settled)

    def leave(self) -> None:
        """What had its room is not on its way any more."""
        self._room.release()

    def count_metadata(self, size: int) -> None:
        self._metadata += size
        if self._metadata > MAX_METADATA:
            raise DataSetError(f"more than {MAX_METADATA} bytes of metadata in one request")

    async def expect(self, pending: Pending) -> None:
        """An instance is known by its metadata; without bulk data it is complete."""
        pending.receipt = self.new_receipt()
        pending.receipt.sop_class_uid, pending.receipt.sop_instance_uid = pending.sop_class_uid, pending.sop_uid
        pending.uris = {uri: urljoin(self._base, uri.strip()) for uri in pending.uris}
        if not pending.uris:
            await self._assemble(pending)
        for place in set(pending.uris.values()):
            self._wanting.setdefault(place, []).append(pending)

    async def scratch(self) -> Scratch:
        if self._scratch is None:
            self._scratch = await asyncio.to_thread(self._ingest.scratch)
        return self._scratch

    async def keep(self, data: list[memoryview]) -> None:
        """Put bulk data into the scratch file."""
        self._ingest.check_space()
        await asyncio.to_thread((await self.scratch()).append, data)

    def arrived(self, location: str, bulk: Bulk) -> None:
        self._bulk.setdefault(location, []).append(bulk)

    # Instances with bulk data.

    async def _turn_to(self, location: str) -> None:
        """Bulk data for another location begin: what waited for the last one alone is complete (§8.6.1.2.2: frames
        follow each other under one location)."""
        last, self._location = self._location, location
        if last in ("", location):
            return
        for pending in list(self._wanting.get(last, ())):
            places = set(pending.uris.values())
            if location not in places and places <= self._bulk.keys():
                await self._assemble(pending)
                for place in places:
                    self._wanting[place].remove(pending)
                    if not self._wanting[place]:
                        del self._wanting[place], self._bulk[place]
        if not self._bulk and self._scratch is not None:
            await asyncio.to_thread(self._scratch.clear)

    async def _assemble(self, pending: Pending) -> None:
        receipt = pending.receipt
        await self._room.acquire()
        try:
            bulk = {uri: self._bulk[place] for uri, place in pending.uris.items()}
            task = await assemble(
                self._ingest, pending.model, bulk, self._scratch, self._origin, study_instance_uid=self._study
            )
        except BaseException as error:
            self._room.release()
            if not isinstance(error, Exception):
                raise
            self.fail(error, receipt)
        else:
            self.own(task, receipt)

    def _give_up(self, error: Exception) -> None:
        """The open part has failed; the rest of it is passed over."""
        part, self._part = self._part, None
        assert part is not None
        part.abandon()
        self.fail(error, part.receipt or self.new_receipt())


class _File:
    """A DICOM file (PS3.10)."""

    def __init__(self, parts: Parts) -> None:
        self.receipt = parts.new_receipt()
        self._parts = parts
        self._arrival = parts.new_arrival()
        self._has_room = True

    async def write(self, data: memoryview) -> None:
        await self._arrival.write(data)

    async def end(self) -> None:
        task = self._arrival.end()
        self._name()
        self._has_room = False
        self._parts.own(task, self.receipt)

    def abandon(self) -> None:
        self._name()
        self._arrival.abandon()
        if self._has_room:
            self._has_room = False
            self._parts.leave()

    def _name(self) -> None:
        self.receipt.sop_class_uid = self._arrival.sop_class_uid
        self.receipt.sop_instance_uid = self._arrival.sop_instance_uid


class _Metadata:
    """A JSON array of instances (PS3.18 Annex F), or an XML document of one (PS3.19 A.1)."""

    def __init__(self, parts: Parts, media_type: str) -> None:
        self.receipt = None
        self._parts = parts
        self._is_json = media_type in (DICOM_JSON, JSON)
        self._pieces: list[memoryview] = []

    async def write(self, data: memoryview) -> None:
        self._parts.count_metadata(len(data))
        self._pieces.append(data)

    async def end(self) -> None:
        document = b"".join(self._pieces)
        self._pieces = []
        for found in await asyncio.to_thread(read_json if self._is_json else read_xml, document):
            if isinstance(found, DataSetError):
                self._parts.fail(found, self._parts.new_receipt())
            else:
                await self._parts.expect(found)

    def abandon(self) -> None:
        self._pieces = []


class _BulkData:
    """Bulk data that metadata refer to."""

    def __init__(self, parts: Parts, location: str, media_type: str, transfer_syntax_uid: str) -> None:
        self.receipt = None
        self._parts = parts
        self._location = location
        self._kind = (media_type or _OCTETS, transfer_syntax_uid)
        self._offset = -1
        self._length = 0
        self._gathered: list[memoryview] = []
        self._pending = 0

    async def write(self, data: memoryview) -> None:
        self._gathered.append(data)
        self._pending += len(data)
        if self._pending >= _GATHER:
            await self._flush()

    async def end(self) -> None:
        await self._flush()
        self._parts.arrived(self._location, Bulk(*self._kind, self._offset, self._length))

    def abandon(self) -> None:
        self._gathered = []

    async def _flush(self) -> None:
        if self._offset < 0:
            self._offset = (await self._parts.scratch()).size
        await self._parts.keep(self._gathered)
        self._length += self._pending
        self._gathered, self._pending = [], 0
