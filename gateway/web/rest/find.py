"""POST /tools/find, /tools/count-resources and /tools/lookup, as Orthanc 1.12 has them.

What is found is `retrieve/find.py`'s; here a body becomes a request for it, with Orthanc's words for what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from aiohttp import web

from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.index import narrowing
from gateway.index import resources as index
from gateway.index.attachments import attached_to
from gateway.index.ordering import Ordering
from gateway.index.search import Narrowing
from gateway.retrieve.find import Found, Request
from gateway.web.accept import JSON
from gateway.web.auditing import searched
from gateway.web.context import CONTEXT
from gateway.web.inputs import parsed_object
from gateway.web.receiving import small_body
from gateway.web.rest.answer_cache import ANSWERS, CachedMatches
from gateway.web.rest.answers import json_answer, json_list, place, text_list
from gateway.web.rest.attachments import attachments_json
from gateway.web.rest.names import Format, parse_level
from gateway.web.rest.resource_json import CONTENTS, part_of
from gateway.web.rest.resource_metadata import own_and_added
from gateway.web.rest.resource_texts import resource_texts
from gateway.web.rest.resources import FINDER, as_json, identifiers, parse_tags
from gateway.web.rest.tags import tag_named
from gateway.web.route import COUNT, TEXT, TRUTH, Route, one_of
from gateway.web.schemas import KEYS, LEVEL, list_of, members

T = TypeVar("T")
_NOT_OBJECT: Final = "The body must contain a JSON object"
MAX_LABELS: Final = 100
"""Labels and metadata in one request."""
_CONSTRAINTS: Final = ("All", "Any", "None")


async def find(request: web.Request) -> web.StreamResponse:
    """Find resources of a `Level` that match a `Query`: their identifiers, or with `Expand` all of each.

    `Query` has values by keyword or tag, with wild cards, lists (backslash) and ranges. `Labels` with
    `LabelsConstraint`, `MetadataQuery`, `ParentPatient`, `ParentStudy` and `ParentSeries` narrow it; `OrderBy`, `Since`
    and `Limit` say which part comes; `RequestedTags` and `ResponseContent` what is shown.
    """
    asked = await small_body(request)
    body = _object(asked)
    wanted, contents = _request(body), _contents(body)
    searched(request, body["Query"])
    tags = parse_tags(_list(body, "RequestedTags", str)) if "RequestedTags" in body else frozenset()
    form: Format = "full" if _flag(body, "Full") else "short" if _flag(body, "Short") else "simplified"
    pages = _matches(request, asked, wanted)
    if contents is None and not _flag(body, "Expand"):
        return await json_list(request, identifiers(pages))
    if contents is None and not tags and form == "simplified":
        return await text_list(request, resource_texts(request, wanted.level, pages))

    async def expanded() -> AsyncIterator[list[dict[str, Any]]]:
        database, level = request.app[CONTEXT].database, wanted.level
        async for page in pages:
            size = index.page_size(level)
            for at in range(0, len(page), size):
                rows = [row for row, _public_id in page[at : at + size]]
                found = await index.resources_by_row(database, level, rows)
                made = await as_json(request, found, tags, form)
                if contents is not None and "Metadata" in contents:
                    for one, each in zip(made, await own_and_added(database, found), strict=True):
                        one["Metadata"] = each
                if contents is not None and "Attachments" in contents:
                    for one, resource, attached in zip(made, found, await attached_to(database, found), strict=True):
                        one["Attachments"] = attachments_json(resource, attached)
                yield made if contents is None else [part_of(one, contents) for one in made]

    return await json_list(request, expanded())


async def count_resources(request: web.Request) -> web.StreamResponse:
    """Count the resources that /tools/find would find."""
    body = _object(await small_body(request))
    wanted = _request(body)
    searched(request, body["Query"])
    return json_answer({"Count": await request.app[FINDER].count(wanted)})


async def lookup(request: web.Request) -> web.StreamResponse:
    """Look up the Patient ID, Study, Series or SOP Instance UID that the body is."""
    identifier = (await small_body(request)).decode("utf-8", "replace").strip()
    searched(request, {"lookup": identifier})
    found = await index.look_up(request.app[CONTEXT].database, identifier) if identifier else []
    return json_answer(
        [{"ID": each, "Path": place(level.capitalize(), each), "Type": level.capitalize()} for level, each in found]
    )


async def _matches(request: web.Request, asked: bytes, wanted: Request) -> AsyncIterator[list[Found]]:
    """The matches of a search, page by page. `asked` is the body with the search.

    Clients repeat a search to see what has changed: until something is committed, the matches of one page are cached.
    """
    answers, most_read = request.app[ANSWERS], request.app[CONTEXT].settings().query.max_instances_read
    key = "find", most_read, hashlib.sha256(asked).digest()
    version = answers.version()
    known = answers.peek(key)
    if isinstance(known, CachedMatches) and known.version == version:
        yield known.found
        return
    pages: list[list[Found]] = []
    async for page in request.app[FINDER].pages(wanted):
        pages = [*pages[:1], page]
        yield page
    if len(pages) == 1:
        answers.put(key, CachedMatches(pages[0], version))


def _object(asked: bytes) -> dict[str, Any]:
    try:
        return parsed_object(asked, _NOT_OBJECT)
    except BadRequest:
        raise BadRequest(_NOT_OBJECT) from None


def _request(body: Mapping[str, Any]) -> Request:
    """What a body asks for. BadRequest says which field is wrong."""
    if not isinstance(body.get("Level"), str):
        raise BadRequest('Field "Level" is missing, or should be a string')
    level = parse_level(body["Level"])
    if level is None:
        raise BadRequest(f'Field "Level": {body["Level"][:40]!r} is none of Patient, Study, Series and Instance')
    query = body.get("Query")
    if not isinstance(query, dict):
        raise BadRequest('Field "Query" is missing, or should be a JSON object')
    any_case = not _flag(body, "CaseSensitive")
    return Request(
        level,
        _keys(query),
        (*_parents(body, level), *_labels(body, level), *_metadata(body, level, any_case)),
        any_case=any_case,
        orderings=_orderings(body),
        since=_number(body, "Since"),
        limit=_number(body, "Limit") or None,  # "0" is no limit, since 1.12.5
    )


def _keys(query: Mapping[str, Any]) -> DataSet:
    keys: DataSet = {}
    for name, value in query.items():
        if not isinstance(value, str):
            raise BadRequest(f'Tag "{name}" should be associated with a string')
        tag = tag_named(name)
        vr = implicit_vr(tag)
        if vr == "SQ":
            raise BadRequest(f'Tag "{name}" is a sequence, which cannot be searched for by a string')
        keys[tag] = Attribute(vr, [whole_dates(value) if vr == "DA" else value])
    return keys


def whole_dates(value: str) -> str:
    """A range of dates whose ends may be years or months alone, `2004-` or `200401-200403`, with whole ones."""
    first, dash, last = value.strip().partition("-")
    if not dash or not {len(first), len(last)} <= {0, 4, 6, 8}:
        return value
    return f"{first}{'0101'[len(first) - 4 :] if first else ''}-{last}{'1231'[len(last) - 4 :] if last else ''}"


def _parents(body: Mapping[str, Any], level: Level) -> list[Narrowing]:
    found = []
    for above in LEVELS[:-1]:
        name = f"Parent{above.capitalize()}"
        if name in body:
            if not isinstance(body[name], str):
                raise BadRequest(f'Field "{name}" should be a string')
            if LEVELS.index(above) >= LEVELS.index(level):
                raise BadRequest(f'Field "{name}" makes no sense at the level {level}')
            found.append(narrowing.below(above, body[name]))
    return found


def _labels(body: Mapping[str, Any], level: Level) -> list[Narrowing]:
    if "Labels" not in body:
        return []
    constraint = body.get("LabelsConstraint", "All")
    if constraint not in _CONSTRAINTS:
        raise BadRequest(f'Field "LabelsConstraint" should be one of {", ".join(_CONSTRAINTS)}')
    return [narrowing.labelled(level, _list(body, "Labels", str), constraint)]


def _metadata(body: Mapping[str, Any], level: Level, any_case: bool) -> list[Narrowing]:
    query = body.get("MetadataQuery", {})
    if not isinstance(query, dict) or not all(isinstance(value, str) for value in query.values()):
        raise BadRequest('Field "MetadataQuery" should be a JSON object of strings')
    if len(query) > MAX_LABELS:
        raise BadRequest(f'Field "MetadataQuery" has more than {MAX_LABELS} members')
    return [narrowing.with_metadata(level, name, value, any_case=any_case) for name, value in query.items()]


def _orderings(body: Mapping[str, Any]) -> list[Ordering]:
    found = []
    for each in _list(body, "OrderBy", dict):
        kind, key, direction = (each.get(name) for name in ("Type", "Key", "Direction"))
        if kind not in ("DicomTag", "Metadata") or not isinstance(key, str) or direction not in ("ASC", "DESC"):
            raise BadRequest(
                'Field "OrderBy": each member has a Type (DicomTag or Metadata), a Key and a Direction (ASC or DESC)'
            )
        towards: Literal["ASC", "DESC"] = "ASC" if direction == "ASC" else "DESC"
        found.append(Ordering(towards, tag=tag_named(key)) if kind == "DicomTag" else Ordering(towards, name=key))
    return found


def _contents(body: Mapping[str, Any]) -> frozenset[str] | None:
    if "ResponseContent" not in body:
        return None
    names = frozenset(_list(body, "ResponseContent", str))
    if unknown := names - CONTENTS:
        raise BadRequest(f'Field "ResponseContent": {sorted(unknown)[0][:40]!r} is not known here')
    return names


def _list(body: Mapping[str, Any], name: str, kind: type[T]) -> Sequence[T]:
    found = body.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
        what = "strings" if kind is str else "objects"
        raise BadRequest(f'Field "{name}" should be an array of {what}')
    if len(found) > MAX_LABELS:
        raise BadRequest(f'Field "{name}" has more than {MAX_LABELS} members')
    return found


def _flag(body: Mapping[str, Any], name: str) -> bool:
    found = body.get(name, False)
    if not isinstance(found, bool):
        raise BadRequest(f'Field "{name}" should be a Boolean')
    return found


def _number(body: Mapping[str, Any], name: str) -> int:
    found = body.get(name, 0)
    if not isinstance(found, int) or isinstance(found, bool):
        raise BadRequest(f'Field "{name}" should be an integer')
    if found < 0:
        raise BadRequest(f'Field "{name}" should be a positive integer')
    return min(found, 2**62)


_TEXTS: Final = list_of(TEXT, MAX_LABELS)
_ORDERING: Final = members(
    "Type", "Key", "Direction", Type=one_of("DicomTag", "Metadata"), Key=TEXT, Direction=one_of("ASC", "DESC")
)
_ASKED: Final = {
    "Level": LEVEL,
    "Query": KEYS,
    "CaseSensitive": TRUTH,
    "Labels": _TEXTS,
    "LabelsConstraint": one_of(*_CONSTRAINTS),
    "MetadataQuery": {**KEYS, "maxProperties": MAX_LABELS},
    "ParentPatient": TEXT,
    "ParentStudy": TEXT,
    "ParentSeries": TEXT,
    "OrderBy": list_of(_ORDERING, MAX_LABELS),
    "Since": COUNT,
    "Limit": COUNT,
}
"""What is asked for."""
_SHOWN: Final = {
    "Expand": TRUTH,
    "Full": TRUTH,
    "Short": TRUTH,
    "RequestedTags": _TEXTS,
    "ResponseContent": list_of(one_of(*sorted(CONTENTS)), MAX_LABELS),
}
"""What is shown of it."""
ROUTES = (
    Route(
        "POST",
        "/tools/find",
        find,
        "view",
        takes=members("Level", "Query", **_ASKED, **_SHOWN),
        body=(JSON,),
        errors=(413,),
        action="search",
    ),
    Route(
        "POST",
        "/tools/count-resources",
        count_resources,
        "view",
        takes=members("Level", "Query", **_ASKED),
        body=(JSON,),
        errors=(413,),
        action="search",
    ),
    Route("POST", "/tools/lookup", lookup, "view", body=("text/plain",), action="search"),
)
