"""What requests about other systems have in common: options of a call, and jobs that are waited for or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from gateway.errors import BadRequest
from gateway.systems.calls import CallOptions
from gateway.systems.job_desk import JobDesk
from gateway.web.auditing import named
from gateway.web.errors import BAD_FILE, CANCELLED, NETWORK, error_answer
from gateway.web.inputs import read_json
from gateway.web.receiving import small_body
from gateway.web.rest.answers import json_answer, reference
from gateway.web.route import Schema
from gateway.web.schemas import RESOURCES, any_of, struct

JOB_DESK: web.AppKey[JobDesk] = web.AppKey("job_desk", JobDesk)
_PUBLIC_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}")
_MAX_PRIORITY: Final = 1_000_000
_MAX_TIMEOUT_S: Final = 24 * 3600.0


class CallBody(msgspec.Struct, rename="pascal"):
    """Members of a body that say how to call a system. Unknown members are ignored, as in Orthanc."""

    local_aet: str = ""
    timeout: float = 0.0

    def options(self) -> CallOptions:
        """Raises BadRequest."""
        if not 0 <= self.timeout <= _MAX_TIMEOUT_S:
            raise BadRequest(f"Timeout: 0 (as the modality has it) to {_MAX_TIMEOUT_S:g} seconds")
        return CallOptions(local_aet=ae_title("LocalAet", self.local_aet), timeout_s=self.timeout)


class JobBody(CallBody):
    """Members of a body that say how to run the job that the request begins."""

    synchronous: bool | None = None
    asynchronous: bool | None = None
    permissive: bool = False
    priority: int = 0
    user_data: Any = None

    @property
    def rank(self) -> int:
        """The priority of the job, within bounds."""
        return max(-_MAX_PRIORITY, min(_MAX_PRIORITY, self.priority))

    @property
    def waits(self) -> bool:
        """Whether it is answered once the job is over: so where nothing is said."""
        return self.synchronous if self.synchronous is not None else not self.asynchronous


class StoreBody(JobBody):
    """Members of a body that say what is to be sent."""

    resources: Any = None


B = TypeVar("B", bound=CallBody)
S = TypeVar("S", bound=StoreBody)


async def read_body(request: web.Request, kind: type[B]) -> B:
    """The JSON object in the body; anything but one, such as the empty list of older scripts, is an empty one."""
    body = await read_json(request)
    return converted(body if isinstance(body, dict) else {}, kind)


def converted(body: dict[str, Any], kind: type[B]) -> B:
    """The members of a body. Raises BadRequest."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body is not what is taken here: {error}") from None


async def read_text_or_json(request: web.Request) -> Any:
    """The body: JSON, or a text that stands alone, such as an identifier or an AE title. Raises BadRequest."""
    data = await small_body(request)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = data.decode("utf-8", "replace").strip()
        if not text or text[0] in '[{"' or not text.isprintable():
            raise BadRequest("Must provide a JSON value") from None
        return text


async def read_store_body(request: web.Request, kind: type[S]) -> tuple[S, list[str]]:
    """The body, and the resources in it: an identifier, a list of them, or an object with `Resources`.

    Raises BadRequest.
    """
    content = await read_text_or_json(request)
    members = (
        content if isinstance(content, dict) else {"Resources": [content] if isinstance(content, str) else content}
    )
    if "Resources" not in members:
        raise BadRequest('Missing field in JSON: "Resources"')
    body = converted(members, kind)
    found = public_ids([body.resources] if isinstance(body.resources, str) else body.resources)
    await named(request, found)
    return body, found


def sent(kind: type[StoreBody]) -> Schema:
    """The schema of a body that says what is to be sent, in the forms of `read_store_body`."""
    return any_of(RESOURCES, struct(kind, "Resources", Resources=RESOURCES))


def public_ids(found: Any) -> list[str]:
    """The identifiers of resources in a list, each as Orthanc makes them. Raises BadRequest."""
    if not isinstance(found, Sequence) or isinstance(found, str) or not all(isinstance(each, str) for each in found):
        raise BadRequest("the resources are a list of Orthanc identifiers")
    for each in found:
        if not _PUBLIC_ID.fullmatch(each):
            raise BadRequest(f"This string is not a valid Orthanc identifier: {each[:80]}")
    return list(found)


def bad_file(request: web.Request, error: BadRequest) -> web.Response:
    """The answer to a body that is not what is taken, with Orthanc's number for it."""
    return error_answer(request, 400, str(error), orthanc=BAD_FILE)


async def job_answer(request: web.Request, number: int, *, waits: bool) -> web.Response:
    """Where the job is; or, where the request `waits`, once it is over, what it says of itself or why it failed."""
    if not waits:
        return json_answer(reference("jobs", number))
    job = await request.app[JOB_DESK].ended(number)
    progress = job.progress
    if job.state == "done":
        return json_answer(progress.content if progress is not None else {})
    if job.state == "cancelled":
        return error_answer(request, 500, f"job {number} was cancelled", orthanc=CANCELLED)
    payload = progress.error_payload if progress is not None else None
    more = {"ErrorPayload": payload} if payload else {}
    return error_answer(request, 500, job.error, orthanc=NETWORK, more=more)


def ae_title(name: str, text: str) -> str:
    """An AE title that a request names, or an empty text. Raises BadRequest."""
    if len(text) > 16 or not text.isascii() or not text.isprintable() or "\\" in text:
        raise BadRequest(f"{name}: {text[:40]!r} is no AE title")
    return text.strip()
