"""The verification after a run: whether the server has every acknowledged instance, as it was sent.

It queries over DICOMweb (QIDO-RS, PS3.18 §10.6) if the target has such a service, otherwise by C-FIND. Over DICOMweb a
few instances are also retrieved, and compared with the sent ones byte for byte.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp
import msgspec

from gateway.dicom import part10
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import DataSet
from gateway.errors import GatewayError
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Requestor, associate
from loadtest.data import Instance
from loadtest.target import Target
from loadtest.work import ask
from loadtest.work.base import Failed
from loadtest.work.web import http_session, text

_PAGE = 500
_AT_ONCE = 4
_MAX_COMPARED = 8
_MAX_COMPARED_BYTES = 64 << 20
"""Size in bytes of the largest instance that is kept for comparison."""
_REENCODED = "re-encoded"
_SOP_CLASS, _SOP_INSTANCE, _SERIES = 0x00080016, 0x00080018, 0x0020000E


class VerifyFailed(GatewayError):
    """The server returned no usable answer."""


class Verification(msgspec.Struct, frozen=True):
    """The outcome of a verification."""

    url: str
    """The queried service or node, without a password."""
    asked: int
    found: int
    missing: list[str]
    """SOP Instance UIDs of the missing instances."""
    differing: dict[str, str]
    """The differences from the sent instance, by SOP Instance UID."""
    compared: int = 0
    """Number of instances that were retrieved and compared."""
    reencoded: int = 0
    """Number of compared instances with equal values in other bytes, as from servers that parse before they store."""

    @property
    def good(self) -> bool:
        return not self.missing and not self.differing


class _Facts(NamedTuple):
    """The attributes that a server should return for an instance; "" if unknown."""

    series: str
    sop_class: str


class Acknowledged:
    """The acknowledged instances, by study."""

    def __init__(self) -> None:
        self._studies: defaultdict[str, dict[str, _Facts]] = defaultdict(dict)
        self._kept: list[Instance] = []
        self._count = 0

    def add(self, instance: Instance) -> None:
        facts = _Facts(instance.series_instance_uid, instance.sop_class_uid)
        self._studies[instance.study_instance_uid][instance.sop_instance_uid] = facts
        # Keep instances 1, 2, 4, 8 and so on. Only generated ones have a tuple of chunks, which can be read twice.
        self._count += 1
        comparable = isinstance(instance.chunks, tuple) and instance.series_instance_uid
        if self._count & (self._count - 1) == 0 and comparable and instance.size <= _MAX_COMPARED_BYTES:
            self._kept.append(instance)
            del self._kept[1 : 1 - _MAX_COMPARED]

    async def verify(self, target: Target) -> Verification:
        """Query the DICOMweb service of the target, or its DICOM node without one. Raises VerifyFailed."""
        asker: _Qido | _Find = _Qido(target) if target.web is not None else _Find(target)
        turns = asyncio.Semaphore(_AT_ONCE)
        missing: set[str] = set()
        differing: dict[str, str] = {}

        async def check(study: str, sent: dict[str, _Facts]) -> None:
            async with turns:
                stored = await asker.instances(study, sent)
            for uid, facts in sent.items():
                if uid not in stored:
                    missing.add(uid)
                elif difference := _difference(facts, stored[uid]):
                    differing[uid] = difference

        compared = reencoded = 0
        try:
            async with asker:
                async with asyncio.TaskGroup() as group:
                    for study, sent in self._studies.items():
                        group.create_task(check(study, sent))
                if isinstance(asker, _Qido):
                    for instance in (each for each in self._kept if each.sop_instance_uid not in missing):
                        compared += 1
                        difference = await asker.compare(instance)
                        if difference == _REENCODED:
                            reencoded += 1
                        elif difference:
                            differing[instance.sop_instance_uid] = difference
        except* (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, GatewayError, Failed) as errors:
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise VerifyFailed(f"cannot verify at {asker.url}: {first}") from first
        total = sum(map(len, self._studies.values()))
        return Verification(asker.url, total, total - len(missing), sorted(missing), differing, compared, reencoded)


def _difference(sent: _Facts, there: _Facts) -> str:
    for name, ours, theirs in zip(("series", "SOP class"), sent, there, strict=True):
        if ours and theirs and ours != theirs:
            return f"it has {name} {theirs}, not {ours}"
    return ""


class _Qido:
    """Queries over DICOMweb."""

    def __init__(self, target: Target) -> None:
        assert target.web is not None
        self._target = target
        self.url = target.web.url

    async def __aenter__(self) -> None:
        self._session = http_session(self._target, _AT_ONCE)

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def instances(self, study: str, wanted: dict[str, _Facts]) -> dict[str, _Facts]:
        """The instances of a study in the server, page by page; without a study UID, each wanted one by itself."""
        found: dict[str, _Facts] = {}
        if not study:
            for uid in wanted:
                found |= await self._page(f"{self.url}/instances", {"SOPInstanceUID": uid})
            return found
        offset = 0
        where = f"{self.url}/studies/{study}/instances"
        while page := await self._page(where, {"limit": str(_PAGE), "offset": str(offset)}):
            before = len(found)
            found |= page
            if len(found) == before:
                break  # A server without support for `offset` returns the first page again.
            offset += len(page)
        return found

    async def _page(self, url: str, query: dict[str, str]) -> dict[str, _Facts]:
        async with self._session.get(url, params=query, headers={"Accept": "application/dicom+json"}) as answer:
            body = await answer.read()
            if answer.status in (204, 404):
                return {}
            if answer.status != 200:
                raise VerifyFailed(f"GET {answer.url.path} was answered {answer.status} {answer.reason}")
        rows = msgspec.json.decode(body, type=list[dict[str, dict[str, object]]])
        return {text(row, _SOP_INSTANCE): _Facts(text(row, _SERIES), text(row, _SOP_CLASS)) for row in rows}

    async def compare(self, instance: Instance) -> str:
        """Retrieve an instance as stored, and return its difference from the sent one; empty if there is none."""
        place = f"studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        url = f"{self.url}/{place}/instances/{instance.sop_instance_uid}"
        async with self._session.get(url, headers={"Accept": accept}) as answer:
            body = await answer.read()
            if answer.status != 200:
                return f"it is found but cannot be retrieved: {answer.status} {answer.reason}"
        begin = body.find(b"\r\n\r\n") + 4
        file = memoryview(body)[begin:]
        meta = part10.read_header(lambda offset, length: bytes(file[offset : offset + length]))
        if meta.transfer_syntax_uid != instance.transfer_syntax_uid:
            return f"it is in another transfer syntax: {meta.transfer_syntax_uid}"
        data = file[meta.data_set_offset : meta.data_set_offset + instance.size]
        came, sent = bytes(data), b"".join(instance.chunks)
        if came == sent:
            return ""
        came = bytes(file[meta.data_set_offset : body.rfind(b"\r\n--") - begin])
        same = _values(came, meta.transfer_syntax_uid) == _values(sent, meta.transfer_syntax_uid)
        return _REENCODED if same else "its values are not those that were sent"


def _values(data: bytes, syntax: str) -> DataSet | None:
    """Decode a data set; None if it cannot be decoded."""
    try:
        return decode_data_set(data, syntax)
    except GatewayError:
        return None


class _Find:
    """Queries by C-FIND, level by level: few nodes support relational queries (PS3.4 C.4.1.1.3.2)."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.url = str(target)

    async def __aenter__(self) -> None:
        self._blocks = BlockPool(8)

    async def __aexit__(self, *error: object) -> None:
        pass

    async def instances(self, study: str, wanted: dict[str, _Facts]) -> dict[str, _Facts]:
        found: dict[str, _Facts] = {}
        call = self._target.call([(ask.FIND, ask.PLAIN)])
        async with associate(call, self._blocks) as association:
            for series in await self._series(association, study):
                keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": "", "SOPClassUID": ""}
                for row in await ask.found(association, "instance", keys):
                    facts = _Facts(row.get(_SERIES, series), row.get(_SOP_CLASS, ""))
                    found[row.get(_SOP_INSTANCE, "")] = facts
        return found

    async def _series(self, association: Requestor, study: str) -> Sequence[str]:
        rows = await ask.found(association, "series", {"StudyInstanceUID": study, "SeriesInstanceUID": ""})
        return [row[_SERIES] for row in rows if _SERIES in row]
