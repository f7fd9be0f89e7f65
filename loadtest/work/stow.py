"""STOW-RS (PS3.18 §10.5), over one HTTP connection that stays open."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec

from gateway.dicom import part10
from loadtest.data import Instance
from loadtest.scenario import Work
from loadtest.stats import Stats
from loadtest.work.base import Exhausted, Failed, Ground
from loadtest.work.web import http_session

_STORED, _FAILED = "00081199", "00081198"
"""Referenced and Failed SOP Sequence of a STOW-RS response (PS3.18 Table 10.5.3-1)."""


class Stow:
    """Storing by STOW-RS: each operation is a request with `batch` instances."""

    def __init__(self, ground: Ground, work: Work, feed: Iterator[Instance]) -> None:
        assert ground.target.web is not None
        self._ground = ground
        self._url = f"{ground.target.web.url}/studies"
        self._batch = work.batch
        self._feed = feed
        self._session: aiohttp.ClientSession | None = None
        self._boundary = uuid.uuid4().hex

    async def open(self) -> int:
        self._session = http_session(self._ground.target)
        return 1

    async def close(self, broken: bool) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def do(self, stats: Stats, since: float) -> None:
        assert self._session is not None
        instances = list(itertools.islice(self._feed, self._batch))
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
        async with self._session.post(self._url, data=body(), headers=headers) as answer:
            response = await answer.read()
            if answer.status not in (200, 202, 409):
                raise Failed(f"HTTP {answer.status} {answer.reason}")
        stored, failed = _outcome(response)
        for instance in instances:
            if instance.sop_instance_uid in stored:
                stats.moved(1, instance.size)
                self._ground.acknowledged(instance)
        if reasons := [reason for uid, reason in failed.items() if uid not in stored]:
            raise Failed(f"refused, failure reason {reasons[0]:04X}H")
        if any(instance.sop_instance_uid not in stored for instance in instances):
            raise Failed("instances are missing in the answer")
        stats.done(since)


def _file_header(instance: Instance) -> bytes:
    return part10.file_header(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
    )


def _outcome(body: bytes) -> tuple[set[str], dict[str, int]]:
    """The SOP Instance UIDs of stored instances, and the Failure Reason of the others by UID. Raises Failed."""
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
