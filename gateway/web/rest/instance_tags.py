"""Attributes of stored instances in the JSON of Orthanc: `tags`, `header`, `module`, what several instances share."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.dicom.levels import COLLECTIONS, Level
from gateway.dicom.modules import MODULES
from gateway.dicom.private_names import private_attribute
from gateway.index.locate import Identity, Located, identified
from gateway.retrieve.tag_tree import Tag, TagTree, read_header_tags, read_tags, shared
from gateway.storage.store import StoredObject
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.rest.answer_cache import ANSWERS, CachedAnswer
from gateway.web.rest.answers import flag, json_answer, json_text, text_answer, unknown
from gateway.web.rest.names import UNKNOWN_NAME, Format, name_of, tag_text
from gateway.web.rest.resources import parse_tags
from gateway.web.route import FLAG, TEXT, Parameter, Route
from gateway.web.streaming import stream

_AT_ONCE: Final = 50
"""Instances whose files are read in one visit to a thread."""


async def tags(request: web.Request, form: Format | None = None) -> web.StreamResponse:
    """All attributes of an instance, up to its pixel data.

    `simplify` has them by name, `short` by tag alone; `whole` goes on behind the pixel data; `ignore-length` names
    attributes that are shown however long they are.
    """
    long, whole, form = parse_tags(_ignored(request)), flag(request, "whole"), form or wanted_format(request)
    answers, public_id = request.app[ANSWERS], request.match_info["id"]
    key, version = ("tags", public_id, form, whole), answers.version()
    (text,) = answers.answers([key], version)
    if text is not None and not long:
        return text_answer(text)
    instance = await _first_instance(request, "instance")
    if instance is None:
        return unknown(request)
    if long:  # Asked for by few, in as many ways as there are attributes: not kept.
        return json_answer(tags_json(await _read(request, instance, long=long, behind_pixels=whole), form))
    text = answers.renewed(key, instance.key, version)
    if text is None:
        text = json_text(tags_json(await _read(request, instance, behind_pixels=whole), form))
        answers.put(key, CachedAnswer(text, version, source=instance.key))
    return text_answer(text)


async def header(request: web.Request) -> web.StreamResponse:
    """The File Meta Information of an instance, as it is stored here."""

    def work(stored: StoredObject, _located: Located) -> TagTree:
        return read_header_tags(stored.read)

    async for page in identified(request.app[CONTEXT].database, "instance", request.match_info["id"]):
        (found,) = await request.app[RETRIEVAL].map([page[0][1]], work)
        return json_answer(tags_json(found, wanted_format(request)))
    return unknown(request)


async def module(request: web.Request, level: Level, shown: Level) -> web.StreamResponse:
    """The attributes of a module, as the first instance has them."""
    found = await first_tags(request, level, long=parse_tags(_ignored(request)))
    if found is None:
        return unknown(request)
    wanted = MODULES[shown]
    return json_answer(tags_json({tag: each for tag, each in found.items() if tag in wanted}, wanted_format(request)))


async def shared_tags(request: web.Request, level: Level) -> web.StreamResponse:
    """The attributes that are the same in all instances of a resource."""
    common: TagTree | None = None
    async for page in identified(request.app[CONTEXT].database, level, request.match_info["id"], _AT_ONCE):
        trees = await request.app[RETRIEVAL].map([one for _id, one in page], read_tags)
        common = shared(trees, common)
    return unknown(request) if common is None else json_answer(tags_json(common, wanted_format(request)))


async def instances_tags(request: web.Request, level: Level) -> web.StreamResponse:
    """All attributes of all instances of a resource, by the instances' identifiers; sent as they are read."""
    pages = identified(request.app[CONTEXT].database, level, request.match_info["id"], _AT_ONCE)
    first = await anext(pages, None)
    if first is None:
        return unknown(request)
    form, retrieval = wanted_format(request), request.app[RETRIEVAL]

    async def chunks() -> AsyncGenerator[bytes, None]:
        page: list[tuple[Identity, Located]] | None = first
        before = b"{"
        while page:
            trees = await retrieval.map([one for _id, one in page], read_tags)
            found = {one.instance: tags_json(tree, form) for (one, _), tree in zip(page, trees, strict=True)}
            yield before + msgspec.json.format(msgspec.json.encode(found), indent=3)[1:-2]
            before = b","
            page = await anext(pages, None)
        yield b"\n}\n"

    return await stream(
        request, web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"}), chunks()
    )


async def first_tags(
    request: web.Request, level: Level, *, long: frozenset[int] = frozenset(), behind_pixels: bool = False
) -> TagTree | None:
    """The attributes of the first instance of a resource; None where there is none."""
    instance = await _first_instance(request, level)
    return None if instance is None else await _read(request, instance, long=long, behind_pixels=behind_pixels)


async def _first_instance(request: web.Request, level: Level) -> Located | None:
    async for page in identified(request.app[CONTEXT].database, level, request.match_info["id"], 1):
        return page[0][1]
    return None


async def _read(
    request: web.Request, instance: Located, *, long: frozenset[int] = frozenset(), behind_pixels: bool = False
) -> TagTree:
    work = functools.partial(read_tags, long=long, behind_pixels=behind_pixels)
    (found,) = await request.app[RETRIEVAL].map([instance], work)
    return found


def wanted_format(request: web.Request) -> Format:
    """The format that the query names."""
    simplified, short = flag(request, "simplify"), flag(request, "short")
    return "simplified" if simplified else "short" if short else "full"


def tags_json(tree: TagTree, form: Format) -> dict[str, Any]:
    """Attributes in one of the formats."""
    if form == "simplified":
        return {_name(tag, each): _value(each, form) for tag, each in tree.items()}
    if form == "short":
        return {tag_text(tag): _value(each, form) for tag, each in tree.items()}
    return {
        tag_text(tag): _described(tag, each) if each.shape == "Sequence" else _plain(tag, each)
        for tag, each in tree.items()
    }


def _described(tag: int, each: Tag) -> dict[str, Any]:
    """One attribute in the full format."""
    found: dict[str, Any] = {"Name": _name(tag, each), "Type": each.shape, "Value": _value(each, "full")}
    if each.creator:
        found["PrivateCreator"] = each.creator
    return found


@functools.lru_cache(4096)
def _plain(tag: int, each: Tag) -> dict[str, Any]:
    # Instances of a series have most attributes in common: these are shared, and encoded only. Some 3 MB.
    return _described(tag, each)


def _name(tag: int, each: Tag) -> str:
    return (private_attribute(tag, each.creator).name or UNKNOWN_NAME) if each.creator else name_of(tag)


def _value(each: Tag, form: Format) -> Any:
    return [tags_json(item, form) for item in each.value] if isinstance(each.value, list) else each.value


def _ignored(request: web.Request) -> list[str]:
    return [name for name in request.query.get("ignore-length", "").split(",") if name]


_FORMATS: Final = (
    Parameter("simplify", "Attributes by name, as their values", FLAG),
    Parameter("short", "Attributes by tag, as their values", FLAG),
)
_LONG: Final = Parameter("ignore-length", "Attributes that are shown however long they are", TEXT, "PatientName")

ROUTES = (
    Route(
        "GET",
        "/instances/{id}/tags",
        tags,
        "view",
        (*_FORMATS, Parameter("whole", "Those behind the pixel data too", FLAG), _LONG),
        errors=(404,),
    ),
    Route(
        "GET",
        "/instances/{id}/simplified-tags",
        functools.partial(tags, form="simplified"),
        "view",
        (Parameter("whole", "Those behind the pixel data too", FLAG), _LONG),
        errors=(404,),
    ),
    Route("GET", "/instances/{id}/header", header, "view", _FORMATS, errors=(404,)),
    *(
        Route(
            "GET",
            f"/{kind}/{{id}}/module",
            functools.partial(module, level=level, shown=level),
            "view",
            (*_FORMATS, _LONG),
            errors=(404,),
        )
        for level, kind in COLLECTIONS.items()
    ),
    Route(
        "GET",
        "/studies/{id}/module-patient",
        functools.partial(module, level="study", shown="patient"),
        "view",
        (*_FORMATS, _LONG),
        errors=(404,),
    ),
    *(
        Route("GET", f"/{kind}/{{id}}/{name}", functools.partial(handler, level=level), "view", _FORMATS, errors=(404,))
        for level, kind in COLLECTIONS.items()
        if level != "instance"
        for name, handler in (("shared-tags", shared_tags), ("instances-tags", instances_tags))
    ),
)
