"""`/ohif/`: the page that loads the viewer, its configuration, and the files of the release in place.

The page and the configuration are made here for each request, so that they name this gateway under whatever path it
is reached. Which files there are is in `release.py`; what was changed in them in `adapt.py`.
"""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.errors import NotFound
from gateway.web.context import CONTEXT
from gateway.web.ohif.release import Release, find_release, viewer_folder
from gateway.web.ui.environment import ENVIRONMENT
from gateway.web.urls import path_template, path_to

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
"""The same on every machine, whatever its own table says; without the right one, browsers refuse modules and wasm."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
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
"""What a script may do where it runs as a worker, which has no page to be tricked into something: its codecs compile
functions from strings. For scripts in the page, the page's policy holds."""
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Embedder-Policy": "require-corp",  # with COOP: shared memory between its workers
}
_FOR_EVER = "private, max-age=31536000, immutable"


class Viewer:
    """Looks which release is in place, and remembers its list of files."""

    def __init__(self) -> None:
        self._release: Release | None = None

    async def release(self, request: web.Request) -> Release | None:
        """What is installed now; None: nothing."""
        folder = viewer_folder(request.app[CONTEXT].settings())
        self._release = await asyncio.to_thread(find_release, folder, self._release)
        return self._release

    async def file(self, request: web.Request, release: str, name: str) -> Path | None:
        """A file of the release of that name; None: that is not in place, or has none such."""
        known = self._release
        if known is None or known.name != release:
            known = await self.release(request)
        return known.files.get(name) if known is not None and known.name == release else None


VIEWER: web.AppKey[Viewer] = web.AppKey("viewer", Viewer)


async def page(request: web.Request) -> web.Response:
    """The viewer's only page, for whatever path of its own it shows."""
    path = request.match_info.get("page", "")
    if Path(path).suffix in _TYPES:
        raise NotFound(f"there is no {path} here")  # a page instead of a script would only confuse
    release = await _installed(request)
    files = functools.partial(_file_url, request, release.name)
    text = (
        request.app[ENVIRONMENT]
        .get_template("ohif.html")
        .render(
            config_url=path_template(request, "ohif-config"),
            icon=files("assets/favicon.ico"),
            scripts=[files(name) for name in release.entry.scripts],
            styles=[files(name) for name in release.entry.styles],
        )
    )
    return web.Response(text=text, content_type="text/html", headers={**_HEADERS, "Cache-Control": "no-cache"})


async def to_page(request: web.Request) -> web.StreamResponse:
    """The way to the viewer."""
    """Lead to the viewer."""
    raise web.HTTPFound(path_template(request, "ohif"))


async def configuration(request: web.Request) -> web.Response:
    """The script that OHIF is configured by: `window.config`, and where it stands."""
    release = await _installed(request)
    base = path_template(request, "ohif")
    root = path_template(request, "dicomweb").rstrip("/")
    source = {
        "friendlyName": "DICOM Gateway",
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": path_template(request, "wado-uri"),
        "qidoSupportsIncludeField": True,
        "supportsFuzzyMatching": False,  # the list filters again what it gets, letter by letter
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
        "routerBasename": base.rstrip("/"),
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
        "console.time('scriptToView');\n"  # which OHIF ends, and its own page begins
        f"window.PUBLIC_URL = {_json(base)};\n"
        f"window.PUBLIC_LIB_URL = {_json(_file_url(request, release.name, '') + '${component}/')};\n"
        "window.browserImportFunction = (name) => import(name);\n"
        f"window.config = {_json(config)};\n"
    )
    headers = {**_HEADERS, "Cache-Control": "no-cache"}
    return web.Response(text=text, content_type="text/javascript", charset="utf-8", headers=headers)


async def file(request: web.Request) -> web.StreamResponse:
    """A file of a release, which never changes under its name."""
    name = request.match_info["path"]
    path = await request.app[VIEWER].file(request, request.match_info["release"], name)
    kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
    if path is None:
        raise NotFound(f"the viewer that is installed has no file {name}")
    headers = {**_HEADERS, "Content-Type": kind, "Cache-Control": _FOR_EVER}
    if kind == _TYPES[".js"]:
        headers["Content-Security-Policy"] = _WORKER_POLICY
    return web.FileResponse(path, headers=headers)


async def _installed(request: web.Request) -> Release:
    release = await request.app[VIEWER].release(request)
    if release is None:
        raise NotFound("OHIF is not installed here: `dicom-gateway install-ohif` does that")
    return release


async def study_url(request: web.Request) -> str | None:
    """The URL that shows a study, but for its UID at the end; None where no viewer is installed."""
    if await request.app[VIEWER].release(request) is None:
        return None
    return f"{path_to(request, 'ohif-page', page='viewer')}?{urlencode({'StudyInstanceUIDs': ''})}"


def _file_url(request: web.Request, release: str, name: str) -> str:
    return path_to(request, "ohif-file", release=release, path=name)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
