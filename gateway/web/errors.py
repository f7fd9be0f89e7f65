"""The one place where an error becomes an HTTP answer, in the JSON format that Orthanc uses.

`{"HttpError", "HttpStatus", "Message", "Method", "OrthancError", "OrthancStatus", "Uri"}`, with `Details` where there
is more to say. Clients of Orthanc read these names. Which errors exist is in `gateway/errors.py`.
"""

from __future__ import annotations

import http
from collections.abc import Mapping

import msgspec
from aiohttp import web

from gateway import errors
from gateway.archive.query import TooManyInstances
from gateway.web.conditional import RangeNotSatisfiable

_ORTHANC = {
    400: (8, "Bad request"),
    401: (29, "Bad credentials were provided to an HTTP request"),
    403: (29, "Bad credentials were provided to an HTTP request"),
    404: (17, "Unknown resource"),
    405: (8, "Bad request"),
    406: (34, "Cannot send a response which is acceptable according to the Accept HTTP header"),
    429: (29, "Bad credentials were provided to an HTTP request"),
    500: (-1, "Internal error"),
    503: (36, "The database is currently not available (probably a transient situation)"),
    507: (19, "The file storage is full"),
}
_INEXISTENT_ITEM = (7, "Accessing an inexistent item")


class NotAcceptable(errors.GatewayError):
    """Nothing that the Accept header allows can be sent (406). The text says what could be."""


class Busy(errors.GatewayError):
    """There are too many such requests now (503)."""


class TooLarge(errors.GatewayError):
    """The body of the request is larger than is taken (413)."""


def error_answer(
    request: web.Request,
    status: int,
    details: str = "",
    *,
    orthanc: tuple[int, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """One error as JSON. `details` is shown to the client."""
    number, message = orthanc or _ORTHANC.get(status, (-1, http.HTTPStatus(status).phrase))
    body: dict[str, str | int] = {"Details": details} if details else {}
    body |= {
        "HttpError": http.HTTPStatus(status).phrase,
        "HttpStatus": status,
        "Message": message,
        "Method": request.method,
        "OrthancError": message,
        "OrthancStatus": number,
        "Uri": request.path,
    }
    text = msgspec.json.format(msgspec.json.encode(body), indent=3) + b"\n"
    return web.Response(status=status, body=text, content_type="application/json", charset="utf-8", headers=headers)


def domain_answer(request: web.Request, error: errors.GatewayError) -> web.Response:
    """The answer to an error of the gateway's own tree."""
    match error:
        case errors.NotFound():
            return error_answer(request, 404, str(error), orthanc=_INEXISTENT_ITEM)
        case TooManyInstances():
            return error_answer(request, 413, str(error))
        case errors.Promised():
            return error_answer(request, 409, str(error))
        case errors.BadRequest():
            return error_answer(request, 400, str(error))
        case NotAcceptable() | errors.UnsupportedTransferSyntax():
            return error_answer(request, 406, str(error))
        case RangeNotSatisfiable():
            return error_answer(request, 416, str(error), headers={"Content-Range": f"bytes */{error.length}"})
        case TooLarge():
            return error_answer(request, 413, str(error))
        case Busy():
            return error_answer(request, 503, str(error), headers={"Retry-After": "30"})
        case errors.OutOfSpace():
            return error_answer(request, 507, str(error))
        case errors.DatabaseError():
            return error_answer(request, 503, "the database did not answer; try again", headers={"Retry-After": "5"})
        case errors.DataSetError():
            return error_answer(request, 500, f"a stored instance cannot be read: {error}")
        case _:
            return error_answer(request, 500)
