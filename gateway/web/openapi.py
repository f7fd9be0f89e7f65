"""`/openapi.json`: the routes as an OpenAPI 3.1 document, for people's tools. What it says is `description.py`'s."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway import __version__
from gateway.web.context import CONTEXT
from gateway.web.description import MEDIA_TYPES, PATH_PARAMETERS, QUERY_PARAMETERS, Operation, operations
from gateway.web.rest.answers import json_answer
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
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


async def document(request: web.Request) -> web.Response:
    """This description of everything that can be asked, as an OpenAPI document."""
    with_users = bool(request.app[CONTEXT].settings().http.users)
    return json_answer(describe(request.app, root_url(request), with_users=with_users))


def describe(app: web.Application, server: str, *, with_users: bool = False) -> dict[str, Any]:
    """The document of an application that is reached at `server`."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations(app):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    components: dict[str, Any] = {
        "schemas": {"Error": _ERROR},
        "responses": {
            "Error": {
                "description": "What went wrong, in the form that Orthanc has for it",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
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


def _operation(operation: Operation) -> dict[str, Any]:
    described = [(name, "path", PATH_PARAMETERS.get(name, "")) for name in operation.parameters]
    described += [(name, "query", text) for name, text in QUERY_PARAMETERS.get(operation.handler, {}).items()]
    media_types = MEDIA_TYPES.get(operation.handler, ("application/json",))
    success = {"description": "Success", "content": {kind: {} for kind in media_types}}
    made: dict[str, Any] = {
        "operationId": f"{operation.method.lower()} {operation.path}",
        "summary": operation.summary,
        "tags": [_area(operation)],
        "parameters": [_parameter(*each) for each in described],
        "responses": {
            **({"2XX": success} if media_types else {"302": {"description": "Where it is"}}),
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if operation.details:
        made["description"] = operation.details
    if operation.method in _WITH_BODY:
        made["requestBody"] = {"content": {"*/*": {}}}
    return made


def _parameter(name: str, place: str, text: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name.startswith("{"):
        schema = {"type": "object", "additionalProperties": schema}  # each of its members is a parameter
    return {
        "name": name.strip("{}"),
        "in": place,
        "description": text,
        "required": place == "path",
        "schema": schema,
    }


def _area(operation: Operation) -> str:
    module = operation.handler.partition(".")[0]
    if module == "health":
        return "Health"
    if "dicom-web" in operation.path.split("/") or "wado" in operation.path.split("/"):
        return "DICOMweb"
    return "Pages" if {"ui", "ohif", ""} & set(operation.path.split("/")[1:3]) else "Management"
