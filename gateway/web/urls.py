"""URLs of the gateway's resources, by the names that `routes.py` assigns. No URL is spelled out here.

They use the scheme, host and path of the client's request, which proxies may have changed
(`middlewares.as_seen_by_client`).
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

PATIENT: Final = "patient."
"""Prefix of the names of resources that repeat others for one patient alone."""
TENANT: Final = "tenant."
"""Prefix of the names of resources that repeat others for one tenant alone."""
PREFIX = web.RequestKey("prefix", str)
"""The path under which a proxy serves the gateway, of a request."""
_MAX_ADDRESS_LENGTH: Final = 2000
"""Characters of the path and query of a page to go to; with more, it is the first page."""


def url_template(request: web.Request, name: str) -> str:
    """The absolute URL of a named resource as a format string with its path parameters: `…/studies/{study}`. A request
    in the root of a tenant gets URLs in that root.

    The Host was checked, and cannot contain braces.
    """
    tenant, resources = request.match_info.get("tenant"), request.app.router.named_resources()
    if tenant is not None and (of_tenant := resources.get(TENANT + name)) is not None:
        return f"{root_url(request)}{of_tenant.canonical.replace('{tenant}', tenant)}"
    return f"{root_url(request)}{resources[name].canonical}"


class ObjectUrl(NamedTuple):
    """The URL of an object, as format strings of its UIDs: for unique ones, and for those that patients share."""

    plain: str
    of_patient: str
    """URL in the patient's own DICOMweb root: `…/patients/{patient}/studies/{study}`."""

    def of(self, patient: str, **parts: str | int) -> str:
        """The URL; `patient` is the public id of the patient if another has a study of the same UID, else ''."""
        return (self.of_patient if patient else self.plain).format(patient=patient, **parts)


def object_url(request: web.Request, name: str) -> ObjectUrl:
    """The URL of a named resource. A request in a patient's root gets URLs in that root."""
    of_patient = url_template(request, PATIENT + name)
    patient = request.match_info.get("patient")
    plain = url_template(request, name) if patient is None else of_patient.replace("{patient}", patient)
    return ObjectUrl(plain, of_patient)


def root_url(request: web.Request) -> str:
    """The URL before the paths of the router."""
    return f"{request.scheme}://{request.host}{request.get(PREFIX, '')}"


def path_template(request: web.Request, name: str) -> str:
    """The path of a named resource as a format string, without scheme and host, for the gateway's pages."""
    return f"{request.get(PREFIX, '')}{request.app.router[name].canonical}"


def path_to(request: web.Request, name: str, **parts: str) -> str:
    """The path of a named resource, with quoted parameters."""
    return f"{request.get(PREFIX, '')}{request.app.router[name].url_for(**parts)}"


def page_address(request: web.Request) -> str:
    """The path and query of a page, to come back to."""
    return f"{request.get(PREFIX, '')}{request.rel_url}"


def local_page(request: web.Request, page: str) -> str:
    """A path of the gateway; the first page for anything else: nobody is led elsewhere from here."""
    home = path_template(request, "home")
    if not page.startswith(request.get(PREFIX, "") + "/") or page[1:2] in ("/", "\\") or not page.isprintable():
        return home
    try:
        parts = urlsplit(page)
    except ValueError:
        return home
    strange = parts.scheme or parts.netloc or "\\" in page or " " in page or len(page) > _MAX_ADDRESS_LENGTH
    return home if strange or not page.isascii() else page
