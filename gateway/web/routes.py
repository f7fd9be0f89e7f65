"""Every URL of the gateway, and the handler behind it. No other file spells one out; names are for `urls.py`."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from gateway.web import health, openapi
from gateway.web.dicomweb import bulkdata, capabilities, frames, metadata, qido, rendered, stow, uri, wado
from gateway.web.ohif import viewer
from gateway.web.rest import anonymize, changes, deliveries, instances, jobs, modify, mpps, removal, system, worklists
from gateway.web.ui import live, page, routing

_STATIC = Path(__file__).with_name("ui") / "static"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN = frozenset({"/livez", "/readyz"})
"""Answered without Host check and password: what an orchestrator asks, without the prefix too. They tell nothing about
patients."""

_STUDIES = "/dicom-web/studies"
_STUDY = _STUDIES + "/{study}"
_ALL_SERIES = _STUDY + "/series"
_SERIES = _ALL_SERIES + "/{series}"
_ALL_INSTANCES = _SERIES + "/instances"
_INSTANCE = _ALL_INSTANCES + "/{instance}"


class _Routes:
    """The router of an application, with a path before every path."""

    def __init__(self, router: web.UrlDispatcher, prefix: str) -> None:
        self._router = router
        self._prefix = prefix

    def add_get(self, path: str, handler: Handler, *, name: str | None = None) -> None:
        self._router.add_get(self._prefix + path, handler, name=name)

    def add_post(self, path: str, handler: Handler, *, name: str | None = None) -> None:
        self._router.add_post(self._prefix + path, handler, name=name)

    def add_put(self, path: str, handler: Handler, *, name: str | None = None) -> None:
        self._router.add_put(self._prefix + path, handler, name=name)

    def add_delete(self, path: str, handler: Handler, *, name: str | None = None) -> None:
        self._router.add_delete(self._prefix + path, handler, name=name)

    def add_route(self, method: str, path: str, handler: Handler, *, name: str | None = None) -> None:
        self._router.add_route(method, self._prefix + path, handler, name=name)

    def add_static(self, path: str, folder: Path, *, name: str) -> None:
        self._router.add_static(self._prefix + path, folder, name=name)


def add_routes(app: web.Application, prefix: str) -> None:
    """Put every resource under `prefix`, which is empty or as `http.prefix` has it.

    The first sentence of a handler's docstring is what people read of it at `/openapi.json`.
    """
    router = _Routes(app.router, prefix)
    router.add_get("/livez", health.livez)
    router.add_get("/readyz", health.readyz)
    if prefix:
        app.router.add_get("/livez", health.livez)
        app.router.add_get("/readyz", health.readyz)
        app.router.add_get(prefix, page.to_home)
    router.add_get("/metrics", health.metrics, name="metrics")
    router.add_get("/openapi.json", openapi.document)

    # PS3.18 §8.9 (capabilities)
    router.add_route("OPTIONS", "/dicom-web", capabilities.capabilities)
    router.add_route("OPTIONS", "/dicom-web/", capabilities.capabilities, name="dicomweb")

    # PS3.18 Table 10.6.1-2 (search) and Table 10.4.1-1 (retrieve)
    study = functools.partial(qido.handle, level="study")
    series = functools.partial(qido.handle, level="series")
    instance = functools.partial(qido.handle, level="instance")
    # aiohttp tries those that begin alike one after the other: what viewers ask for most comes first.
    router.add_get(_INSTANCE + "/frames/{frames}", frames.frames, name="frames")
    router.add_get(_INSTANCE + "/rendered", rendered.instance)
    router.add_get(_INSTANCE, wado.instances, name="instance")
    router.add_get(_STUDIES, study, name="studies")
    router.add_get("/dicom-web/series", series)
    router.add_get("/dicom-web/instances", instance)
    router.add_get(_ALL_SERIES, series)
    router.add_get(_STUDY + "/instances", instance)
    router.add_get(_ALL_INSTANCES, instance)
    router.add_get(_STUDY, wado.instances, name="study")
    router.add_get(_SERIES, wado.instances, name="series")
    router.add_get(_STUDY + "/metadata", metadata.metadata)
    router.add_get(_SERIES + "/metadata", metadata.metadata)
    router.add_get(_INSTANCE + "/metadata", metadata.metadata)
    router.add_get(_STUDY + "/bulkdata", bulkdata.every)
    router.add_get(_SERIES + "/bulkdata", bulkdata.every)
    router.add_get(_INSTANCE + "/bulkdata", bulkdata.every)
    router.add_get(_INSTANCE + "/bulkdata/7FE00010/frames/{frames}", frames.frames, name="bulkdata.frames")
    router.add_get(_INSTANCE + "/bulkdata/{path:.+}", bulkdata.one, name="bulkdata")
    router.add_get(_STUDY + "/pixeldata", bulkdata.pixels)
    router.add_get(_SERIES + "/pixeldata", bulkdata.pixels)
    router.add_get(_INSTANCE + "/pixeldata", bulkdata.pixels)
    router.add_get(_STUDY + "/rendered", rendered.instances)
    router.add_get(_SERIES + "/rendered", rendered.instances)
    router.add_get(_INSTANCE + "/frames/{frames}/rendered", rendered.frames)
    router.add_get(_STUDY + "/thumbnail", rendered.thumbnail)
    router.add_get(_SERIES + "/thumbnail", rendered.thumbnail)
    router.add_get(_INSTANCE + "/thumbnail", rendered.thumbnail)
    router.add_get(_INSTANCE + "/frames/{frames}/thumbnail", rendered.thumbnail)

    # PS3.18 Table 10.5.1-1 (store)
    router.add_post(_STUDIES, stow.store)
    router.add_post(_STUDY, stow.store)
    for path in (_STUDY, _SERIES, _INSTANCE):
        router.add_delete(path, removal.dicomweb)

    # PS3.18 §9
    router.add_get("/wado", uri.uri, name="wado-uri")

    router.add_get("/system", system.system, name="system")
    router.add_get("/statistics", system.statistics)
    router.add_get("/changes", changes.changes)
    router.add_get("/associations", system.associations)

    router.add_post("/instances", instances.upload)
    router.add_post("/patients/{id}/modify", functools.partial(modify.modify, level="patient"))
    router.add_post("/studies/{id}/modify", functools.partial(modify.modify, level="study"))
    router.add_post("/series/{id}/modify", functools.partial(modify.modify, level="series"))
    router.add_post("/instances/{id}/modify", functools.partial(modify.modify, level="instance"))
    router.add_post("/patients/{id}/anonymize", functools.partial(anonymize.anonymize, level="patient"))
    router.add_post("/studies/{id}/anonymize", functools.partial(anonymize.anonymize, level="study"))
    router.add_post("/series/{id}/anonymize", functools.partial(anonymize.anonymize, level="series"))
    router.add_post("/instances/{id}/anonymize", functools.partial(anonymize.anonymize, level="instance"))
    router.add_delete("/patients/{id}", functools.partial(removal.orthanc, level="patient"))
    router.add_delete("/studies/{id}", functools.partial(removal.orthanc, level="study"))
    router.add_delete("/series/{id}", functools.partial(removal.orthanc, level="series"))
    router.add_delete("/instances/{id}", functools.partial(removal.orthanc, level="instance"))

    router.add_get("/jobs", jobs.all_jobs)
    router.add_get("/jobs/{id}", jobs.one)
    router.add_post("/jobs/{id}/cancel", jobs.cancel)
    router.add_post("/jobs/{id}/pause", jobs.pause)
    router.add_post("/jobs/{id}/resume", jobs.resume)
    router.add_post("/jobs/{id}/resubmit", jobs.resubmit)
    router.add_get("/destinations", deliveries.destinations)
    router.add_get("/destinations/{name}", deliveries.destination)
    router.add_get("/destinations/{name}/queue", deliveries.queue)
    router.add_post("/destinations/{name}/hold", deliveries.hold)
    router.add_post("/destinations/{name}/release", deliveries.release)
    router.add_post("/destinations/{name}/prove", deliveries.prove)
    router.add_get("/deliveries", deliveries.all_deliveries)
    router.add_get("/deliveries/rates", deliveries.rates)
    router.add_get("/deliveries/{id}", deliveries.one)
    for action, handler in deliveries.ON_ALL.items():
        router.add_post(f"/deliveries/{action}", handler)
    for action, handler in deliveries.ON_ONE.items():
        router.add_post(f"/deliveries/{{id}}/{action}", handler)
    router.add_get("/trace", deliveries.trace)
    router.add_get("/worklists", worklists.all_items)
    router.add_get("/worklists/", worklists.all_items)
    router.add_post("/worklists/create", worklists.create)
    router.add_get("/worklists/{id}", worklists.one)
    router.add_put("/worklists/{id}", worklists.change)
    router.add_delete("/worklists/{id}", worklists.remove)
    router.add_get("/mpps", mpps.all_steps)
    router.add_get("/mpps/{uid}", mpps.one)
    router.add_delete("/mpps/{uid}", mpps.remove)

    router.add_get("/", page.to_home)
    router.add_get("/ui", page.to_home)
    router.add_get("/ui/", page.studies, name="home")
    router.add_get("/ui/rows", page.rows, name="rows")
    router.add_get("/ui/events", live.events, name="events")
    router.add_get("/ui/routing", routing.routing, name="routing")
    router.add_post("/ui/routing", routing.act, name="routing-act")
    router.add_static("/ui/static", _STATIC, name="static")

    router.add_get("/ohif", viewer.to_page)
    router.add_get("/ohif/", viewer.page, name="ohif")
    router.add_get("/ohif/app-config.js", viewer.configuration, name="ohif-config")
    router.add_get("/ohif/files/{release}/{path:.+}", viewer.file, name="ohif-file")
    router.add_get("/ohif/{page:.+}", viewer.page, name="ohif-page")
