"""Retrieve Capabilities (PS3.18 §8.9): what this origin server can do, for machines, from the routes as they stand.

In the Web Application Description Language, as PS3.18 has it, or as OpenAPI for those who ask for JSON.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import quoteattr

from aiohttp import web

from gateway.web.accept import JSON, choose
from gateway.web.description import MEDIA_TYPES, PATH_PARAMETERS, QUERY_PARAMETERS, Operation, operations
from gateway.web.openapi import document
from gateway.web.urls import url_template

WADL: Final = "application/vnd.sun.wadl+xml"


async def capabilities(request: web.Request) -> web.Response:
    """What can be done here, in WADL or as OpenAPI."""
    if choose(request, (WADL, JSON)) == JSON:
        return await document(request)
    base = request.app.router["dicomweb"].canonical
    resources: dict[str, list[Operation]] = {}
    for operation in operations(request.app):
        if operation.path.startswith(base):
            resources.setdefault(operation.path.removeprefix(base), []).append(operation)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<application xmlns="http://wadl.dev.java.net/2009/02">',
        f"<resources base={quoteattr(url_template(request, 'dicomweb'))}>",
    ]
    for path, methods in resources.items():
        lines += [f"<resource path={quoteattr(path)}>"]
        lines += [_parameter(name, "template", PATH_PARAMETERS.get(name, "")) for name in methods[0].parameters]
        for method in methods:
            lines += _method(method)
        lines.append("</resource>")
    text = "\n".join([*lines, "</resources>", "</application>\n"])
    return web.Response(text=text, content_type=WADL)


def _method(operation: Operation) -> list[str]:
    query = QUERY_PARAMETERS.get(operation.handler, {})
    parameters = [_parameter(name, "query", text) for name, text in query.items()]
    return [
        f"<method name={quoteattr(operation.method)}><doc title={quoteattr(operation.summary)}/>",
        *(["<request>", *parameters, "</request>"] if parameters else []),
        "<response>",
        *[f"<representation mediaType={quoteattr(kind)}/>" for kind in MEDIA_TYPES.get(operation.handler, (JSON,))],
        "</response></method>",
    ]


def _parameter(name: str, style: str, text: str) -> str:
    return f"<param name={quoteattr(name)} style={quoteattr(style)}><doc title={quoteattr(text)}/></param>"
