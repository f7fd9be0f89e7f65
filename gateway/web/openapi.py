"""`/openapi.json`: the routes as an OpenAPI 3.1 document.

Its content is declared beside each handler, see `route.py`.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway import __version__
from gateway.web.accept import DICOM_JSON, JSON
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer
from gateway.web.route import FLAG, SERVED, SIGNED_IN, Parameter, Route
from gateway.web.urls import root_url

_ERROR: Final = {
    "type": "object",
    "properties": {
        "HttpStatus": {"type": "integer"},
        "HttpError": {"type": "string"},
        "Message": {"type": "string"},
        "Details": {"type": "string"},
        "OrthancStatus": {"type": "integer"},
        "OrthancError": {"type": "string"},
        "Method": {"type": "string"},
        "Uri": {"type": "string"},
    },
    "required": ["HttpStatus", "Message"],
}
_FAILURE: Final = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


async def document(request: web.Request) -> web.Response:
    """The description of all resources, as an OpenAPI document."""
    with_users = request.app[CONTEXT].settings().needs_sign_in
    return json_answer(describe(request.app, root_url(request), with_users=with_users))


def describe(app: web.Application, server: str, *, with_users: bool = False) -> dict[str, Any]:
    """The document of an application at the URL `server`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in app[SERVED]:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    components: dict[str, Any] = {
        "schemas": {"Error": _ERROR},
        "responses": {
            "Error": {
                "description": "The error, in the format of Orthanc",
                **_FAILURE,
            }
        },
    }
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "DICOM Gateway",
            "version": __version__,
            "summary": "DICOMweb (PS3.18), and a management API in the style of Orthanc's",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": components,
    }
    if with_users:
        components["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
        made["security"] = [{"basic": []}]
    return made


def _operation(route: Route) -> dict[str, Any]:
    summary, details = route.words
    made: dict[str, Any] = {
        "operationId": f"{route.method.lower()} {route.path}",
        "summary": summary,
        "tags": [route.area],
        "parameters": [
            *(_parameter(replace(each, required=True), "path") for each in route.parameters),
            *(_parameter(each, "query") for each in route.query),
        ],
        "responses": {**_success(route), **_failures(route)},
    }
    if details:
        made["description"] = details
    if route.body:
        made["requestBody"] = {"content": {kind: _content(route, kind) for kind in route.body}}
    return made


def _content(route: Route, kind: str) -> dict[str, Any]:
    """The content of a body of one media type."""
    return {"schema": route.takes} if route.takes is not None and kind in (JSON, DICOM_JSON) else {}


def _success(route: Route) -> dict[str, Any]:
    if route.leads_on:
        return {"3XX": {"description": "The location"}}
    success: dict[str, Any] = {"description": "Success"}
    if route.answers:
        success["content"] = {kind: {} for kind in route.answers}
    return {"2XX": success}


def _failures(route: Route) -> dict[str, Any]:
    error = {"$ref": "#/components/responses/Error"}
    return {
        **{str(code): {**_FAILURE, "description": HTTPStatus(code).phrase} for code in route.errors},
        "default": error,
    }


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": parameter.name,
        "in": place,
        "description": parameter.about,
        "required": parameter.required,
        "schema": parameter.schema,
    }
    if parameter.schema is FLAG:
        made["allowEmptyValue"] = True
    if not parameter.any_name and parameter.example and place == "query":
        made["example"] = _value(parameter)
    return made


def _value(parameter: Parameter) -> Any:
    """The example as a value of its type."""
    kind = parameter.schema["type"]
    return parameter.example if kind == "string" else msgspec.json.decode(parameter.example)


ROUTES = (Route("GET", "/openapi.json", document, SIGNED_IN),)
