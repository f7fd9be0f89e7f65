"""What there is to ask, in words: every route with its handler's docstring and its parameters.

Made from the router as it stands, so that nothing is described that is not served and nothing served is left out;
`openapi.py` and `dicomweb/capabilities.py` write it down. Whoever adds a route writes a docstring, whose first sentence
is the summary, and here what is new among its parameters; tests/web/test_openapi.py says what is missing.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.web.accept import DICOM_JSON, DICOM_XML

PATH_PARAMETERS: Final[dict[str, str]] = {
    "filename": "File of a page",
    "frames": "Frame numbers from 1, with commas between them",
    "id": "Identifier, as the list of its kind has it",
    "instance": "SOP Instance UID",
    "name": "Name, as the settings have it",
    "page": "A path of the viewer's own",
    "path": "Path below this resource; it may hold slashes",
    "release": "Release of the viewer",
    "series": "Series Instance UID",
    "study": "Study Instance UID",
    "uid": "SOP Instance UID",
}
"""The parameters of paths, which mean the same wherever they stand."""

_ACCEPT: Final = {"accept": "Media types, before those of the Accept header"}
_PAGE: Final = {
    "limit": "Most entries in the answer",
    "before": "Only entries before this one",
    "expand": "All of each",
}
_PICTURE: Final = {
    **_ACCEPT,
    "quality": "Of lossy compression, 1 to 100",
    "viewport": "Width and height in pixels, and the region to be seen",
    "window": "Centre, width and function of the VOI LUT",
    "iccprofile": "Colour space of the answer",
    "annotation": "`patient`, `technique`: text to be burned in",
}
QUERY_PARAMETERS: Final[dict[str, dict[str, str]]] = {
    "changes.changes": {"since": "Sequence number to go on after", "limit": "Most changes", "last": "The newest alone"},
    "bulkdata.every": _ACCEPT,
    "bulkdata.one": _ACCEPT,
    "bulkdata.pixels": _ACCEPT,
    "frames.frames": _ACCEPT,
    "jobs.all_jobs": _PAGE,
    "metadata.metadata": _ACCEPT,
    "mpps.all_steps": _PAGE,
    "page.rows": {
        "patient": "Part of the name, or beginning of the ID",
        "accession": "Its beginning",
        "modality": "One",
    },
    "qido.handle": {
        "{attributeID}": "Value to match: a keyword or tag, a period before one in a sequence (PS3.18 §8.3.4.1)",
        "includefield": "Attributes to return too, with commas between them, or `all`",
        "fuzzymatching": "`true`: person names match by their sound",
        "emptyvaluematching": '`true`: `""` matches what has no value',
        "multiplevaluematching": "`true` or `false`; values with a backslash between them are alternatives always",
        "limit": "Most matches",
        "offset": "Matches to pass over",
        **_ACCEPT,
    },
    "rendered.frames": _PICTURE,
    "rendered.instance": _PICTURE,
    "rendered.instances": _PICTURE,
    "rendered.thumbnail": {name: _PICTURE[name] for name in ("accept", "viewport")},
    "uri.uri": {
        "requestType": "WADO",
        "studyUID": "Study Instance UID",
        "seriesUID": "Series Instance UID",
        "objectUID": "SOP Instance UID",
        "contentType": "Media types",
        "transferSyntax": "UID, of a DICOM file",
        "frameNumber": "From 1",
        "rows": "Most pixels down",
        "columns": "Most pixels across",
        "region": "Left, top, right and bottom as parts of 1",
        "windowCenter": "Of the VOI LUT",
        "windowWidth": "Of the VOI LUT",
        "imageQuality": _PICTURE["quality"],
        "annotation": _PICTURE["annotation"],
        "iccprofile": _PICTURE["iccprofile"],
    },
    "wado.instances": _ACCEPT,
    "worklists.all_items": {"expand": "All of each"},
}
"""Handler, as `handler_name` has it, to its query parameters, none of which is required. A name in braces stands for
any name of that kind."""

_MULTIPART: Final = "multipart/related"
_XML: Final = f'{_MULTIPART}; type="{DICOM_XML}"'
MEDIA_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "bulkdata.every": (_MULTIPART,),
    "bulkdata.one": (_MULTIPART, "*/*"),
    "bulkdata.pixels": (_MULTIPART,),
    "capabilities.capabilities": ("application/vnd.sun.wadl+xml", "application/json"),
    "frames.frames": (_MULTIPART, "application/octet-stream", "image/*", "video/*"),
    "health.livez": ("text/plain",),
    "health.metrics": ("text/plain",),
    "health.readyz": ("text/plain",),
    "metadata.metadata": (DICOM_JSON, "application/json", _XML),
    "live.events": ("text/event-stream",),
    "page.rows": ("text/html",),
    "page.to_home": (),
    "page.studies": ("text/html",),
    "qido.handle": (DICOM_JSON, "application/json", _XML),
    "rendered.frames": ("image/*", _MULTIPART),
    "rendered.instance": ("image/*", "video/*", "application/pdf", "text/html", _MULTIPART),
    "rendered.instances": ("image/*", _MULTIPART),
    "rendered.thumbnail": ("image/*",),
    "uri.uri": ("application/dicom", "image/*", "video/*", "application/pdf", "text/html"),
    "viewer.configuration": ("text/javascript",),
    "viewer.file": ("*/*",),
    "viewer.page": ("text/html",),
    "viewer.to_page": (),
    "web_urldispatcher.StaticResource._handle": ("*/*",),
    "wado.instances": (f'{_MULTIPART}; type="application/dicom"', "application/dicom", "application/zip"),
    "stow.store": (DICOM_JSON, "application/json", _XML),
}
"""What a handler answers with where that is not application/json; nothing: it leads elsewhere."""

_NO_SENTENCE: Final = re.compile(r"\s*\n\s*\n\s*|(?<=[.?!])\s+(?=[A-Z`])")


class Operation(NamedTuple):
    """One method of one resource."""

    method: str
    path: str
    """With the prefix under which we serve, parameters in braces."""
    handler: str
    summary: str
    details: str
    parameters: list[str]
    """Those of the path."""


def operations(app: web.Application) -> Iterator[Operation]:
    """Every method of every resource, in the order of routes.py, HEAD left out: it is where GET is."""
    for resource in app.router.resources():
        path = resource.canonical
        if isinstance(resource, web.StaticResource):
            path += "/{filename}"
        for route in resource:
            if route.method != "HEAD":
                words = _words(route.handler) or ("Files of the pages." if "{filename}" in path else "")
                summary, _, details = words.partition("\0")
                parameters = re.findall(r"{(\w+)}", path)
                yield Operation(route.method, path, handler_name(route.handler), summary, details, parameters)


def handler_name(handler: Any) -> str:
    """A handler by the last part of its module and its own name: `qido.handle`."""
    function = handler.func if isinstance(handler, functools.partial) else handler
    return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"


def _words(handler: Any) -> str:
    """Its docstring: the first sentence, a zero byte, and the rest with a line for each paragraph."""
    text = inspect.getdoc(handler.func if isinstance(handler, functools.partial) else handler) or ""
    if isinstance(handler, functools.partial) and (level := handler.keywords.get("level")):
        text = f"Search at the level of {level}. {text}"
    first, *rest = _NO_SENTENCE.split(text, maxsplit=1)
    paragraphs = [" ".join(paragraph.split()) for paragraph in "".join(rest).split("\n\n")]
    return "\0".join([" ".join(first.split()), "\n\n".join(paragraphs)]) if first else ""
