"""POST /tools/create-dicom: instances out of tags, pictures and documents, in the JSON of Orthanc."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.admin.creation import Creation, CreationOrder, NewInstance
from gateway.admin.new_instance import MEDIA_TYPES, Overridden, Payload
from gateway.dicom.charset import is_known
from gateway.dicom.dictionary import KEYWORDS, PIXEL_SIGNED
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.json import NOT_JSON
from gateway.dicom.levels import Level
from gateway.errors import BadRequest, DataSetError, InstanceRefused
from gateway.http.data_uri import parse_data_uri
from gateway.index.locate import counted_resources
from gateway.ingest.ingest import Ingest
from gateway.storage.scratch import Scratch
from gateway.web.accept import JSON
from gateway.web.auditing import uploaded
from gateway.web.context import CONTEXT
from gateway.web.errors import BAD_FILE, TooLarge, error_answer
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer, place
from gateway.web.rest.instances import receipt, refusal
from gateway.web.rest.tags import ToBeWritten, from_tags
from gateway.web.route import TRUTH, Route
from gateway.web.schemas import PUBLIC_ID, TAGS, any_of, list_of, members
from gateway.web.uploads import rest_origin

CREATION: web.AppKey[Creation] = web.AppKey("creation", Creation)
MAX_BODY_BYTES: Final = 256 << 20
"""Bytes of a request, in which pictures and documents take four thirds of what they are."""
MAX_INSTANCES: Final = 10_000
"""Instances of one series."""
MAX_MEMBERS: Final = 500_000
"""Members and elements of a body: each takes some hundred bytes of memory, and `{}` is three of the body."""
_IN_MEMORY_BYTES: Final = 1 << 20
"""Bytes of a body before it goes to a temporary file."""
_CHARSET: Final = KEYWORDS["SpecificCharacterSet"]
_PIXEL_DATA: Final = KEYWORDS["PixelData"]
_BAD_REQUEST: Final = (8, "Bad request")
_OUT_OF_RANGE: Final = (3, "Parameter out of range")
_NOT_STRING: Final = (2019, "Only string values are supported when creating DICOM instances")
_OVERRIDDEN: Final = (2020, "Trying to override a value inherited from a parent module")
_USE_CONTENT: Final = (2021, 'Use "Content" to inject an image into a new DICOM instance')
_NO_PAYLOAD: Final = (2022, "No payload is present for one instance in the series")
_USE_DATA_URI: Final = (2023, "The payload of the DICOM instance must be specified according to Data URI scheme")
_BAD_PARENT: Final = (2024, "Trying to attach a new DICOM instance to an inexistent resource")
_PARENT_IS_INSTANCE: Final = (
    2025,
    "Trying to attach a new DICOM instance to an instance (must be a series, study or patient)",
)


class CreationRefused(BadRequest):
    """A request to create an instance makes no sense; `orthanc` is Orthanc's number and words for it."""

    def __init__(self, orthanc: tuple[int, str], details: str = "") -> None:
        super().__init__(details or orthanc[1])
        self.orthanc = orthanc


async def create(request: web.Request) -> web.Response:
    """Create an instance of `Tags`, and store it; `Content` is a picture or document in it, as a data URI.

    Pictures are PNG, JPEG or PAM, documents PDF, STL, OBJ or MTL; `application/octet-stream` becomes pixel data as it
    is. A list of them becomes a series, each with `Tags` of its own where it is an object with `Content`. `Parent` is a
    patient, study or series, whose attributes the instance takes over. `Encapsulate` puts JPEG in without decoding it,
    `Force` allows attributes that the instance has already, and values that are not valid. `PrivateCreator` reserves
    what private attributes need, `InterpretBinaryTags` (true) takes data URIs for the content of binary attributes.
    """
    context = request.app[CONTEXT]
    creation = request.app[CREATION]
    body = _Body(context.use_cases.ingest)
    try:
        async with receiving(request) as chunks:
            await body.receive(chunks)
            # The text, the texts in it, and what these hold.
            async with creation.memory(3 * body.size):
                parent, order = await asyncio.to_thread(_parsed, await body.read())
                if parent is not None:
                    order = replace(order, parent=await _found(request, parent))
                results = await creation.create(order, rest_origin(request))
    except CreationRefused as error:
        return error_answer(request, 400, str(error), orthanc=error.orthanc)
    except Overridden as error:
        return error_answer(request, 400, str(error), orthanc=_OVERRIDDEN)
    except DataSetError as error:
        return error_answer(request, 400, str(error), orthanc=BAD_FILE)
    except InstanceRefused as error:
        return refusal(request, error)
    finally:
        await body.close()
    uploaded(request, [each.record.parents.study_instance_uid for each in results])
    if not order.is_series:
        return json_answer(receipt(results[0], context.settings().storage.duplicates == "overwrite"))
    series = results[0].record.parents.series_public_id
    return json_answer({"ID": series, "Path": place("Series", series), "Status": "Success"})


class _Body:
    """The body of a request: in memory, or when it is larger in a temporary file."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._pieces: list[bytes] = []
        self._scratch: Scratch | None = None
        self.size = 0

    async def receive(self, chunks: AsyncGenerator[bytes, None]) -> None:
        """Receive it to its end. Raises TooLarge, OutOfSpace, StorageError, BodyError."""
        pending = 0
        async for chunk in chunks:
            self._pieces.append(chunk)
            self.size += len(chunk)
            pending += len(chunk)
            if self.size > MAX_BODY_BYTES:
                raise TooLarge(f"more than {MAX_BODY_BYTES} bytes are not accepted")
            if pending > _IN_MEMORY_BYTES:
                self._ingest.check_space()
                if self._scratch is None:
                    self._scratch = await asyncio.to_thread(self._ingest.scratch)
                pieces, self._pieces, pending = self._pieces, [], 0
                await asyncio.to_thread(self._scratch.append, pieces)

    async def read(self) -> bytes:
        """The whole body. Raises StorageError."""
        pieces, scratch = self._pieces, self._scratch
        if scratch is not None:
            pieces = [await asyncio.to_thread(scratch.read, 0, scratch.size), *pieces]
        return b"".join(pieces)

    async def close(self) -> None:
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.close)


async def _found(request: web.Request, parent: str) -> tuple[Level, str]:
    """The level and public id of a parent. Raises CreationRefused."""
    found = (await counted_resources(request.app[CONTEXT].database, [parent])).get(parent)
    if found is None:
        raise CreationRefused(_BAD_PARENT)
    if found.level == "instance":
        raise CreationRefused(_PARENT_IS_INSTANCE)
    return found.level, parent


def _parsed(body: bytes) -> tuple[str | None, CreationOrder]:
    """The order in a body, and the identifier of its parent. Blocks. Raises BadRequest, DataSetError."""
    if body.count(b",") > MAX_MEMBERS:
        raise CreationRefused(_BAD_REQUEST, f"more than {MAX_MEMBERS} members in one body")
    try:
        model = msgspec.json.decode(body)
    except NOT_JSON as error:
        raise CreationRefused(_BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(model, dict):
        raise CreationRefused(_BAD_REQUEST, "the body is not a JSON object")
    if "Tags" not in model:
        return None, _of_tags_alone(model)
    if not isinstance(model["Tags"], dict):
        raise CreationRefused(_BAD_REQUEST, "Tags: a JSON object of attributes and their values")
    force, interpret = _truth(model, "Force", False), _truth(model, "InterpretBinaryTags", True)
    creator = model.get("PrivateCreator", "")
    if not isinstance(creator, str) or len(creator) > 64 or not creator.isprintable() or "\\" in creator:
        raise CreationRefused(_BAD_REQUEST, "PrivateCreator: a text of 64 characters at most")
    written = ToBeWritten(interpret, creator, check=not force)
    character_set = _character_set(model["Tags"])
    attributes = _attributes(model["Tags"], written)
    content = model.get("Content", [])
    is_series = isinstance(content, list) and bool(content)
    if is_series and len(content) > MAX_INSTANCES:
        raise CreationRefused(_BAD_REQUEST, f"Content: {len(content)} instances; at most {MAX_INSTANCES} are created")
    if is_series:
        instances = [_listed(each, written) for each in content]
    else:
        instances = [NewInstance(_payload(content) if content != [] else None)]
    order = CreationOrder(
        attributes,
        instances,
        is_series,
        force=force,
        encapsulate=_truth(model, "Encapsulate", False),
        character_set=character_set,
    )
    if "Parent" not in model:
        return None, order
    return model["Parent"] if isinstance(model["Parent"], str) else "", order


def _of_tags_alone(model: Mapping[str, Any]) -> CreationOrder:
    """The order of a body without `Tags`, which scripts for Orthanc before 0.9.4 send: all of it is tags."""
    if not all(isinstance(each, str) for each in model.values()):
        raise CreationRefused(_NOT_STRING)
    payload = next((_payload(each) for name, each in model.items() if name == "PixelData"), None)
    tags = {name: each for name, each in model.items() if name != "PixelData"}
    written = ToBeWritten(data_uris=False, check=False)
    attributes = _attributes(tags, written)
    return CreationOrder(attributes, [NewInstance(payload)], force=True, character_set=_character_set(tags))


def _listed(found: Any, written: ToBeWritten) -> NewInstance:
    """One instance of a series."""
    if not isinstance(found, dict):
        return NewInstance(_payload(found))
    if "Content" not in found:
        raise CreationRefused(_NO_PAYLOAD)
    tags = found.get("Tags", {})
    if not isinstance(tags, dict):
        raise CreationRefused(_BAD_REQUEST, "Tags: a JSON object of attributes and their values")
    return NewInstance(_payload(found["Content"]), _attributes(tags, written))


def _attributes(tags: Mapping[str, Any], written: ToBeWritten) -> DataSet:
    """The attributes of a data set; group lengths and File Meta Information, which others write, are passed over."""
    found = from_tags(tags, written=written)
    if _PIXEL_DATA in found:
        raise CreationRefused(_USE_CONTENT)
    signed = found.get(KEYWORDS["PixelRepresentation"], Attribute("US")).text == "1"
    return {
        tag: Attribute("SS", each.values) if signed and tag in PIXEL_SIGNED and each.vr == "US" else each
        for tag, each in found.items()
        if tag >> 16 >= 8 and tag & 0xFFFF and tag != _CHARSET
    }


def _payload(found: Any) -> Payload:
    """The content of a data URI. Raises CreationRefused, DataSetError."""
    if not isinstance(found, str):
        raise CreationRefused(_USE_DATA_URI)
    try:
        uri = parse_data_uri(found)
    except BadRequest as error:
        raise DataSetError(f"Content: {error}") from None
    if uri is None:
        raise DataSetError("Content is no data URI in base 64: data:image/png;base64,…")
    media_type, data = uri
    if media_type not in MEDIA_TYPES:
        raise DataSetError(f"Unsupported MIME type for the content of a new DICOM file: {media_type[:80]}")
    return Payload(media_type, data)


def _character_set(tags: Mapping[str, Any]) -> str:
    """The character set that tags name; '' for none. Raises CreationRefused for one that does not exist."""
    for name in ("SpecificCharacterSet", "0008,0005", "0008-0005", "00080005"):
        if name in tags:
            if not isinstance(tags[name], str) or not is_known(tags[name]):
                raise CreationRefused(_OUT_OF_RANGE, f"Unknown specific character set: {str(tags[name])[:80]}")
            return str(tags[name])
    return ""


def _truth(model: Mapping[str, Any], name: str, default: bool) -> bool:
    found = model.get(name, default)
    if not isinstance(found, bool):
        raise CreationRefused(_BAD_REQUEST, f"{name}: true or false")
    return found


_PAYLOAD: Final = {"type": "string", "pattern": "^data:", "description": "A data URI"}
_BODY: Final = members(
    "Tags",
    Tags=TAGS,
    Content=any_of(_PAYLOAD, list_of(any_of(_PAYLOAD, members("Content", Content=_PAYLOAD, Tags=TAGS)), MAX_INSTANCES)),
    Parent=PUBLIC_ID,
    Force=TRUTH,
    Encapsulate=TRUTH,
    PrivateCreator={"type": "string", "maxLength": 64},
    InterpretBinaryTags=TRUTH,
)
ROUTES = (
    Route(
        *("POST", "/tools/create-dicom", create, "upload"),
        takes=_BODY,
        body=(JSON,),
        errors=(409, 413, 503, 507),
        name="create-dicom",
    ),
)
