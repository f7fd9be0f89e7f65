"""Attachments of patients, studies, series and instances, as Orthanc has them.

An instance has `dicom`, its file, which can be read only. What users attach has a name of their choice, or a number
from 1024 on; its revision and MD5 are the ETag, and If-Match changes only what has not been changed meanwhile. Nothing
is ever compressed, so that what is told of the compressed file is the same as of the file. Attached bytes are
anybody's: they leave as octets to be saved, never as something that a browser would show.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from aiohttp import web

from gateway.dicom.levels import COLLECTIONS, Level
from gateway.errors import UnknownResource
from gateway.index.annotations import check_exists
from gateway.index.attachments import Attachment, attachment, attachments_of
from gateway.index.locate import Located
from gateway.index.resources import Resource
from gateway.ingest.attached_file import md5_of
from gateway.retrieve.content import read_attached, read_span
from gateway.storage.store import StoredObject
from gateway.web.accept import JSON
from gateway.web.conditional import precondition, sent_span, unchanged, validators
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.errors import error_answer
from gateway.web.receiving import receiving
from gateway.web.rest.answers import flag, json_answer
from gateway.web.rest.instance_files import DICOM, FILENAME, located, revision_tag, send_file
from gateway.web.rest.user_names import is_users, not_users, place_of
from gateway.web.route import FLAG, Parameter, Route
from gateway.web.security import attachment_named
from gateway.web.streaming import stream

_OCTETS: Final = "application/octet-stream"
OWN: Final = {"dicom": 1, "dicom-as-json": 2, "dicom-until-pixel-data": 3}
"""The numbers that Orthanc has for attachments of its own."""
_NAMES: Final = {str(number): name for name, number in OWN.items()}
_CORRUPTED: Final = (20, "Corrupted file (e.g. inconsistent MD5 hash)")

Found = Located | Attachment
"""The file of an instance, or what users have attached."""
Handler = Callable[[web.Request, Found], Awaitable[web.StreamResponse]]


async def attachments(request: web.Request, level: Level) -> web.StreamResponse:
    """The names of a resource's attachments; with `full`, Orthanc's numbers of those that have one."""
    database, public_id = request.app[CONTEXT].database, request.match_info["id"]
    await check_exists(database, level, public_id)
    names = [each.name for each in await attachments_of(database, level, public_id)]
    if level == "instance":
        names.append("dicom")
    names.sort(key=lambda name: place_of(name, _number(name)))
    return json_answer({name: _number(name) for name in names} if flag(request, "full") else names)


async def one_attachment(request: web.Request, level: Level) -> web.StreamResponse:
    """The calls about an attachment."""
    found = await _find(request, level)
    return _tagged(json_answer(sorted((*_ABOUT, *_DATA, *_ACTIONS))), found)


async def about(request: web.Request, level: Level, make: Handler) -> web.StreamResponse:
    """One thing about an attachment: its size in bytes, its MD5, whether it is compressed, or all of it."""
    found = await _find(request, level)
    return unchanged(request, _entity_tag(found)) or _tagged(await make(request, found), found)


async def data(request: web.Request, level: Level) -> web.StreamResponse:
    """The bytes of an attachment, or a part of them; `filename` is what it is called when it is saved."""
    wanted_name = request.query.get("filename", "")
    found = await _find(request, level)
    if isinstance(found, Located):
        return await send_file(request, found)
    tag = _entity_tag(found)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    headers = {
        "Content-Type": _OCTETS,
        "Content-Disposition": attachment_named(wanted_name, found.name),
    }
    response = web.StreamResponse(headers={**headers, **validators(tag)})
    start, stop = sent_span(request, response, found.size, tag)
    retrieval = request.app[RETRIEVAL]
    store = request.app[CONTEXT].use_cases.store
    source = read_attached(store, found, start, stop, retrieval.memory)
    return await stream(request, response, retrieval.stepwise(source, stop - start))


async def put_attachment(request: web.Request, level: Level) -> web.StreamResponse:
    """Attach the body, in place of what has the name; with If-Match, only where it is still of that revision, with
    `If-None-Match: *`, only where there is none."""
    name = _named(request)
    if not is_users(name, OWN):
        return _read_only(request, name)
    condition, context = precondition(request), request.app[CONTEXT]
    async with receiving(request, context.settings().rest.max_attachment, "rest.max_attachment") as chunks:
        made = await context.use_cases.attaching.attach(level, request.match_info["id"], name, chunks, condition)
    return _tagged(json_answer({}), made)


async def delete_attachment(request: web.Request, level: Level) -> web.StreamResponse:
    """Take away what was attached; with If-Match, only where it is still of that revision."""
    name = _named(request)
    if not is_users(name, OWN):
        return _read_only(request, name)
    attaching = request.app[CONTEXT].use_cases.attaching
    await attaching.detach(level, request.match_info["id"], name, precondition(request))
    return web.Response(text="")


async def verify_md5(request: web.Request, level: Level) -> web.StreamResponse:
    """Read an attachment whole and compare its MD5 with that of the bytes that came: an error where they differ.

    The MD5 of an instance's file was not taken when it came, so that there is nothing to compare with.
    """
    found = await _find(request, level)
    if isinstance(found, Located):
        text = "no MD5 was taken of this file when it came, so there is nothing to compare with; `md5` takes it now"
        return error_answer(request, 409, text)
    digest = await _read_md5(request, found)
    if digest != found.md5:
        text = f"the attachment is damaged on the disk: its MD5 is {digest}, and was {found.md5} when it came"
        return error_answer(request, 500, text, orthanc=_CORRUPTED)
    return json_answer({})


async def uncompress(request: web.Request, level: Level) -> web.StreamResponse:
    """Have an attachment uncompressed, as it is anyway."""
    await _find(request, level)
    return json_answer({})


async def compress(request: web.Request, level: Level) -> web.StreamResponse:
    """Refuse to compress an attachment: none is."""
    await _find(request, level)
    return error_answer(request, 403, "nothing is compressed here: files are stored as they are sent")


def _number(name: str) -> int | None:
    """Orthanc's number of an attachment; None for a name that has none."""
    return OWN.get(name, int(name) if name.isdecimal() else None)


def _named(request: web.Request) -> str:
    """The name in the path; a number that Orthanc has a name for counts as that."""
    name = request.match_info["name"]
    return _NAMES.get(name, name)


async def _find(request: web.Request, level: Level) -> Found:
    """The attachment of the path. Raises UnknownResource."""
    name = _named(request)
    if level != "instance" or name != "dicom":
        return await attachment(request.app[CONTEXT].database, level, request.match_info["id"], name)
    found = await located(request)
    if found is None:
        raise UnknownResource("there is no such instance; /instances has the identifiers")
    return found


def _entity_tag(found: Found) -> str:
    return revision_tag(found) if isinstance(found, Located) else f'"{found.tag}"'


def _tagged(answer: web.StreamResponse, found: Found) -> web.StreamResponse:
    answer.headers["ETag"] = _entity_tag(found)
    return answer


def _read_only(request: web.Request, name: str) -> web.Response:
    return error_answer(request, 403, not_users("attachment", name))


async def _read_md5(request: web.Request, found: Found) -> str:
    """The MD5 of the bytes as they are on the disk."""
    retrieval = request.app[RETRIEVAL]
    store, memory = request.app[CONTEXT].use_cases.store, retrieval.memory
    if isinstance(found, Located):

        def of_file(stored: StoredObject, one: Located) -> str:
            return md5_of(read_span(stored, one, 0, one.size, memory))

        (made,) = await retrieval.map([found], of_file)
        return made

    return await retrieval.run(lambda: md5_of(read_attached(store, found, 0, found.size, memory)))


async def _md5(request: web.Request, found: Found) -> str:
    return found.md5 if isinstance(found, Attachment) else await _read_md5(request, found)


async def _size(_request: web.Request, found: Found) -> web.StreamResponse:
    return web.Response(text=str(found.size))


async def _digest(request: web.Request, found: Found) -> web.StreamResponse:
    return web.Response(text=await _md5(request, found))


async def _is_compressed(_request: web.Request, _found: Found) -> web.StreamResponse:
    return web.Response(text="0")


async def _info(request: web.Request, found: Found) -> web.StreamResponse:
    number = 1 if isinstance(found, Located) else _number(found.name)
    return json_answer(_described(found.key, number, found.size, await _md5(request, found)))


def attachments_json(resource: Resource, attached: Iterable[Attachment]) -> list[dict[str, Any]]:
    """The attachments of a resource as searches list them, an instance's file first.

    The MD5 of that is empty, as in an Orthanc that keeps none: it is computed where it is asked for.
    """
    made = [_described(each.key, _number(each.name), each.size, each.md5) for each in attached]
    return [_described(resource.key, 1, resource.size, ""), *made] if resource.level == "instance" else made


def _described(key: str, number: int | None, size: int, digest: str) -> dict[str, Any]:
    return {
        "CompressedMD5": digest,
        "CompressedSize": size,
        "ContentType": number,
        "UncompressedMD5": digest,
        "UncompressedSize": size,
        "Uuid": key,
    }


_ABOUT: Final[dict[str, Handler]] = {
    "compressed-md5": _digest,
    "compressed-size": _size,
    "info": _info,
    "is-compressed": _is_compressed,
    "md5": _digest,
    "size": _size,
}
_DATA: Final = ("compressed-data", "data")
_ACTIONS: Final = {"compress": compress, "uncompress": uncompress, "verify-md5": verify_md5}
_FULL: Final = Parameter("full", "Orthanc's numbers beside the names", FLAG)


def _routes(level: Level, kind: str) -> tuple[Route, ...]:
    def of_level(handler: Callable[..., Awaitable[web.StreamResponse]], **more: Any) -> Any:
        return functools.partial(handler, level=level, **more)

    media = (_OCTETS, DICOM) if level == "instance" else (_OCTETS,)
    return (
        Route("GET", f"/{kind}/{{id}}/attachments", of_level(attachments), "view", (_FULL,), errors=(404,)),
        Route("GET", f"/{kind}/{{id}}/attachments/{{name}}", of_level(one_attachment), "view", errors=(404,)),
        Route(
            "PUT",
            f"/{kind}/{{id}}/attachments/{{name}}",
            of_level(put_attachment),
            "modify",
            body=(_OCTETS,),
            errors=(400, 404, 409, 412, 413, 507),
            name=f"put-{level}-attachment",
        ),
        Route(
            "DELETE",
            f"/{kind}/{{id}}/attachments/{{name}}",
            of_level(delete_attachment),
            "modify",
            answers=(),
            errors=(400, 404, 409, 412),
        ),
        *(
            Route(
                "GET",
                f"/{kind}/{{id}}/attachments/{{name}}/{each}",
                of_level(about, make=make),
                "view",
                answers=(JSON,) if each == "info" else ("text/plain",),
                errors=(404,),
            )
            for each, make in _ABOUT.items()
        ),
        *(
            Route(
                "GET",
                f"/{kind}/{{id}}/attachments/{{name}}/{each}",
                of_level(data),
                "view",
                (FILENAME,),
                answers=media,
                errors=(404, 416),
                name=f"{level}-attachment" if each == "data" else None,
            )
            for each in _DATA
        ),
        *(
            Route("POST", f"/{kind}/{{id}}/attachments/{{name}}/{each}", of_level(handler), "modify", errors=(404, 409))
            for each, handler in _ACTIONS.items()
        ),
    )


ROUTES = tuple(route for level, kind in COLLECTIONS.items() for route in _routes(level, kind))
