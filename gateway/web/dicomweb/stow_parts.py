"""The parts of a Store request on their way into the archive (PS3.18 §10.5.2).

A part is a DICOM file, metadata, or bulk data that metadata refer to by the part's Content-Location. Several instances
are stored concurrently, so that the parts of one request do not wait for each other's syncs. A failed part affects no
other. `http/multipart.py` splits the body.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin

from gateway.errors import BadRequest, DataSetError, GatewayError
from gateway.http.multipart import Malformed
from gateway.index.store import Origin
from gateway.ingest.assembly import Bulk, assemble
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import StoreResult
from gateway.ingest.part10_receiver import Part10Receiver
from gateway.storage.scratch import Scratch
from gateway.web.accept import DICOM_JSON, JSON, content_type
from gateway.web.dicomweb.instance_results import InstanceResult, UnsupportedPart
from gateway.web.dicomweb.stow_metadata import MAX_INSTANCES, MAX_METADATA, MAX_NAMELESS, Pending, read_json, read_xml

DICOM: Final = "application/dicom"
DICOM_XML: Final = "application/dicom+xml"
METADATA: Final = frozenset({DICOM_JSON, DICOM_XML, JSON, "application/xml"})
_OCTETS: Final = "application/octet-stream"
WINDOW = 16
"""Instances of one request being stored. The next one is not read before one is safe."""
_GATHER = 1 << 20
_FRAME: Final = re.compile(r"/frames/[0-9]+\Z")
"""The suffix of the URI of compressed pixels, added to that of their element, when they are retrieved as frames."""


class Parts:
    """The parts of one request. Call `begin`, `write`, `end` for each; then `finish` or `cut`; `close` in any case."""

    def __init__(self, ingest: Ingest, origin: Origin, study_instance_uid: str, patient: str, base: str) -> None:
        """`study_instance_uid`: the only study that is accepted, `patient`: the public id of the only patient, or
        empty; `base`: the base of relative URIs."""
        self.results: list[InstanceResult] = []
        self._ingest = ingest
        self._origin = origin
        self._parents = {"study_instance_uid": study_instance_uid, "patient": patient}
        self._base = base
        self._part: _File | _Metadata | _BulkData | None = None
        self._room = asyncio.Semaphore(WINDOW)
        self._tasks: set[asyncio.Task[StoreResult]] = set()
        self._nameless = 0
        self._metadata_size = 0
        self._scratch: Scratch | None = None
        self._bulk: dict[str, list[Bulk]] = {}
        self._wanting: dict[str, list[Pending]] = {}
        self._location = ""

    async def begin(self, headers: Mapping[str, str], default: str = "") -> None:
        """Begin a part; `default` is its media type if it names none. Raises Malformed beyond the limits."""
        if len(self.results) > MAX_INSTANCES or self._nameless > MAX_NAMELESS:
            raise Malformed(f"at most {MAX_INSTANCES} instances are accepted, and {MAX_NAMELESS} other parts")
        media_type, parameters = content_type(headers.get("content-type") or default)
        location = headers.get("content-location", "").strip()
        location = urljoin(self._base, location) if location else ""
        if location not in self._wanting:
            location = _FRAME.sub("", location)
        try:
            if media_type in METADATA:
                self._part = _Metadata(is_json=media_type in (DICOM_JSON, JSON))
            elif location and location in self._wanting:
                await self._begin_location(location)
                scratch = await self._open_scratch()
                self._part = _BulkData(scratch, location, media_type, parameters.get("transfer-syntax", ""))
            elif media_type in (DICOM, _OCTETS, ""):
                await self._room.acquire()
                receiver = Part10Receiver(self._ingest, self._origin, **self._parents)
                self._part = _File(receiver, self._new_result(), self._room)
            else:
                raise UnsupportedPart(f"a part of type {media_type} that no metadata refer to")
        except GatewayError as error:
            self._fail(error, self._new_result())

    async def write(self, data: memoryview) -> None:
        try:
            match self._part:
                case _File() as part:
                    await part.write(data)
                case _Metadata() as part:
                    self._metadata_size += len(data)
                    if self._metadata_size > MAX_METADATA:
                        raise DataSetError(f"more than {MAX_METADATA} bytes of metadata in one request")
                    part.write(data)
                case _BulkData() as part:
                    self._ingest.check_space()
                    await part.write(data)
        except Exception as error:
            self._fail_part(error)

    async def end(self) -> None:
        try:
            match self._part:
                case _File() as part:
                    self._await(part.end(), part.result)
                case _Metadata() as part:
                    for found in await part.end():
                        await self._expect(found)
                case _BulkData() as part:
                    self._bulk.setdefault(part.location, []).append(await part.end())
        except Exception as error:
            self._fail_part(error)
        self._part = None

    async def finish(self) -> None:
        """Finish a whole body: instances that still lack bulk data fail."""
        await self._begin_location("")
        for pending in {id(each): each for some in self._wanting.values() for each in some}.values():
            lacking = next(uri for uri, place in pending.uris.items() if place not in self._bulk)
            self._fail(DataSetError(f"its bulk data were not sent: {lacking}"), pending.result)
        self._wanting.clear()

    def cut(self, error: BadRequest | GatewayError) -> None:
        """Fail what is incomplete after a broken body. Complete parts are unaffected."""
        if self._part is not None:
            self._fail_part(error)
        else:
            self._fail(error, self._new_result())
        for pending in {id(each): each for some in self._wanting.values() for each in some}.values():
            self._fail(error, pending.result)
        self._wanting.clear()

    async def close(self) -> None:
        """Release everything; returns when no instance is being stored any more, and all results are final."""
        if self._part is not None:
            self._part.abandon()
            self._part = None
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.close)

    def _new_result(self) -> InstanceResult:
        result = InstanceResult()
        self.results.append(result)
        return result

    def _fail(self, error: BaseException, result: InstanceResult) -> None:
        result.failed(error)
        self._nameless += not result.sop_instance_uid

    def _fail_part(self, error: Exception) -> None:
        """Fail the open part; the rest of it is ignored."""
        part, self._part = self._part, None
        assert part is not None
        part.abandon()
        self._fail(error, part.result or self._new_result())

    def _await(self, task: asyncio.Task[StoreResult], result: InstanceResult) -> None:
        """Await an instance being stored, beside everything else; its end frees its room for another."""

        def finished(task: asyncio.Task[StoreResult]) -> None:
            self._tasks.discard(task)
            self._room.release()
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                result.stored(task.result())
            else:
                self._fail(error, result)

        self._tasks.add(task)
        task.add_done_callback(finished)

    # --- instances with bulk data

    async def _expect(self, found: Pending | DataSetError) -> None:
        """Add an instance known by its metadata; without bulk data it is complete."""
        result = self._new_result()
        if isinstance(found, DataSetError):
            self._fail(found, result)
            return
        found.result = result
        result.sop_class_uid, result.sop_instance_uid = found.sop_class_uid, found.sop_uid
        found.uris = {uri: urljoin(self._base, uri.strip()) for uri in found.uris}
        if not found.uris:
            await self._assemble(found)
        for place in set(found.uris.values()):
            self._wanting.setdefault(place, []).append(found)

    async def _open_scratch(self) -> Scratch:
        if self._scratch is None:
            self._scratch = await asyncio.to_thread(self._ingest.scratch)
        return self._scratch

    async def _begin_location(self, location: str) -> None:
        """Begin bulk data for a location: instances that waited for the previous one alone are complete (§8.6.1.2.2:
        frames follow each other under one location)."""
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
        await self._room.acquire()
        try:
            bulk = {uri: self._bulk[place] for uri, place in pending.uris.items()}
            task = await assemble(self._ingest, pending.model, bulk, self._scratch, self._origin, **self._parents)
        except BaseException as error:
            self._room.release()
            if not isinstance(error, Exception):
                raise
            self._fail(error, pending.result)
        else:
            self._await(task, pending.result)


class _File:
    """A DICOM file (PS3.10), with room among the instances being stored: given back when it is abandoned, or after
    `end` by whoever awaits its task."""

    def __init__(self, receiver: Part10Receiver, result: InstanceResult, room: asyncio.Semaphore) -> None:
        self.result = result
        self._receiver = receiver
        self._room = room

    async def write(self, data: memoryview) -> None:
        await self._receiver.write(data)

    def end(self) -> asyncio.Task[StoreResult]:
        task = self._receiver.end()
        self._name()
        return task

    def abandon(self) -> None:
        self._name()
        self._receiver.abandon()
        self._room.release()

    def _name(self) -> None:
        self.result.sop_class_uid = self._receiver.sop_class_uid
        self.result.sop_instance_uid = self._receiver.sop_instance_uid


class _Metadata:
    """A JSON array of instances (PS3.18 Annex F), or an XML document of one (PS3.19 A.1)."""

    result: InstanceResult | None = None

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._pieces: list[memoryview] = []

    def write(self, data: memoryview) -> None:
        self._pieces.append(data)

    async def end(self) -> list[Pending | DataSetError]:
        document = b"".join(self._pieces)
        self._pieces = []
        return await asyncio.to_thread(read_json if self._is_json else read_xml, document)

    def abandon(self) -> None:
        self._pieces = []


class _BulkData:
    """Bulk data that metadata refer to, appended to a scratch file."""

    result: InstanceResult | None = None

    def __init__(self, scratch: Scratch, location: str, media_type: str, transfer_syntax_uid: str) -> None:
        self.location = location
        self._scratch = scratch
        self._kind = (media_type or _OCTETS, transfer_syntax_uid)
        self._offset = scratch.size
        self._length = 0
        self._gathered: list[memoryview] = []
        self._pending = 0

    async def write(self, data: memoryview) -> None:
        self._gathered.append(data)
        self._pending += len(data)
        if self._pending >= _GATHER:
            await self._flush()

    async def end(self) -> Bulk:
        await self._flush()
        return Bulk(*self._kind, self._offset, self._length)

    def abandon(self) -> None:
        self._gathered = []

    async def _flush(self) -> None:
        await asyncio.to_thread(self._scratch.append, self._gathered)
        self._length += self._pending
        self._gathered, self._pending = [], 0
