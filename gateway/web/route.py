"""Declarations of routes: method, path, parameters, media types, errors.

Each file of handlers ends with a table of them. `routes.py` adds the tables to the router; `openapi.py` and
`dicomweb/capabilities.py` describe them, with the handler's docstring, whose first sentence is the summary.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web

from gateway.dicom.levels import COLLECTIONS
from gateway.http.multipart_writer import MULTIPART
from gateway.web.accept import DICOM_XML, JSON

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = Mapping[str, Any]
"""A JSON Schema, as in OpenAPI."""
Area = Literal["DICOMweb", "Health", "Management", "Pages"]

STUDY: Final = "/studies/{study}"
SERIES: Final = STUDY + "/series/{series}"
INSTANCE: Final = SERIES + "/instances/{instance}"
FRAMES: Final = INSTANCE + "/frames/{frames}"
MODALITY: Final = "/modalities/{name}"
PIXELS_MASKER: Final = "/plugins/pixels-masker"
PEERS: Final = "/peers"
SERVERS: Final = "/dicom-web/servers"
QUERY: Final = "/queries/{id}"
ANSWER: Final = QUERY + "/answers/{number}"
ORTHANC_SERIES: Final = "/series/{id}"
ORTHANC_INSTANCE: Final = "/instances/{id}"
ORTHANC_FRAME: Final = ORTHANC_INSTANCE + "/frames/{frame}"
TENANT_ROOT: Final = "/tenants/{tenant:[0-9A-Za-z_-]{1,64}}"
PATIENT_ROOT: Final = "/patients/{patient:[0-9a-f]{8}(?:-[0-9a-f]{8}){4}}"

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
TRUTH: Final[Schema] = {"type": "boolean"}
UID: Final[Schema] = {"type": "string", "pattern": "^[0-9.]+$", "maxLength": 64}
LABEL: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 64}
FLAG: Final[Schema] = {"type": "string"}
"""A parameter whose presence counts, whatever its value."""

XML: Final = f'{MULTIPART}; type="{DICOM_XML}"'


def at_least(least: int, most: int | None = None) -> Schema:
    """The schema of a whole number within bounds."""
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query or path. `example` is a valid value."""

    name: str
    about: str
    schema: Schema = field(default_factory=lambda: TEXT)
    example: str = "1"
    required: bool = False
    any_name: bool = False
    """The name stands for any of its kind: the schema is that of an object with all of them."""


PATH_PARAMETERS: Final[Mapping[str, Parameter]] = {
    each.name: each
    for each in (
        Parameter("filename", "File of a page"),
        Parameter("frame", "Number of a frame, from 0", {"type": "string", "pattern": "^[0-9]+$"}),
        Parameter(
            "frames",
            "Frame numbers from 1, with commas between them",
            {"type": "string", "pattern": "^[0-9]+(,[0-9]+)*$"},
        ),
        Parameter("id", "Identifier, as in the list of resources"),
        Parameter("instance", "SOP Instance UID", UID),
        Parameter("key", "What a job has made", TEXT, "archive"),
        Parameter("label", "A label", LABEL),
        Parameter("name", "Name, as in the list of its kind"),
        Parameter("number", "Number of an answer, from 0", {"type": "string", "pattern": "^[0-9]+$"}, "0"),
        Parameter("page", "A path of the viewer's own"),
        Parameter(
            "patient",
            "Orthanc's identifier of a patient, if several have a study of the same UID",
            {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{8}){4}$"},
        ),
        Parameter("path", "Path below this resource; it may contain slashes"),
        Parameter("release", "Release of the viewer"),
        Parameter("series", "Series Instance UID", UID),
        Parameter("study", "Study Instance UID", UID),
        Parameter("tenant", "Name of a tenant", {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"}, "radiology"),
        Parameter("type", "Type of a link, as in Orthanc's authorization plugin", TEXT, "viewer-instant-link"),
        Parameter("uid", "SOP Instance UID", UID),
    )
}
"""The parameters of paths, which mean the same in every path."""

ACCEPT: Final = Parameter("accept", "Media types, in preference to those of the Accept header", example="*/*")
EXPAND: Final = Parameter("expand", "All of each", FLAG)
PAGE: Final = (
    Parameter("limit", "Most entries in the answer", COUNT, "10"),
    Parameter("before", "Only entries before this one", COUNT, "1000"),
)

SIGNED_IN: Final = ""
"""The permission of routes for everybody who is signed in."""
OF_JOBS: Final = "download|upload|modify|anonymize|delete|send|q-r-remote-modalities|settings"
"""Of jobs: whoever may do something of which a job may come."""
OF_SYSTEMS: Final = "send|q-r-remote-modalities|settings"
"""Of the lists of other systems."""

_NAMED: Final = {
    "instance": re.compile(r"{instance\b|/instances/{id}"),
    "series": re.compile(r"{series\b|/series/{id}"),
    "study": re.compile(r"{study\b|/studies/{id}"),
}
_RESOURCE: Final = re.compile(r"/(patients|studies|series|instances)/{id}")
_OF_WHOLE_PATIENT: Final = ("/patients/{id}/labels", "/patients/{id}/protected")
"""How the paths of forms end that change what is a patient's own."""
_LEVEL_OF: Final = {collection: level for level, collection in COLLECTIONS.items()}


@functools.lru_cache(1024)
def _level(path: str) -> str:
    return next((level for level, named in _NAMED.items() if named.search(path)), "patient")


_NO_SENTENCE: Final = re.compile(r"\s*\n\s*\n\s*|(?<=[.?!])\s+(?=[A-Z`])")


@functools.cache
def _resource_level(path: str) -> str:
    found = _RESOURCE.search(path)
    return _LEVEL_OF[found[1]] if found is not None else ""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one resource."""

    method: Literal["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    path: str
    """Path below the root of its table; parameters in braces, as in aiohttp."""
    handler: Handler
    permission: str
    """The permission that a user needs, or several with `|` between them of which one is enough; '' for none."""
    query: tuple[Parameter, ...] = ()
    body: tuple[str, ...] = ()
    """Media types of the request body."""
    takes: Schema | None = None
    """The schema of a body in JSON."""
    answers: tuple[str, ...] = (JSON,)
    """Media types of a successful answer; none without a body."""
    errors: tuple[int, ...] = ()
    """Specific failure statuses of this resource. Any may also answer 400, 401, 403, 500 or 503."""
    leads_on: bool = False
    """Whether the answer is always a redirection."""
    name: str | None = None
    """Name for `urls.py`."""
    subject: str = ""
    """The subject of a handler that serves several resources, put before its docstring."""
    area: Area = "Management"
    action: str | None = None
    """The name of what it does in the audit log, empty for nothing; None: by `default_action`."""
    is_open: bool = False
    """Whether it is answered without a sign-in, which it is part of."""

    @property
    def permissions(self) -> tuple[str, ...]:
        """The permissions of which one is enough; none is needed if there are none."""
        return tuple(self.permission.split("|")) if self.permission else ()

    @property
    def level(self) -> str:
        """The level of the resource that the path names, which a permission may be limited to; the highest for paths
        that name none."""
        return _level(self.path)

    @property
    def is_of_whole_patient(self) -> bool:
        """Whether a request changes what is a patient's own, such as labels, by which studies are shown: it is for
        those who see all studies of every patient."""
        # Not `startswith`: http.prefix stands before it.
        if self.method == "POST":
            return self.path.endswith(_OF_WHOLE_PATIENT)
        return "/patients/{id}/" in self.path and self.method in ("PUT", "DELETE")

    @property
    def resource_level(self) -> str:
        """The level of the resource that `{id}` in the path is the public id of; empty if there is none."""
        return _resource_level(self.path)

    @property
    def names_other(self) -> bool:
        """Whether the path names anything but a patient, study, series or instance."""
        return "{name}" in self.path or ("{id}" in self.path and not _resource_level(self.path))

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters of the path, in order."""
        return [PATH_PARAMETERS[name] for name in re.findall(r"{(\w+)", self.path)]

    @property
    def words(self) -> tuple[str, str]:
        """The first sentence of the docstring, and the rest with a line for each paragraph."""
        function = self.handler.func if isinstance(self.handler, functools.partial) else self.handler
        text = f"{self.subject} {inspect.getdoc(function) or ''}".strip()
        first, *rest = _NO_SENTENCE.split(text, maxsplit=1)
        paragraphs = [" ".join(paragraph.split()) for paragraph in "".join(rest).split("\n\n")]
        return " ".join(first.split()), "\n\n".join(paragraphs)


def default_action(route: Route) -> str:
    """The name of what a route does in the audit log: its first permission, `search` for lists, or empty for what shows
    nothing of patients and changes nothing."""
    first = route.permission.partition("|")[0]
    if route.method not in ("GET", "OPTIONS"):
        return "jobs" if route.permission == OF_JOBS else "" if route.permission in (SIGNED_IN, OF_SYSTEMS) else first
    if first == "view":
        return "view" if "{study}" in route.path or route.resource_level else "search"
    shown = ("worklists", "q-r-remote-modalities", "audit-logs", "share", "admin-permissions")
    return first if first in shown or route.permission == "download" else ""


SERVED: web.AppKey[tuple[Route, ...]] = web.AppKey("routes", tuple)
"""All routes of an application, under their full paths: parameters in braces, without patterns."""
BY_RESOURCE: web.AppKey[Mapping[tuple[str, str], Route]] = web.AppKey("by_resource", Mapping)
"""The same by method and path."""
