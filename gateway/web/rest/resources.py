"""GET /patients, /studies, /series, /instances: lists, one, what is below it and what it belongs to."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiohttp import web

from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.errors import BadRequest
from gateway.index import resources as index
from gateway.index.annotations import check_exists
from gateway.index.resources import Resource
from gateway.retrieve.find import Found, ResourceFinder
from gateway.web.context import CONTEXT
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import flag, json_answer, json_list, text_answer, text_list, unknown
from gateway.web.rest.names import Format, formatted
from gateway.web.rest.resource_json import resource_json
from gateway.web.rest.resource_texts import resource_text, resource_texts
from gateway.web.rest.tags import tag_named
from gateway.web.route import COUNT, FLAG, TEXT, Parameter, Route

FINDER: web.AppKey[ResourceFinder] = web.AppKey("finder", ResourceFinder)
MAX_REQUESTED: Final = 100
"""Further attributes in one request."""


async def all_of(request: web.Request, level: Level) -> web.StreamResponse:
    """All resources of a level: their identifiers; with `expand`, all of each.

    `since` leaves out so many, `limit` ends the list; each needs the other. Without them the list has everything.
    """
    since, limit = _part(request)
    database = request.app[CONTEXT].database
    if flag(request, "expand"):
        if _is_plain(request):
            rows = index.rows(database, level, since=since, limit=limit)
            return await text_list(request, resource_texts(request, level, rows))
        return await _listed(request, index.resources(database, level, since=since, limit=limit))
    return await json_list(request, identifiers(index.rows(database, level, since=since, limit=limit)))


async def one(request: web.Request, level: Level) -> web.StreamResponse:
    """One resource."""
    if _is_plain(request):
        text = await resource_text(request, level, request.match_info["id"])
        return unknown(request) if text is None else text_answer(text)
    found = await index.resource(request.app[CONTEXT].database, level, request.match_info["id"])
    if found is None:
        return unknown(request)
    return json_answer((await _as_asked(request, [found]))[0])


async def below(request: web.Request, level: Level, wanted: Level) -> web.StreamResponse:
    """The resources below another one: all of each, or with `expand=false` their identifiers."""
    database, public_id = request.app[CONTEXT].database, request.match_info["id"]
    await check_exists(database, level, public_id)
    pages = index.resources_below(database, level, public_id, wanted)
    if flag(request, "expand", True):
        return await _listed(request, pages)
    return await json_list(request, _identifiers(pages))


async def above(request: web.Request, level: Level, wanted: Level) -> web.StreamResponse:
    """The resource above another one."""
    found = await index.resource_above(request.app[CONTEXT].database, level, request.match_info["id"], wanted)
    return unknown(request) if found is None else json_answer((await _as_asked(request, [found]))[0])


async def statistics(request: web.Request, level: Level) -> web.StreamResponse:
    """How much is below a resource. Files are not compressed, so both sizes are the same."""
    found = await index.totals(request.app[CONTEXT].database, level, request.match_info["id"])
    if found is None:
        return unknown(request)
    counts = {"CountInstances": found.instances, "CountSeries": found.series, "CountStudies": found.studies}
    names = ("DicomDiskSize", "DicomUncompressedSize", "DiskSize", "UncompressedSize")
    return json_answer(
        {
            **dict(list(counts.items())[: len(LEVELS) - 1 - LEVELS.index(level)]),
            **{name: str(found.size) for name in names},
            **{f"{name}MB": found.size >> 20 for name in names},
        }
    )


async def as_json(
    request: web.Request, found: Sequence[Resource], tags: frozenset[int], form: Format
) -> list[dict[str, Any]]:
    """Resources of one level, with the attributes `tags` besides."""
    if not tags or not found:
        return [resource_json(each, form) for each in found]
    more = await request.app[FINDER].requested(found[0].level, [each.row for each in found], tags)
    return [resource_json(each, form, requested_json(more.get(each.row, {}), tags, form)) for each in found]


def requested_json(members: dict[str, Any], tags: frozenset[int], form: Format = "simplified") -> dict[str, Any]:
    """Attributes that were asked for, from the DICOM JSON Model; '' for those that are nowhere."""
    return formatted([(tag, _value(members.get(f"{tag:08X}"), form)) for tag in sorted(tags)], form)


def _value(member: dict[str, Any] | None, form: Format) -> Any:
    if member is None:
        return ""
    if member["vr"] != "SQ":
        return index.text_of(member)
    items = member.get("Value", [])
    return [formatted([(int(tag, 16), _value(each, form)) for tag, each in item.items()], form) for item in items]


async def _as_asked(request: web.Request, found: Sequence[Resource]) -> list[dict[str, Any]]:
    return await as_json(request, found, _requested(request), _format(request))


async def _listed(request: web.Request, pages: AsyncIterator[list[Resource]]) -> web.StreamResponse:
    async def written() -> AsyncIterator[list[dict[str, Any]]]:
        async for page in pages:
            yield await _as_asked(request, page)

    return await json_list(request, written())


async def _identifiers(pages: AsyncIterator[list[Resource]]) -> AsyncIterator[list[str]]:
    async for page in pages:
        yield [each.public_id for each in page]


async def identifiers(pages: AsyncIterator[list[Found]]) -> AsyncIterator[list[str]]:
    """The public ids of rows, page by page."""
    async for page in pages:
        yield [public_id for _row, public_id in page]


def _part(request: web.Request) -> tuple[int, int | None]:
    """`since` and `limit` of the query. BadRequest where one is alone, or no number."""
    if "since" not in request.query and "limit" not in request.query:
        return 0, None
    found = []
    for name in ("since", "limit"):
        text = request.query.get(name)
        if text is None:
            raise BadRequest(f'Missing "{name}" argument for GET request against: {request.path}')
        value = whole_number(text)
        if value is None:
            raise BadRequest(f"{name}: {text[:40]!r} is no number")
        found.append(value)
    return found[0], found[1]


def _requested(request: web.Request) -> frozenset[int]:
    """The tags that `requested-tags` (`requestedTags` before 1.12.4) names, separated by semicolons or commas."""
    text = request.query.get("requested-tags", request.query.get("requestedTags", ""))
    return parse_tags([name for name in text.replace(",", ";").split(";") if name])


def parse_tags(names: Sequence[str]) -> frozenset[int]:
    """The tags of names. BadRequest for what is none, and for too many."""
    if len(names) > MAX_REQUESTED:
        raise BadRequest(f"{len(names)} further attributes; at most {MAX_REQUESTED} are taken")
    return frozenset(map(tag_named, names))


def _is_plain(request: web.Request) -> bool:
    """Whether resources are asked for in the form that is kept."""
    return _format(request) == "simplified" and not _requested(request)


def _format(request: web.Request) -> Format:
    full, short = flag(request, "full"), flag(request, "short")
    return "full" if full else "short" if short else "simplified"


_TAGS: Final = (
    Parameter("requested-tags", "Further attributes, separated by semicolons", TEXT, "ModalitiesInStudy"),
    Parameter("requestedTags", "The same, as Orthanc called it before 1.12.4", TEXT, "ModalitiesInStudy"),
    Parameter("full", "Attributes by tag, with name and type", FLAG),
    Parameter("short", "Attributes by tag", FLAG),
)
_EXPAND: Final = Parameter("expand", "All of each", FLAG)

ROUTES = (
    *(
        Route(
            "GET",
            f"/{kind}",
            functools.partial(all_of, level=level),
            "view",
            (
                _EXPAND,
                Parameter("since", "How many to leave out", COUNT, "0"),
                Parameter("limit", "Most of them", COUNT, "10"),
                *_TAGS,
            ),
            subject=f"List {kind}.",
        )
        for level, kind in COLLECTIONS.items()
    ),
    *(
        Route("GET", f"/{kind}/{{id}}", functools.partial(one, level=level), "view", _TAGS, errors=(404,))
        for level, kind in COLLECTIONS.items()
    ),
    *(
        Route(
            "GET",
            f"/{kind}/{{id}}/{COLLECTIONS[wanted]}",
            functools.partial(below, level=level, wanted=wanted),
            "view",
            (_EXPAND, *_TAGS),
            errors=(404,),
        )
        for at, (level, kind) in enumerate(COLLECTIONS.items())
        for wanted in LEVELS[at + 1 :]
    ),
    *(
        Route(
            "GET",
            f"/{kind}/{{id}}/{wanted}",
            functools.partial(above, level=level, wanted=wanted),
            "view",
            _TAGS,
            errors=(404,),
        )
        for at, (level, kind) in enumerate(COLLECTIONS.items())
        for wanted in LEVELS[:at]
    ),
    *(
        Route("GET", f"/{kind}/{{id}}/statistics", functools.partial(statistics, level=level), "view", errors=(404,))
        for level, kind in COLLECTIONS.items()
    ),
)
