"""The one place where an error becomes an HTTP answer, in the JSON format of Orthanc.

`{"HttpError", "HttpStatus", "Message", "Method", "OrthancError", "OrthancStatus", "Uri"}`, with `Details` where there
is more to say. Clients of Orthanc read these names. `gateway/errors.py` has the errors.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway import errors
from gateway.dicom.levels import LEVELS, level_of
from gateway.remote.destination import DestinationUnavailable
from gateway.remote.http import RequestBroken
from gateway.retrieve.query import TooManyInstances
from gateway.scu.commitment import CommitmentFailed
from gateway.web.conditional import RangeNotSatisfiable
from gateway.web.sessions import Forbidden
from gateway.web.urls import object_url

DETAILS: Final = web.ResponseKey("details", str)
"""The details of an error answer, for `pages/errors.py`."""

_ORTHANC = {
    400: (8, "Bad request"),
    401: (29, "Bad credentials were provided to an HTTP request"),
    403: (29, "Bad credentials were provided to an HTTP request"),
    404: (17, "Unknown resource"),
    405: (8, "Bad request"),
    406: (34, "Cannot send a response which is acceptable according to the Accept HTTP header"),
    415: (15, "Bad file format"),
    429: (29, "Bad credentials were provided to an HTTP request"),
    500: (-1, "Internal error"),
    503: (36, "The database is currently not available (probably a transient situation)"),
    507: (19, "The file storage is full"),
}
BAD_FILE: Final = (15, "Bad file format")
"""Orthanc's number and words where a body is not what is taken."""
NETWORK: Final = (9, "Error in the network protocol")
"""The same where another system did not answer, or answered with a failure."""
CANCELLED: Final = (37, "This job was canceled")
_INEXISTENT_ITEM = (7, "Accessing an inexistent item")
_BAD_REVISION = (43, "A bad revision number was provided, which might indicate conflict between multiple writers")


class NotAcceptable(errors.GatewayError):
    """The Accept header allows no available form (406). The text lists the alternatives."""


class Busy(errors.GatewayError):
    """Too many such requests are in progress (503)."""


class TooLarge(errors.GatewayError):
    """The body of the request exceeds the limit (413)."""


def error_answer(
    request: web.Request,
    status: int,
    details: str = "",
    *,
    orthanc: tuple[int, str] | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> web.Response:
    """One error as JSON. The client sees `details`, and the members `more`."""
    number, message = orthanc or _ORTHANC.get(status, (-1, http.HTTPStatus(status).phrase))
    body: dict[str, Any] = {"Details": details} if details else {}
    body |= {
        "HttpError": http.HTTPStatus(status).phrase,
        "HttpStatus": status,
        "Message": message,
        "Method": request.method,
        "OrthancError": message,
        "OrthancStatus": number,
        "Uri": request.path,
        **(more or {}),
    }
    text = msgspec.json.format(msgspec.json.encode(body), indent=3) + b"\n"
    answer = web.Response(status=status, body=text, content_type="application/json", charset="utf-8", headers=headers)
    answer[DETAILS] = details
    return answer


def domain_answer(request: web.Request, error: errors.GatewayError) -> web.Response:
    """The answer to a GatewayError."""
    match error:
        case errors.UnknownResource():
            return error_answer(request, 404, str(error))
        case errors.NotFound():
            return error_answer(request, 404, str(error), orthanc=_INEXISTENT_ITEM)
        case TooManyInstances():
            return error_answer(request, 413, str(error))
        case errors.Configured() | errors.SharedByTenants():
            return error_answer(request, 403, str(error))
        case Forbidden():
            return error_answer(request, 403, str(error))
        case errors.RequestFailed():
            # As Orthanc from 1.12.10 on says which status it was.
            payload = {"Content": {"DimseErrorStatus": error.status}, "Type": "Dimse"}
            return error_answer(request, 500, str(error), orthanc=NETWORK, more={"ErrorPayload": payload})
        case CommitmentFailed() | DestinationUnavailable() | RequestBroken():
            return error_answer(request, 500, str(error), orthanc=NETWORK)
        case errors.AssociationRefused() | errors.AssociationLost() | errors.ConfigurationError():
            return error_answer(request, 500, str(error), orthanc=NETWORK)
        case errors.RevisionConflict():
            return error_answer(request, 409, str(error), orthanc=_BAD_REVISION)
        case errors.PreconditionFailed():
            return error_answer(request, 412, str(error))
        case errors.RetainedByCommitment():
            return error_answer(request, 409, str(error))
        case errors.SeveralPatients():
            return error_answer(
                request, 409, f"{error}; each has one, under the root of the patient", more=_roots(request, error)
            )
        case errors.BadRequest():
            return error_answer(request, 400, str(error))
        case NotAcceptable() | errors.UnsupportedTransferSyntax():
            return error_answer(request, 406, str(error))
        case RangeNotSatisfiable():
            return error_answer(request, 416, str(error), headers={"Content-Range": f"bytes */{error.length}"})
        case TooLarge():
            return error_answer(request, 413, str(error))
        case Busy() | errors.Overloaded():
            return error_answer(request, 503, str(error), headers={"Retry-After": "30"})
        case errors.OutOfSpace():
            return error_answer(request, 507, str(error))
        case errors.OutOfDescriptors():
            return error_answer(request, 503, "too many files are open; try again", headers={"Retry-After": "5"})
        case errors.DatabaseError():
            return error_answer(request, 503, "the database did not answer; try again", headers={"Retry-After": "5"})
        case errors.DataSetError():
            # A stored instance without this representation is no failure of the server (PS3.18 §8.4).
            status = 406 if request.method in ("GET", "HEAD") else 500
            return error_answer(request, status, f"a stored instance cannot be read: {error}")
        case _:
            return error_answer(request, 500)


def _roots(request: web.Request, error: errors.SeveralPatients) -> dict[str, str | int | list[str]]:
    """The URL of the resource under each patient, who is named only by the identifiers in URLs."""
    parts = dict(zip(LEVELS[1:], error.uids, strict=False))
    url = object_url(request, level_of(*error.uids))
    return {"Resources": [url.of(patient, **parts) for patient in error.patients]}
