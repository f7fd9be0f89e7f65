"""Metadata of patients, studies, series and instances, as Orthanc has them.

Metadata that a resource has by itself can be read only. What is added has a name of the user's choice, or a number from
1024 on as where Orthanc's configuration gives it no name; its revision is in the ETag, and If-Match changes only what
has not been changed meanwhile.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from gateway.database.database import Database
from gateway.dicom.levels import COLLECTIONS, Level
from gateway.errors import BadRequest, NotFound
from gateway.index import annotations as index
from gateway.index.annotations import Metadata
from gateway.index.resources import Resource, resource
from gateway.web.conditional import precondition, unchanged
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.receiving import small_body
from gateway.web.rest.answers import flag, json_answer, unknown
from gateway.web.rest.user_names import is_users, not_users, place_of
from gateway.web.route import FLAG, Parameter, Route

CODES: Final = {
    "IndexInSeries": 1,
    "ReceptionDate": 2,
    "RemoteAET": 3,
    "ExpectedNumberOfInstances": 4,
    "ModifiedFrom": 5,
    "AnonymizedFrom": 6,
    "LastUpdate": 7,
    "Origin": 8,
    "TransferSyntax": 9,
    "SopClassUid": 10,
    "RemoteIP": 11,
    "CalledAET": 12,
    "HttpUsername": 13,
    "PixelDataOffset": 14,
    "MainDicomTagsSignature": 15,
    "MainDicomSequences": 16,
}
"""The numbers that Orthanc has for metadata of its own."""
_NAMES: Final = {str(code): name for name, code in CODES.items()}
_ORIGINS: Final = {
    "dimse": "DicomProtocol",
    "stow": "RestApi",
    "rest": "RestApi",
    "import": "Unknown",
    "inbox": "RestApi",
}


async def own_and_added(database: Database, found: Sequence[Resource]) -> list[dict[str, str]]:
    """All metadata of some resources of one level, by name."""
    return [{name: each.value for name, each in one.items()} for one in await _metadata(database, found)]


async def _metadata(database: Database, found: Sequence[Resource]) -> list[dict[str, Metadata]]:
    """The same with revisions, in Orthanc's words."""
    made = await index.metadata_of(database, found)
    for one in made:
        if (origin := one.get("Origin")) is not None and origin.value in _ORIGINS:
            one["Origin"] = Metadata(_ORIGINS[origin.value], origin.revision)
            if origin.value != "dimse":
                one.pop("CalledAET", None)
                one["HttpUsername"] = Metadata("", 0)
    return made


async def all_metadata(request: web.Request, level: Level) -> web.StreamResponse:
    """The names of a resource's metadata; with `expand`, their values; with `numeric`, Orthanc's numbers for names."""
    found = await _all(request, level)
    if found is None:
        return unknown(request)
    if flag(request, "numeric"):
        found = {str(CODES.get(name, name)): each for name, each in found.items()}
    if flag(request, "expand"):
        return json_answer({name: each.value for name, each in sorted(found.items())})
    return json_answer(sorted(found, key=_place))


async def one_metadata(request: web.Request, level: Level) -> web.StreamResponse:
    """The value of one metadata."""
    found = await _all(request, level)
    if found is None:
        return unknown(request)
    each = found.get(_named(request))
    if each is None:
        raise NotFound(f"the {level} has no metadata {request.match_info['name'][:80]!r}")
    tag = f'"{each.tag}"'
    return unchanged(request, tag) or web.Response(text=each.value, headers={"ETag": tag})


async def put_metadata(request: web.Request, level: Level) -> web.StreamResponse:
    """Add metadata, or set it anew; with If-Match, only where it is still of that revision, with `If-None-Match: *`,
    only where there is none."""
    name, public_id = _named(request), request.match_info["id"]
    if not is_users(name, CODES):
        return _read_only(request, name)
    try:
        value = (await small_body(request)).decode()
    except UnicodeDecodeError:
        raise BadRequest("metadata is text in UTF-8") from None
    if len(value.encode()) > index.MAX_METADATA_BYTES or "\0" in value:
        raise BadRequest(f"metadata is at most {index.MAX_METADATA_BYTES} bytes of text without NUL")
    condition = precondition(request)
    made = await request.app[CONTEXT].database.write(
        lambda: index.set_metadata(level, public_id, name, value, condition, time.time())
    )
    return web.Response(text="", headers={"ETag": f'"{made.tag}"'})


async def delete_metadata(request: web.Request, level: Level) -> web.StreamResponse:
    """Take away metadata that was added; with If-Match, only where it is still of that revision."""
    name, public_id = _named(request), request.match_info["id"]
    if not is_users(name, CODES):
        return _read_only(request, name)
    condition = precondition(request)
    try:
        await request.app[CONTEXT].database.write(
            lambda: index.remove_metadata(level, public_id, name, condition, time.time())
        )
    except NotFound:
        return unknown(request)
    return web.Response(text="")


async def _all(request: web.Request, level: Level) -> dict[str, Metadata] | None:
    database = request.app[CONTEXT].database
    found = await resource(database, level, request.match_info["id"])
    return None if found is None else (await _metadata(database, [found]))[0]


def _place(name: str) -> tuple[int, str]:
    return place_of(name, CODES.get(name, int(name) if name.isdecimal() else None))


def _named(request: web.Request) -> str:
    """The name in the path; a number that Orthanc has a name for counts as that."""
    name = request.match_info["name"]
    return _NAMES.get(name, name)


def _read_only(request: web.Request, name: str) -> web.Response:
    return error_answer(request, 403, not_users("metadata", name))


_EXPAND: Final = Parameter("expand", "Values, not names alone", FLAG)
_NUMERIC: Final = Parameter("numeric", "Numbers for names", FLAG)
_TEXT: Final = ("text/plain",)

ROUTES = (
    *(
        route
        for level, kind in COLLECTIONS.items()
        for route in (
            Route(
                "GET",
                f"/{kind}/{{id}}/metadata",
                functools.partial(all_metadata, level=level),
                "view",
                (_EXPAND, _NUMERIC),
                errors=(404,),
            ),
            Route(
                "GET",
                f"/{kind}/{{id}}/metadata/{{name}}",
                functools.partial(one_metadata, level=level),
                "view",
                answers=_TEXT,
                errors=(404,),
            ),
            Route(
                "PUT",
                f"/{kind}/{{id}}/metadata/{{name}}",
                functools.partial(put_metadata, level=level),
                "modify",
                body=_TEXT,
                answers=(),
                errors=(400, 404, 409, 412),
                name=f"{level}-metadata",
            ),
            Route(
                "DELETE",
                f"/{kind}/{{id}}/metadata/{{name}}",
                functools.partial(delete_metadata, level=level),
                "modify",
                answers=(),
                errors=(400, 404, 409, 412),
            ),
        )
    ),
)
