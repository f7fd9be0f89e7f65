"""Destinations of kind `peer`: another gateway, or an Orthanc, one file a request over its REST API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from gateway.config.destinations import PeerDestination
from gateway.errors import GatewayError
from gateway.remote import qido
from gateway.remote.destination import Answer, Named
from gateway.remote.http import Body, HttpClient, Reply, RequestBroken
from gateway.remote.metering import Bandwidth, Metered
from gateway.remote.outgoing_file import choosing, file_of, unreadable
from gateway.scu.sending import Instance

_SENT: Final = {"Accept": "application/json", "Content-Type": "application/dicom"}
_ASKED: Final = {"Accept": "application/json", "Content-Type": "application/json"}
_AT_A_TIME: Final = 100
"""Instances asked for in one search."""
_DICOMWEB: Final = "/dicom-web"
"""Where a gateway has DICOMweb."""
_TAKEN: Final = {"Success": "stored", "AlreadyStored": "it is there already"}


class Peer:
    """A peer by its url."""

    def __init__(self, name: str, section: PeerDestination) -> None:
        self._name = name
        self._http = HttpClient(name, section)
        self._choose = choosing(section.transfer_syntaxes)
        self._bandwidth = Bandwidth(section.bandwidth)
        self._turn = asyncio.Semaphore(section.connections)
        self._searches = True
        """It knows /tools/find, as far as we know."""

    async def send(self, instance: Instance) -> Answer:
        """As `Destination.send`."""
        metered = Metered(instance, self._bandwidth)
        body = Body(lambda: self._file(metered))
        async with self._turn:
            try:
                reply = await self._http.request("POST", "/instances", body=body, headers=_SENT)
            except RequestBroken as error:
                if body.error is not None:
                    return unreadable(body.error, metered.sent)
                await self._http.check("/system")
                return Answer("again", None, str(error), metered.sent)
            if reply.status >= 500:
                await self._http.check("/system")
        return self._answer(reply, metered.sent)

    async def has(self, instances: Sequence[Named]) -> set[str]:
        """By a search as Orthanc has it; where there is none, by QIDO-RS."""
        found: set[str] = set()
        for at in range(0, len(instances), _AT_A_TIME):
            some = instances[at : at + _AT_A_TIME]
            uids = await self._search([sop for _, _, sop in some]) if self._searches else None
            self._searches = uids is not None
            found |= uids if uids is not None else await qido.present(self._http, some, _DICOMWEB)
        return found

    async def close(self) -> None:
        await self._http.close()

    async def _file(self, metered: Metered) -> AsyncGenerator[bytes, None]:
        metered.sent = 0
        content = await metered.prepare(self._choose)
        try:
            async for piece in file_of(metered, content):
                yield piece
        finally:
            content.close()

    def _answer(self, reply: Reply, sent: int) -> Answer:
        if reply.status != 200:
            never = 400 <= reply.status < 500 and reply.status != 408
            return Answer("refused" if never else "again", reply.status, f"{self._name}: {reply.words}", sent)
        try:
            said = str(msgspec.json.decode(reply.body, type=dict[str, Any]).get("Status", ""))
        except msgspec.DecodeError:
            return Answer("again", 200, f"{self._name}: its answer is none of an Orthanc; look at its url", sent)
        if said in _TAKEN:
            return Answer("delivered", 200, _TAKEN[said], sent)
        # FilteredOut: a script of its own does not want it. Anything else is a failure of the moment.
        return Answer("refused" if said == "FilteredOut" else "again", 200, f"{self._name}: {said[:64]}", sent)

    async def _search(self, wanted: list[str]) -> set[str] | None:
        """None where it cannot search so."""
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": "\\".join(wanted)}, "Expand": True}
        data = msgspec.json.encode(query)
        reply = await self._http.request("POST", "/tools/find", body=data, headers=_ASKED, missing=True)
        if reply.status in (404, 405):
            return None
        try:
            rows = msgspec.json.decode(reply.body, type=list[dict[str, Any]]) if reply.status == 200 else None
            if rows is not None:
                return {str(row["MainDicomTags"]["SOPInstanceUID"]) for row in rows} & set(wanted)
        except (msgspec.DecodeError, KeyError, TypeError):
            pass
        raise GatewayError(f"{self._name}: {reply.words}, asked for what it has")
