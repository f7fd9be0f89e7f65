"""/tools/bulk-content, bulk-delete, bulk-modify and bulk-anonymize: many resources in one request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiohttp import web

from gateway.database.database import Database
from gateway.dicom.levels import LEVELS, Level
from gateway.edit.modification import detected_level
from gateway.errors import BadRequest, NotFound, RetainedByCommitment
from gateway.index import resources as index
from gateway.index.locate import counted_resources
from gateway.index.resources import Resource
from gateway.web.accept import JSON
from gateway.web.auditing import named
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.inputs import read_object
from gateway.web.rest.anonymize import anonymizing_request
from gateway.web.rest.answers import json_list
from gateway.web.rest.archives import MAX_RESOURCES
from gateway.web.rest.asked import bad_file
from gateway.web.rest.changing import CHANGE_SCHEMA, ChangeBody, read_change, read_members, stored_answer
from gateway.web.rest.names import Format, parse_level
from gateway.web.rest.removal import REMOVAL, forbidden
from gateway.web.rest.resource_metadata import own_and_added
from gateway.web.rest.resources import as_json
from gateway.web.route import TRUTH, Route
from gateway.web.schemas import LEVEL, PUBLIC_ID, any_of, list_of, members

_OUT_OF_RANGE: Final = (3, "Parameter out of range")


async def content(request: web.Request) -> web.StreamResponse:
    """All of each of the `Resources`, by their identifiers; those that are not there are left out.

    With a `Level`, what is below or above them there, each once. `Metadata` says whether theirs are in it (they are
    unless it is false), `Full` and `Short` how attributes are shown.
    """
    body = await _body(request)
    if isinstance(body, web.Response):
        return body
    level: Level | None = None
    try:
        wanted = _identifiers(body["Resources"])
        metadata, full, short = (_flag(body, *each) for each in (("Metadata", True), ("Full", False), ("Short", False)))
    except BadRequest as error:
        return bad_file(request, error)
    if "Level" in body:
        level = parse_level(body["Level"]) if isinstance(body["Level"], str) else None
        if level is None:
            return error_answer(request, 400, "Level: Patient, Study, Series or Instance", orthanc=_OUT_OF_RANGE)
    form: Format = "short" if short else "full" if full else "simplified"
    database = request.app[CONTEXT].database
    await named(request, wanted)

    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        async for page in _found(database, wanted, level):
            made = await as_json(request, page, frozenset(), form)
            if metadata:
                for one, each in zip(made, await own_and_added(database, page), strict=True):
                    one["Metadata"] = each
            yield made

    return await json_list(request, pages())


async def delete(request: web.Request) -> web.StreamResponse:
    """Delete the `Resources`: identifiers, or objects of `Level` and `ID`. Those that are not there are passed over.

    What storage commitment retains stays, and the answer says so (409); all others are deleted.
    """
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    body = await _body(request)
    if isinstance(body, web.Response):
        return body
    try:
        wanted = _with_levels(body["Resources"])
    except BadRequest as error:
        return bad_file(request, error)
    levels = await counted_resources(request.app[CONTEXT].database, list(wanted))
    retained: list[RetainedByCommitment] = []
    for public_id, found in levels.items():
        if wanted[public_id] not in (None, found.level):
            continue
        await named(request, (public_id,), found.level)
        try:
            await request.app[REMOVAL].by_public_id(found.level, public_id)
        except NotFound:
            continue  # It was deleted with what it belongs to.
        except RetainedByCommitment as error:
            retained.append(error)
    if retained:
        details = f"{len(retained)} of {len(wanted)} resources were not deleted; the first: {retained[0]}"
        return error_answer(request, 409, details)
    return web.Response(text="")


async def modify(request: web.Request) -> web.StreamResponse:
    """Modify the `Resources`, from their `Level` down: that of the identifiers in `Replace`, where it is not said.

    The body is that of `POST /studies/{id}/modify`. Everything that was made is listed, what is above it too.
    """
    body = await _change(request)
    if isinstance(body, web.Response):
        return body
    level = parse_level(body.level) if body.level is not None else detected_level(body.replace, body.private_creator)
    if level is None:
        return error_answer(request, 400, "Level: Patient, Study, Series or Instance", orthanc=_OUT_OF_RANGE)
    return await stored_answer(request, body, body.change_request("modify", level), body.resources, None)


async def anonymize(request: web.Request) -> web.StreamResponse:
    """Anonymize the `Resources`. The body is that of `POST /studies/{id}/anonymize`; the answer that of bulk-modify."""
    body = await _change(request)
    if isinstance(body, web.Response):
        return body
    return await stored_answer(request, body, anonymizing_request(body), body.resources, None)


async def _change(request: web.Request) -> ChangeBody | web.Response:
    """The options of a request, with identifiers as its resources; or the answer to any other. Raises BadRequest."""
    body = await read_members(request)
    if isinstance(body, web.Response):
        return body
    try:
        _check(body)
        _identifiers(body["Resources"])
    except BadRequest as error:
        return bad_file(request, error)
    return read_change(body)


async def _body(request: web.Request) -> dict[str, Any] | web.Response:
    """The JSON object in the body, which has a list of `Resources`; or the answer to any other."""
    try:
        body = await read_object(request, "The body must contain a JSON object")
    except BadRequest as error:
        return error_answer(request, 400, str(error))
    try:
        _check(body)
    except BadRequest as error:
        return bad_file(request, error)
    return body


def _check(body: dict[str, Any]) -> None:
    """Raise BadRequest for a body without a list of `Resources`."""
    if not isinstance(body.get("Resources"), list):
        raise BadRequest("List of strings expected in field: Resources")
    if len(body["Resources"]) > MAX_RESOURCES:
        raise BadRequest(f"more than {MAX_RESOURCES} resources in one request")


def _identifiers(found: Sequence[Any]) -> list[str]:
    if not all(isinstance(each, str) for each in found):
        raise BadRequest("List of strings expected in field: Resources")
    return list(found)


def _with_levels(found: Sequence[Any]) -> dict[str, Level | None]:
    """Identifiers, with the levels that are named. Raises BadRequest."""
    wanted: dict[str, Level | None] = {}
    for each in found:
        if isinstance(each, str):
            wanted[each] = None
        elif isinstance(each, dict) and isinstance(each.get("ID"), str) and isinstance(each.get("Level"), str):
            level = wanted[each["ID"]] = parse_level(each["Level"])
            if level is None:
                raise BadRequest(f"Level: {each['Level'][:40]!r} is none of Patient, Study, Series and Instance")
        else:
            raise BadRequest("List of strings, or of objects with Level and ID, expected in field: Resources")
    return wanted


def _flag(body: dict[str, Any], name: str, default: bool) -> bool:
    found = body.get(name, default)
    if not isinstance(found, bool):
        raise BadRequest(f"Boolean value expected in field: {name}")
    return found


async def _found(database: Database, wanted: Sequence[str], level: Level | None) -> AsyncIterator[list[Resource]]:
    """The resources, or what is below or above them at a level, each once; page by page."""
    own_levels = await counted_resources(database, wanted)
    seen: set[int] = set()
    for public_id in wanted if level is None else own_levels:
        if public_id not in own_levels:
            continue
        own = own_levels[public_id].level
        if level is not None and LEVELS.index(own) < LEVELS.index(level):
            async for page in index.resources_below(database, own, public_id, level):
                fresh = [each for each in page if each.row not in seen]
                seen.update([each.row for each in fresh])
                if fresh:
                    yield fresh
            continue
        if level is None or own == level:
            found = await index.resource(database, own, public_id)
        else:
            found = await index.resource_above(database, own, public_id, level)
        if found is not None and (level is None or found.row not in seen):
            seen.add(found.row)
            yield [found]


_IDENTIFIERS: Final = list_of(PUBLIC_ID, MAX_RESOURCES)
_CONTENT: Final = members("Resources", Resources=_IDENTIFIERS, Level=LEVEL, Metadata=TRUTH, Full=TRUTH, Short=TRUTH)
_CHANGE: Final = {**CHANGE_SCHEMA, "required": ("Resources",)}
_DELETE: Final = members(
    "Resources", Resources=list_of(any_of(PUBLIC_ID, members("ID", "Level", ID=PUBLIC_ID, Level=LEVEL)), MAX_RESOURCES)
)
ROUTES = (
    Route("POST", "/tools/bulk-content", content, "view", takes=_CONTENT, body=(JSON,)),
    Route("POST", "/tools/bulk-modify", modify, "modify", takes=_CHANGE, body=(JSON,), errors=(403, 404, 409, 507)),
    Route(
        "POST",
        "/tools/bulk-anonymize",
        anonymize,
        "anonymize",
        takes=_CHANGE,
        body=(JSON,),
        errors=(403, 404, 409, 507),
    ),
    Route(
        "POST",
        "/tools/bulk-delete",
        delete,
        "delete",
        takes=_DELETE,
        body=(JSON,),
        answers=("text/plain",),
        errors=(403, 409),
        name="bulk-delete",
    ),
)
