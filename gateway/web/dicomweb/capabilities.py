"""Retrieve Capabilities (PS3.18 §8.9): a description of this origin server, from its routes.

In the Web Application Description Language, as in PS3.18, or as OpenAPI for clients that request JSON.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import quoteattr

from aiohttp import web

from gateway.web.accept import JSON, choose
from gateway.web.openapi import document
from gateway.web.route import ACCEPT, SERVED, SIGNED_IN, Parameter, Route
from gateway.web.urls import url_template

WADL: Final = "application/vnd.sun.wadl+xml"
_TYPES: Final = {"integer": "xsd:integer", "number": "xsd:double", "boolean": "xsd:boolean"}


async def capabilities(request: web.Request) -> web.Response:
    """The capabilities of this server, in WADL or as OpenAPI."""
    if choose(request, (WADL, JSON)) == JSON:
        return await document(request)
    base = request.app.router["dicomweb"].canonical
    resources: dict[str, list[Route]] = {}
    for route in request.app[SERVED]:
        if route.path.startswith(base):
            resources.setdefault(route.path.removeprefix(base), []).append(route)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<application xmlns="http://wadl.dev.java.net/2009/02" xmlns:xsd="http://www.w3.org/2001/XMLSchema">',
        f"<resources base={quoteattr(url_template(request, 'dicomweb'))}>",
    ]
    for path, methods in resources.items():
        lines += [f"<resource path={quoteattr(path)}>"]
        lines += [_parameter(each, "template") for each in methods[0].parameters]
        for method in methods:
            lines += _method(method)
        lines.append("</resource>")
    text = "\n".join([*lines, "</resources>", "</application>\n"])
    return web.Response(text=text, content_type=WADL)


def _method(route: Route) -> list[str]:
    parameters = [_parameter(each, "query") for each in route.query]
    return [
        f"<method name={quoteattr(route.method)}><doc title={quoteattr(route.words[0])}/>",
        *(["<request>", *parameters, "</request>"] if parameters else []),
        "<response>",
        *[f"<representation mediaType={quoteattr(kind)}/>" for kind in route.answers],
        "</response></method>",
    ]


def _parameter(parameter: Parameter, style: str) -> str:
    name = f"{{{parameter.name}}}" if parameter.any_name else parameter.name
    kind = _TYPES.get(str(parameter.schema["type"]), "xsd:string")
    attributes = f"name={quoteattr(name)} style={quoteattr(style)} type={quoteattr(kind)}"
    return f"<param {attributes}><doc title={quoteattr(parameter.about)}/></param>"


ROUTES = (
    Route("OPTIONS", "", capabilities, SIGNED_IN, (ACCEPT,), answers=(WADL, JSON), errors=(406,)),
    Route("OPTIONS", "/", capabilities, SIGNED_IN, (ACCEPT,), answers=(WADL, JSON), errors=(406,), name="dicomweb"),
)
"""Retrieve Capabilities (PS3.18 §8.9)."""
