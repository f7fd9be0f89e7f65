"""Destinations of kind `peer`: another gateway or an Orthanc, one file per request over the REST API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from gateway.config.destinations import PeerDestination
from gateway.dicom.json import NOT_JSON
from gateway.errors import GatewayError
from gateway.remote import qido
from gateway.remote.destination import Answer, Named
from gateway.remote.http import Body, HttpClient, Reply, RequestBroken
from gateway.remote.outgoing_file import choosing, file_of, unreadable
from gateway.remote.rate_limit import Bandwidth, RateLimited
from gateway.scu.transfer import Instance

_SENT: Final = {"Accept": "application/json", "Content-Type": "application/dicom"}
_ASKED: Final = {"Accept": "application/json", "Content-Type": "application/json"}
_AT_A_TIME: Final = 100
"""Instances in one search."""
_DICOMWEB: Final = "/dicom-web"
"""The DICOMweb root of a gateway."""
_SUCCESS: Final = {"Success": "stored", "AlreadyStored": "it is there already"}


class Peer:
    """A peer as a destination."""

    def __init__(self, name: str, section: PeerDestination) -> None:
        self._name = name
        self._http = HttpClient(name, section)
        self._choose = choosing(section.transfer_syntaxes)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._turn = asyncio.Semaphore(section.connections)
        self._searches = True
        """Whether the peer has /tools/find, as far as is known."""

    async def send(self, instance: Instance) -> Answer:
        """Send one instance; see `Destination.send`."""
        limited = RateLimited(instance, self._bandwidth)
        body = Body(lambda: self._file(limited))
        async with self._turn:
            try:
                reply = await self._http.request("POST", "/instances", body=body, headers=_SENT)
            except RequestBroken as error:
                if body.error is not None:
                    return unreadable(body.error, limited.sent)
                await self._http.check("/system")
                return Answer("again", None, str(error), limited.sent)
            if reply.status >= 500:
                await self._http.check("/system")
        return self._answer(reply, limited.sent)

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """Ask by /tools/find as in Orthanc; by QIDO-RS where that is missing. See `Destination.has`."""
        found: set[str] = set()
        for at in range(0, len(instances), _AT_A_TIME):
            some = instances[at : at + _AT_A_TIME]
            uids = await self._search([sop for _, _, sop in some]) if self._searches else None
            self._searches = uids is not None
            found |= uids if uids is not None else await qido.present(self._http, some, _DICOMWEB)
        return found

    async def close(self) -> None:
        await self._http.close()

    async def _file(self, limited: RateLimited) -> AsyncGenerator[bytes, None]:
        limited.sent = 0
        content = await limited.prepare(self._choose)
        try:
            async for piece in file_of(limited, content):
                yield piece
        finally:
            content.close()

    def _answer(self, reply: Reply, sent: int) -> Answer:
        if reply.status != 200:
            never = 400 <= reply.status < 500 and reply.status != 408
            return Answer("refused" if never else "again", reply.status, f"{self._name}: {reply.words}", sent)
        try:
            state = str(msgspec.json.decode(reply.body, type=dict[str, Any]).get("Status", ""))
        except NOT_JSON:
            return Answer("again", 200, f"{self._name}: its answer is not that of an Orthanc; check its url", sent)
        if state in _SUCCESS:
            return Answer("delivered", 200, _SUCCESS[state], sent)
        # FilteredOut: a script of the peer rejects the instance. Any other value is a temporary failure.
        return Answer("refused" if state == "FilteredOut" else "again", 200, f"{self._name}: {state[:64]}", sent)

    async def _search(self, wanted: list[str]) -> set[str] | None:
        """Search by SOP Instance UID; None when the peer cannot search so."""
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": "\\".join(wanted)}, "Expand": True}
        data = msgspec.json.encode(query)
        reply = await self._http.request("POST", "/tools/find", body=data, headers=_ASKED, missing=True)
        if reply.status in (404, 405):
            return None
        try:
            rows = msgspec.json.decode(reply.body, type=list[dict[str, Any]]) if reply.status == 200 else None
            if rows is not None:
                return {str(row["MainDicomTags"]["SOPInstanceUID"]) for row in rows} & set(wanted)
        except (*NOT_JSON, KeyError, TypeError):
            pass
        raise GatewayError(f"{self._name}: {reply.words} to a search for instances")
