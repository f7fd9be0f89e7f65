"""`/ohif/`: the page that loads the viewer, its configuration, and the files of the installed release.

The page and the configuration are built for each request, with the path at which the client reaches the gateway.
`release.py` lists the files, `adapt.py` has changed them.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.errors import NotFound
from gateway.web.context import CONTEXT
from gateway.web.pages.environment import ENVIRONMENT
from gateway.web.route import Route
from gateway.web.urls import PATIENT, ObjectUrl, path_template, path_to
from gateway.web.viewer.release import Release, find_release, viewer_folder

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Media types, independent of the machine's own table; browsers reject modules and wasm of a wrong type."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        # eval: its segmentation reader (ndarray, of dcmjs) compiles array access with `new Function`, and its codecs
        # are wasm.
        # That admits no other script: inline ones and those of other hosts stay blocked.
        "script-src 'self' 'unsafe-eval'",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self' blob:",
        "media-src 'self' blob:",
        "object-src 'self' blob:",
        "frame-src 'self' blob:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_WORKER_POLICY = "default-src 'none'; script-src 'self' 'unsafe-eval'; connect-src 'self' blob: data:"
"""The policy of a script that runs as a worker, which has no page to be attacked: its codecs compile functions from
strings. Scripts in the page are under the page's policy."""
_ISOLATED = {"Cross-Origin-Embedder-Policy": "require-corp"}
"""Headers that, with COOP, permit shared memory between the workers of the viewer. Workers need it like the page."""
_FOR_EVER = "private, max-age=31536000, immutable"


class Viewer:
    """Finds the installed release, and caches its list of files."""

    def __init__(self) -> None:
        self._release: Release | None = None

    async def release(self, request: web.Request) -> Release | None:
        """The release installed now; None for none."""
        folder = viewer_folder(request.app[CONTEXT].settings())
        self._release = await asyncio.to_thread(find_release, folder, self._release)
        return self._release

    async def file(self, request: web.Request, release: str, name: str) -> Path | None:
        """A file of the release of that name; None if that is not installed, or has no such file."""
        known = self._release
        if known is None or known.name != release:
            known = await self.release(request)
        return known.files.get(name) if known is not None and known.name == release else None


VIEWER: web.AppKey[Viewer] = web.AppKey("viewer", Viewer)


async def page(request: web.Request) -> web.Response:
    """The viewer's only page, for every path of its own."""
    path = request.match_info.get("page", "")
    if Path(path).suffix in _TYPES:
        raise NotFound(f"there is no {path} here")  # not a page in place of a script
    release = await _installed(request)
    files = functools.partial(_file_url, request, release.name)
    text = (
        request.app[ENVIRONMENT]
        .get_template("ohif.html")
        .render(
            config_url=_of_patient(request, "ohif-config"),
            icon=files("assets/favicon.ico"),
            scripts=[files(name) for name in release.entry.scripts],
            styles=[files(name) for name in release.entry.styles],
        )
    )
    headers = {**_ISOLATED, "Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def to_page(request: web.Request) -> web.StreamResponse:
    """Redirect to the viewer."""
    raise web.HTTPFound(path_template(request, "ohif"))


async def configuration(request: web.Request) -> web.Response:
    """The script with OHIF's configuration: `window.config`, and its base path."""
    release = await _installed(request)
    base = path_template(request, "ohif")
    root = _of_patient(request, "studies").removesuffix("/studies")
    source = {
        "friendlyName": "DICOM Gateway",
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": _of_patient(request, "wado-uri"),
        "qidoSupportsIncludeField": True,
        "supportsFuzzyMatching": False,  # the list filters the results again, letter by letter
        "supportsWildcard": True,
        "enableStudyLazyLoad": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "thumbnail",
        "thumbnailRequestStrategy": "fetch",
        "dicomUploadEnabled": True,
        "singlepart": "bulkdata,pdf,video",
        "bulkDataURI": {"enabled": True},
        "omitQuotationForMultipartRequest": False,
    }
    config = {
        "routerBasename": _of_patient(request, "ohif").rstrip("/"),
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "showErrorDetails": "always",
        "maxNumberOfWebWorkers": 3,
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "defaultDataSourceName": "gateway",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "gateway",
                "configuration": source,
            }
        ],
    }
    text = (
        "console.time('scriptToView');\n"  # ended by OHIF, begun by its own page
        f"window.PUBLIC_URL = {_json(base)};\n"
        f"window.PUBLIC_LIB_URL = {_json(_file_url(request, release.name, '') + '${component}/')};\n"
        "window.browserImportFunction = (name) => import(name);\n"
        f"window.config = {_json(config)};\n"
    )
    headers = {**_ISOLATED, "Cache-Control": "no-cache"}
    return web.Response(text=text, content_type="text/javascript", charset="utf-8", headers=headers)


async def file(request: web.Request) -> web.StreamResponse:
    """A file of a release, which never changes under its name."""
    name = request.match_info["path"]
    path = await request.app[VIEWER].file(request, request.match_info["release"], name)
    kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
    if path is None:
        raise NotFound(f"the installed viewer has no file {name}")
    headers = {**_ISOLATED, "Content-Type": kind, "Cache-Control": _FOR_EVER}
    if kind == _TYPES[".js"]:
        headers["Content-Security-Policy"] = _WORKER_POLICY
    return web.FileResponse(path, headers=headers)


async def _installed(request: web.Request) -> Release:
    release = await request.app[VIEWER].release(request)
    if release is None:
        raise NotFound("OHIF is not installed here: `dicom-gateway install-ohif` does that")
    return release


async def study_url(request: web.Request) -> ObjectUrl | None:
    """The URL that shows a study, without the UID at its end; None if no viewer is installed."""
    if await request.app[VIEWER].release(request) is None:
        return None
    query = f"viewer?{urlencode({'StudyInstanceUIDs': ''})}"
    plain, of_patient = (path_template(request, name + "ohif") for name in ("", PATIENT))
    return ObjectUrl(plain + query, of_patient + query)


def _of_patient(request: web.Request, name: str) -> str:
    """The path of a named resource, in the root of the patient for the viewer of one patient."""
    patient = request.match_info.get("patient")
    return path_template(request, name) if patient is None else path_to(request, PATIENT + name, patient=patient)


def _file_url(request: web.Request, release: str, name: str) -> str:
    return path_to(request, "ohif-file", release=release, path=name)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_PAGES: Final = ("text/html",)
ANY_PAGE = (Route("GET", "/{page:.+}", page, "view", answers=_PAGES, errors=(404,), name="ohif-page", action=""),)
"""Any other path of the viewer; must be the last route."""
_OF_ROOT: Final = (
    Route("GET", "/", page, "view", answers=_PAGES, errors=(404,), name="ohif", action=""),
    Route(
        "GET",
        "/app-config.js",
        configuration,
        "view",
        answers=("text/javascript",),
        errors=(404,),
        name="ohif-config",
        action="",
    ),
)
"""What every root of the viewer has: the one for all, and those of single patients."""
ROUTES = (
    Route("GET", "/ohif", to_page, "view", leads_on=True, action=""),
    *[replace(route, path="/ohif" + route.path) for route in _OF_ROOT],
    Route(
        "GET",
        "/ohif/files/{release}/{path:.+}",
        file,
        "view",
        answers=("*/*",),
        errors=(404,),
        name="ohif-file",
        action="",
    ),
)
ROUTES_OF_PATIENT = (*_OF_ROOT, *ANY_PAGE)
"""The routes for one patient, below the root of the patient."""
