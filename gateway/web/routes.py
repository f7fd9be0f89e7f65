"""Every route of the gateway, added to the router: the tables of the handler files, each under its root.

No other file adds one, and URLs are spelled only in the tables; `urls.py` uses the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from aiohttp import web

from gateway.web import health, openapi
from gateway.web.dicomweb import bulkdata, capabilities, frames, metadata, qido, rendered, stow, uri, wado
from gateway.web.pages import (
    account,
    annotation_forms,
    assets,
    association,
    audit,
    change_forms,
    columns,
    configuration,
    deposit,
    documents,
    inbox,
    instance,
    instance_pictures,
    language,
    live,
    now,
    page,
    patients,
    query,
    reports,
    resource_forms,
    routing,
    searches,
    send,
    series,
    sign_in,
    study,
    study_share,
)
from gateway.web.pages import jobs as jobs_page
from gateway.web.pages import modalities as modalities_page
from gateway.web.pages import rules as rules_page
from gateway.web.pages import upload as upload_page
from gateway.web.pages import users as users_page
from gateway.web.pages import worklist as worklist_page
from gateway.web.rest import (
    anonymize,
    archives,
    arrays,
    attachments,
    audit_logs,
    bulk,
    changes,
    commitments,
    controls,
    create,
    deliveries,
    dimse,
    exports,
    find,
    finding,
    instance_content,
    instance_files,
    instance_tags,
    instances,
    jobs,
    labels,
    modalities,
    modify,
    mpps,
    peers,
    pictures,
    plugins,
    queries,
    reconstruct,
    regroup,
    removal,
    resource_metadata,
    resources,
    system,
    tenants,
    tokens,
    tools,
    users,
    worklists,
)
from gateway.web.route import BY_RESOURCE, PATIENT_ROOT, SERVED, SIGNED_IN, TENANT_ROOT, Area, Route, default_action
from gateway.web.slashes import ExtraSlashes
from gateway.web.urls import PATIENT, TENANT
from gateway.web.viewer import viewer

OPEN = frozenset({"/livez", "/readyz"})
"""Paths answered without Host check and password, with and without the prefix, for orchestrators. The answers contain
no patient data."""

_DICOMWEB: Final = (
    *(frames.ROUTES, rendered.ROUTES, wado.ROUTES, qido.ROUTES, metadata.ROUTES, bulkdata.ROUTES, stow.ROUTES),
    removal.DICOMWEB_ROUTES,
)
_FIRST: Final = ("frames", "rendered", "instance", "studies")
"""aiohttp tries paths with the same beginning one after the other: the most frequent requests of viewers come first."""
_MANAGEMENT: Final = (
    *(resources.ROUTES, instance_tags.ROUTES),  # First, as of viewers: what scripts ask for most.
    *(system.ROUTES, changes.ROUTES, instances.ROUTES, modify.ROUTES, anonymize.ROUTES, removal.ROUTES, jobs.ROUTES),
    *(deliveries.ROUTES, worklists.ROUTES, mpps.ROUTES, modalities.ROUTES),
    *(create.ROUTES, reconstruct.ROUTES, regroup.ROUTES),
    *(dimse.ROUTES, queries.ROUTES, finding.ROUTES, commitments.ROUTES, peers.ROUTES),
    *(
        archives.ROUTES,
        audit_logs.ROUTES,
        bulk.ROUTES,
        find.ROUTES,
        tools.ROUTES,
        controls.ROUTES,
        exports.ROUTES,
        plugins.ROUTES,
        labels.ROUTES,
        resource_metadata.ROUTES,
        instance_files.ROUTES,
        attachments.ROUTES,
        pictures.ROUTES,
        arrays.ROUTES,
        instance_content.ROUTES,
        users.ROUTES,
        tokens.ROUTES,
        tenants.ROUTES,
    ),
)
_PAGES: Final = (
    sign_in.ROUTES,
    account.ROUTES,
    users_page.ROUTES,
    language.ROUTES,
    page.ROUTES,
    columns.ROUTES,
    searches.ROUTES,
    patients.ROUTES,
    study.ROUTES,
    change_forms.ROUTES,
    annotation_forms.ROUTES,
    study_share.ROUTES,
    live.ROUTES,
    reports.ROUTES,
    now.ROUTES,
    routing.ROUTES,
    query.ROUTES,
    send.ROUTES,
    upload_page.ROUTES,
    deposit.ROUTES,
    inbox.ROUTES,
    jobs_page.ROUTES,
    modalities_page.ROUTES,
    association.ROUTES,
    rules_page.ROUTES,
    configuration.ROUTES,
    worklist_page.ROUTES,
    audit.ROUTES,
    series.ROUTES,
    instance.ROUTES,
    documents.ROUTES,
    instance_pictures.ROUTES,
    resource_forms.ROUTES,
    assets.ROUTES,
    viewer.ROUTES,
)


@cache
def declared() -> tuple[Route, ...]:
    """Every route, in the order in which the router tries them, without the prefix."""
    return tuple(_declared())


def _declared() -> Iterator[Route]:
    yield from _under("", "Health", health.ROUTES)
    yield from _under("", "Management", openapi.ROUTES)
    yield from _under("/dicom-web", "DICOMweb", capabilities.ROUTES)
    dicomweb = sorted(
        (route for table in _DICOMWEB for route in table),
        key=lambda route: _FIRST.index(route.name) if route.name in _FIRST else len(_FIRST),
    )
    # All of it again for one patient alone, for UIDs that several patients share, and for one tenant alone.
    for root, name in (
        ("", ""),
        (PATIENT_ROOT, PATIENT),
        (TENANT_ROOT, TENANT),
        (TENANT_ROOT + PATIENT_ROOT, TENANT + PATIENT),
    ):
        yield from _under("/dicom-web" + root, "DICOMweb", dicomweb, name)
        yield from _under("/dicom-web" + root if root else "", "DICOMweb", uri.ROUTES, name)
    for table in _MANAGEMENT:
        yield from _under("", "Management", table)
    for table in _PAGES:
        yield from _under("", "Pages", table)
    yield from _under("/ohif" + PATIENT_ROOT, "Pages", viewer.ROUTES_OF_PATIENT, PATIENT)
    yield from _under("/ohif", "Pages", viewer.ANY_PAGE)


def add_routes(app: web.Application, prefix: str) -> None:
    """Add every resource under `prefix`, which is empty or that of `http.prefix`."""
    routes = list(_under(prefix, None, declared()))
    if prefix:
        routes += [route for route in declared() if route.path in OPEN]
        routes.append(Route("GET", prefix, page.to_home, SIGNED_IN, leads_on=True, area="Pages"))
    served = []
    for route in routes:
        if route.method == "GET":
            added = app.router.add_get(route.path, route.handler, name=route.name)  # and HEAD
        else:
            added = app.router.add_route(route.method, route.path, route.handler, name=route.name)
        assert added.resource is not None
        known = replace(route, path=added.resource.canonical)
        served.append(replace(known, action=default_action(known) if known.action is None else known.action))
    app[SERVED] = tuple(served)
    by_resource: dict[tuple[str, str], Route] = {(route.method, route.path): route for route in served}
    app[BY_RESOURCE] = by_resource
    app.router.register_resource(ExtraSlashes(app.router))


def _under(root: str, area: Area | None, table: Iterable[Route], name: str = "") -> Iterator[Route]:
    """The routes of a table below a root, with `name` before their names; None leaves each area unchanged."""
    for route in table:
        yield replace(
            route,
            path=root + route.path,
            area=area or route.area,
            name=None if route.name is None else name + route.name,
        )
