"""JSON answers of the management API, indented for people with curl, in UTF-8; and numbers and flags in its queries."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.dicom.levels import COLLECTIONS
from gateway.errors import BadRequest
from gateway.web.errors import error_answer
from gateway.web.inputs import whole_number
from gateway.web.streaming import stream

_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_BY_NAME: Final = {level.capitalize(): collection for level, collection in COLLECTIONS.items()}


def json_answer(value: Any) -> web.Response:
    return text_answer(json_text(value))


def json_text(value: Any) -> bytes:
    """The text of an answer."""
    return msgspec.json.format(msgspec.json.encode(value), indent=3) + b"\n"


def text_answer(text: bytes) -> web.Response:
    """The answer whose JSON is encoded already."""
    return web.Response(body=text, headers=_JSON)


async def json_list(request: web.Request, pages: AsyncIterator[list[Any]]) -> web.StreamResponse:
    """A list that comes in pages: as `text_list`."""
    return await text_list(request, _texts(pages))


async def text_list(request: web.Request, pages: AsyncIterator[bytes]) -> web.StreamResponse:
    """A list whose members come in pages, encoded by `members_text`, none of them empty. One of many pages is sent as
    they come: it takes no more memory than two of them.

    Raises what makes the first page impossible.
    """
    first = await anext(pages, b"")
    second = await anext(pages, b"")
    if not second:
        return text_answer(b"[%b\n]\n" % first if first else b"[]\n")
    return await stream(request, web.StreamResponse(headers=_JSON), _list_chunks(first, second, pages))


async def _texts(pages: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    async for page in pages:
        if page:
            yield members_text(page)


async def _list_chunks(first: bytes, second: bytes, pages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield b"[" + first
    yield b"," + second
    async for page in pages:
        yield b"," + page
    yield b"\n]\n"


def members_text(page: list[Any]) -> bytes:
    """The text of a list that is not empty, without its brackets."""
    return msgspec.json.format(msgspec.json.encode(page), indent=3)[1:-2]


def unknown(request: web.Request) -> web.Response:
    """The answer where there is no such resource."""
    return error_answer(request, 404, "there is no such resource; lists such as /studies have the identifiers")


def place(level: str, public_id: str) -> str:
    """Orthanc's path of a resource; `level` is Patient, Study, Series or Instance."""
    return f"/{_BY_NAME[level]}/{public_id}"


def reference(collection: str, identifier: str | int) -> dict[str, str]:
    """How Orthanc names what a request has made: its identifier, and its path below a collection."""
    return {"ID": str(identifier), "Path": f"/{collection}/{identifier}"}


def timestamp(at: float) -> str:
    """A time (seconds since 1970) in Orthanc's format, in UTC: `20261122T093000`."""
    return _second(int(at))


@lru_cache(1 << 12)
def _second(at: int) -> str:
    # What comes in comes many times a second: of 1000 changes, this was half of the time.
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y%m%dT%H%M%S")


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """A truth value of the query: `?expand`, `?expand=1` and `?expand=true` are true. BadRequest for what is none."""
    text = request.query.get(name)
    if text is None:
        return default
    if text.lower() in ("", "1", "true"):
        return True
    if text.lower() in ("0", "false"):
        return False
    raise BadRequest(f"{name}: {text[:80]!r} is neither true nor false")


def number(request: web.Request, name: str, default: int) -> int:
    """A numeric parameter of the query; `default` if it is missing or not a number."""
    found = whole_number(request.query.get(name, ""))
    return default if found is None else found
