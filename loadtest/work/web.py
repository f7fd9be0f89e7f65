"""DICOMweb (PS3.18 §10): storing, searching and retrieving, each connection one HTTP connection that stays."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import msgspec

from gateway.dicom import part10
from loadtest.data import Instance
from loadtest.library import Place
from loadtest.scenario import Work
from loadtest.stats import Stats
from loadtest.target import Target
from loadtest.work.base import Exhausted, Failed, Ground, filled, something

_STORED, _FAILED = "00081199", "00081198"
"""Referenced and Failed SOP Sequence of a STOW-RS response (PS3.18 Table 10.5.3-1)."""
_CHUNK = 256 << 10
_AS_STORED = "; transfer-syntax=*"


def http_session(target: Target, connections: int = 1) -> aiohttp.ClientSession:
    """So many connections to the DICOMweb service. Close it."""
    assert target.web is not None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=target.timeout, sock_read=target.timeout)
    web = target.web
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=timeout,
        auth=aiohttp.BasicAuth(web.user, web.password) if web.user else None,
        headers={"Accept-Encoding": "identity"} | ({"Host": web.host} if web.host else {}),
        read_bufsize=_CHUNK,
        auto_decompress=False,
    )


class _Connected:
    """One HTTP connection, opened with the first request."""

    def __init__(self, ground: Ground, work: Work) -> None:
        assert ground.target.web is not None
        self.ground = ground
        self.work = work
        self.url = ground.target.web.url
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    async def open(self) -> int:
        self._session = http_session(self.ground.target)
        return 1

    async def close(self, broken: bool) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class Qido(_Connected):
    """QIDO-RS. Every match counts as an instance."""

    async def do(self, stats: Stats, since: float) -> None:
        keys = dict(await filled(self.work.keys, self.ground))
        if self.work.limit:
            keys["limit"] = str(self.work.limit)
        levels = {"study": "studies", "series": "series", "instance": "instances"}
        body = await get(self.session, f"{self.url}/{levels[self.work.level]}", "application/dicom+json", keys)
        stats.done(since, _rows(body), len(body))


class _Retrieve(_Connected):
    """WADO-RS. What comes is counted and thrown away."""

    async def do(self, stats: Stats, since: float) -> None:
        await self.retrieve(await something(self.ground.library), stats)
        stats.done(since)

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        raise NotImplementedError


class RetrieveStudy(_Retrieve):
    """A whole study, as it was stored. Fewer instances than are known to be in it are a failure."""

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        known = len(study)
        accept = f'multipart/related; type="application/dicom"{_AS_STORED}'
        parts = await self._multipart(f"{self.url}/studies/{study[0].study}", accept, stats)
        if parts < known:
            raise Failed("instances of the study are missing")

    async def _multipart(self, url: str, accept: str, stats: Stats) -> int:
        """How many parts came."""
        async with self.session.get(url, headers={"Accept": accept}) as answer:
            _check(answer)
            boundary = b"\r\n--" + _boundary(answer) + b"\r\n"
            # The first may stand at the very beginning; one may lie across two chunks.
            kept, parts = b"\r\n", 0
            async for chunk in answer.content.iter_any():
                found = (kept + chunk).count(boundary)
                parts += found
                stats.moved(found, len(chunk))
                kept = (kept + chunk[-len(boundary) :])[-len(boundary) + 1 :]
        return parts


class RetrieveMetadata(_Retrieve):
    """The metadata of a study. Fewer instances than are known to be in it are a failure."""

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        known = len(study)
        body = await get(self.session, f"{self.url}/studies/{study[0].study}/metadata", "application/dicom+json")
        rows = _rows(body)
        stats.moved(rows, len(body))
        if rows < known:
            raise Failed("instances of the study are missing")


class _RetrieveOne(_Retrieve):
    """Something of one instance."""

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        place = self.ground.library.instance(study)
        url = f"{self.url}/studies/{place.study}/series/{place.series}/instances/{place.instance}"
        size = 0
        what, accept = self.of(place)
        async with self.session.get(f"{url}/{what}", headers={"Accept": accept}) as answer:
            _check(answer)
            async for chunk in answer.content.iter_any():
                size += len(chunk)
        stats.moved(1, size)

    def of(self, place: Place) -> tuple[str, str]:
        """The rest of the URL, and what is accepted."""
        raise NotImplementedError


class RetrieveFrame(_RetrieveOne):
    """One frame, as it was stored: the middle one, which is no easier to find than most."""

    def of(self, place: Place) -> tuple[str, str]:
        return (
            f"frames/{(place.frames + 1) // 2}",
            f'multipart/related; type="application/octet-stream"{_AS_STORED}',
        )


class RetrieveRendered(_RetrieveOne):
    """One instance as JPEG."""

    def of(self, place: Place) -> tuple[str, str]:
        return "rendered", "image/jpeg"


class Stow(_Connected):
    """STOW-RS: each operation is a request with `batch` instances."""

    def __init__(self, ground: Ground, work: Work, feed: Iterator[Instance]) -> None:
        super().__init__(ground, work)
        self._feed = feed
        self._boundary = uuid.uuid4().hex

    async def do(self, stats: Stats, since: float) -> None:
        instances = list(itertools.islice(self._feed, self.work.batch))
        if not instances:
            raise Exhausted
        opening = f"--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        closing = f"--{self._boundary}--\r\n".encode()
        heads = [opening + _file_header(instance) for instance in instances]
        size = sum(map(len, heads)) + sum(instance.size + 2 for instance in instances) + len(closing)

        async def body() -> AsyncIterator[bytes | memoryview]:
            for head, instance in zip(heads, instances, strict=True):
                yield head
                for chunk in instance.chunks:
                    yield chunk
                yield b"\r\n"
            yield closing

        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={self._boundary}',
            "Content-Length": str(size),
            "Accept": "application/dicom+json",
        }
        async with self.session.post(f"{self.url}/studies", data=body(), headers=headers) as answer:
            said = await answer.read()
            if answer.status not in (200, 202, 409):
                raise Failed(f"HTTP {answer.status} {answer.reason}")
        stored, failed = _outcome(said)
        for instance in instances:
            if instance.sop_instance_uid in stored:
                stats.moved(1, instance.size)
                self.ground.acknowledged(instance)
        if reasons := [reason for uid, reason in failed.items() if uid not in stored]:
            raise Failed(f"refused, failure reason {reasons[0]:04X}H")
        if any(instance.sop_instance_uid not in stored for instance in instances):
            raise Failed("instances are missing in the answer")
        stats.done(since)


async def get(session: aiohttp.ClientSession, url: str, accept: str, query: Mapping[str, str] = {}) -> bytes:
    """The body of a GET; nothing where there is nothing. Raises Failed."""
    async with session.get(url, params=query, headers={"Accept": accept}) as answer:
        if answer.status == 204:
            return b""
        _check(answer)
        return await answer.read()


def _rows(body: bytes) -> int:
    """How many objects a JSON array has; nothing at all has none. Raises Failed."""
    try:
        return len(msgspec.json.decode(body, type=list[msgspec.Raw])) if body else 0
    except msgspec.DecodeError:
        raise Failed("the answer is no JSON array") from None


def text(row: Mapping[str, Mapping[str, object]], tag: int) -> str:
    """The first value of an attribute in the DICOM JSON model, "" where there is none."""
    values = row.get(f"{tag:08X}", {}).get("Value")
    return str(values[0]) if isinstance(values, list) and values else ""


def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status not in (200, 206):
        raise Failed(f"HTTP {answer.status} {answer.reason}")


def _boundary(answer: aiohttp.ClientResponse) -> bytes:
    for parameter in answer.headers.get("Content-Type", "").split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "boundary":
            return value.strip('"').encode()
    raise Failed("the answer is not multipart")


def _file_header(instance: Instance) -> bytes:
    return part10.file_header(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
    )


def _outcome(body: bytes) -> tuple[set[str], dict[str, int]]:
    """SOP Instance UIDs that are stored, and those that are not with their Failure Reason."""
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except msgspec.DecodeError:
        raise Failed("the answer is not JSON") from None

    def items(tag: str) -> list[dict[str, Any]]:
        return [item or {} for item in answer.get(tag, {}).get("Value", [])]

    def value(item: dict[str, Any], tag: str) -> Any:
        return (item.get(tag, {}).get("Value") or [None])[0]

    stored = {str(value(item, "00081155")) for item in items(_STORED)}
    failed = {str(value(item, "00081155")): int(value(item, "00081197") or 0) for item in items(_FAILED)}
    return stored, failed
