"""QIDO-RS and WADO-RS (PS3.18 §10.6, §10.4), over one HTTP connection that stays open; bodies are not kept."""

from __future__ import annotations

import itertools
from urllib.parse import urlencode

import msgspec

from loadtest.scenario import Work
from loadtest.shelf import Place
from loadtest.stats import Stats
from loadtest.work.base import Failed, Ground, filled, something
from loadtest.work.http import Body, Collected, Connection, Head

_AS_STORED = "; transfer-syntax=*"
_JSON = "application/dicom+json"
_LEVELS = {"study": "studies", "series": "series", "instance": "instances"}


class _Reader:
    """One HTTP connection, opened with the first request."""

    def __init__(self, ground: Ground, work: Work) -> None:
        self.ground = ground
        self.work = work
        self.connection = Connection(ground.target)

    async def open(self) -> int:
        return 1

    async def close(self, broken: bool) -> None:
        self.connection.close()

    async def rows(self, path: str) -> tuple[int, int]:
        """GET a JSON array, and return its number of objects and of bytes; both are 0 without a body. Raises Failed."""
        body = Collected()
        _check(await self.connection.get(path, _JSON, lambda head: body))
        try:
            return len(msgspec.json.decode(body.data, type=list[msgspec.Raw])) if body.data else 0, len(body.data)
        except msgspec.DecodeError:
            raise Failed("the answer is not a JSON array") from None


class Qido(_Reader):
    """A query by QIDO-RS. Every match counts as an instance."""

    async def do(self, stats: Stats, since: float) -> None:
        keys = dict(await filled(self.work.keys, self.ground))
        if self.work.limit:
            keys["limit"] = str(self.work.limit)
        rows, size = await self.rows(f"/{_LEVELS[self.work.level]}?{urlencode(keys)}")
        stats.done(since, rows, size)


class Rest(_Reader):
    """A call of Orthanc's REST API. The answer is counted, and not looked at."""

    async def do(self, stats: Stats, since: float) -> None:
        path = self.work.paths[next(_numbers) % len(self.work.paths)]
        body = _Counted()
        if self.work.body:
            head = await self.connection.post(path, self.work.body, lambda head: body)
        else:
            head = await self.connection.get(path, "*/*", lambda head: body)
        _check(head)
        stats.done(since, 1, body.size)


class _Retrieve(_Reader):
    """A retrieval by WADO-RS."""

    async def do(self, stats: Stats, since: float) -> None:
        await self.retrieve(await something(self.ground.shelf), stats)
        stats.done(since)

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        raise NotImplementedError


class RetrieveStudy(_Retrieve):
    """A whole study, as it was stored. The operation fails if instances known to be in the study are missing."""

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        known = len(study)
        parts = _Parts(stats)
        accept = f'multipart/related; type="application/dicom"{_AS_STORED}'
        _check(await self.connection.get(f"/studies/{study[0].study}", accept, parts.begin))
        if not parts.boundary:
            raise Failed("the answer is not multipart")
        if parts.count < known:
            raise Failed("instances of the study are missing")


class RetrieveMetadata(_Retrieve):
    """The metadata of a study. The operation fails if instances known to be in the study are missing."""

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        known = len(study)
        rows, size = await self.rows(f"/studies/{study[0].study}/metadata")
        stats.moved(rows, size)
        if rows < known:
            raise Failed("instances of the study are missing")


class _RetrieveOne(_Retrieve):
    """A resource of one instance."""

    async def retrieve(self, study: list[Place], stats: Stats) -> None:
        place = self.ground.shelf.instance(study)
        what, accept = self.of(place)
        path = f"/studies/{place.study}/series/{place.series}/instances/{place.instance}/{what}"
        body = _Counted()
        _check(await self.connection.get(path, accept, lambda head: body))
        stats.moved(1, body.size)

    def of(self, place: Place) -> tuple[str, str]:
        """The rest of the URL, and the Accept header."""
        raise NotImplementedError


class RetrieveFrame(_RetrieveOne):
    """The middle frame of an instance, as it was stored: it is as hard to find as most others."""

    def of(self, place: Place) -> tuple[str, str]:
        accept = f'multipart/related; type="application/octet-stream"{_AS_STORED}'
        return f"frames/{(place.frames + 1) // 2}", accept


class RetrieveRendered(_RetrieveOne):
    """One instance rendered as JPEG."""

    def of(self, place: Place) -> tuple[str, str]:
        if not self.work.anew:
            return "rendered", "image/jpeg"
        number = next(_numbers)
        return f"rendered?window={number % 1000},{1000 + number // 1000},linear", "image/jpeg"


_numbers = itertools.count()
"""Numbers of windows, so that no two are equal."""


class _Counted:
    """A receiver that counts the bytes of a body."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, buffer: bytearray, start: int, end: int) -> None:
        self.size += end - start


class _Parts:
    """A receiver that counts the parts of a multipart body while it arrives, in pieces of any size."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self.boundary = b""
        self.count = 0
        self._kept = b"\r\n"  # The first boundary may be at the very beginning.

    def begin(self, head: Head) -> Body:
        """Choose the receiver of a body; a body that is not multipart has no boundary, and no parts."""
        if head.status == 200:
            self.boundary = _boundary(head)
        return self if self.boundary else _Counted()

    def write(self, buffer: bytearray, start: int, end: int) -> None:
        boundary = self.boundary
        most = len(boundary) - 1
        # `across` can only match a boundary that spans two pieces: each half is shorter than the boundary.
        across = self._kept + bytes(buffer[start : min(end, start + most)])
        found = buffer.count(boundary, start, end) + across.count(boundary)
        self._kept = (self._kept + bytes(buffer[max(start, end - most) : end]))[-most:]
        self.count += found
        self._stats.moved(found, end - start)


def _boundary(head: Head) -> bytes:
    """The boundary line in front of a part; empty if the body is not multipart."""
    for parameter in head.headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "boundary":
            return b"\r\n--" + value.strip('"').encode() + b"\r\n"
    return b""


def _check(head: Head) -> None:
    if head.status not in (200, 204, 206):
        raise Failed(f"HTTP {head.status} {head.reason}")
