"""Input of clients in paths, queries and small bodies: whole numbers, JSON, forms.

Each is parsed in one place, here, so that no input ends in an internal error (500). `receiving.py` has bodies with
instances.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from gateway.errors import BadRequest
from gateway.web.receiving import small_body

T = TypeVar("T")
_FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 1000
"""Fields of a form."""
_DIGITS = 18
"""Digits of a whole number that fits 64 bits."""


def whole_number(text: str) -> int | None:
    """Parse a whole number from 0 in ASCII decimal digits; None for anything else.

    `str.isdigit` alone accepts "²", which `int` rejects, and "٣", which `int` accepts.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


@overload
async def read_json(request: web.Request) -> Any: ...
@overload
async def read_json(request: web.Request, kind: type[T]) -> T: ...
async def read_json(request: web.Request, kind: Any = Any) -> Any:
    """Decode the JSON body as `kind`; an empty body is an empty object. Raises BadRequest, TooLarge, Busy."""
    return parsed_json(await small_body(request), kind)


def parsed_json(data: bytes, kind: Any = Any) -> Any:
    """Decode a JSON body as `kind`; an empty one is an empty object. Raises BadRequest."""
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body has the wrong structure: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the JSON of the body is nested too deeply") from None


async def read_object(request: web.Request, why: str = "the body is not a JSON object") -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty one. Raises BadRequest, where there is none with the
    reason `why`; TooLarge, Busy."""
    return parsed_object(await small_body(request), why)


def parsed_object(data: bytes, why: str) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty one. Raises BadRequest, where there is none with the reason
    `why`."""
    body = parsed_json(data)
    if not isinstance(body, dict):
        raise BadRequest(why)
    return body


async def read_form(request: web.Request) -> dict[str, str]:
    """Parse the fields of a form (`application/x-www-form-urlencoded`), the last one of each name. Raises
    BadRequest."""
    return dict(await read_fields(request))


async def read_fields(request: web.Request) -> list[tuple[str, str]]:
    """Parse the fields of a form, all of each name, in order. Raises BadRequest."""
    data = await small_body(request)
    if data and request.content_type != _FORM:
        raise BadRequest(f"the form cannot be read: its type is {request.content_type}, not {_FORM}")
    charset = request.charset or "utf-8"
    try:
        return parse_qsl(
            data.decode(charset), keep_blank_values=True, encoding=charset, max_num_fields=MAX_FIELDS, errors="replace"
        )
    except (ValueError, LookupError) as error:  # invalid text, an unknown charset, too many fields
        raise BadRequest(f"the form cannot be read: {error}") from None
