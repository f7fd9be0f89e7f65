"""What the reader of a page may see of the archive, where the page itself is about something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.database.view import seeing
from gateway.dicom.levels import Level
from gateway.web.authorization import PRINCIPAL, view_by
from gateway.web.urls import path_template, path_to


@contextmanager
def as_viewer(request: web.Request) -> Iterator[None]:
    """Read the index as the reader's roles with the permission `view` show it, whatever the route needs."""
    who = request.get(PRINCIPAL, ANYBODY)
    if who is ANYBODY:
        yield
        return
    with seeing(view_by(who, ("view",))):
        yield


def may(request: web.Request, *permissions: str, level: Level = "study") -> bool:
    """Whether the reader has one of the permissions for resources of a level, of some studies at least."""
    return bool(request.get(PRINCIPAL, ANYBODY).granting(permissions, level))


def page_path(request: web.Request, name: str) -> str:
    """The path of a page as a format string with its parameters; '' if there is no such page."""
    return path_template(request, name) if name in request.app.router.named_resources() else ""


def page_of(request: web.Request, name: str, public_id: str) -> str:
    """The path of the page of a resource by its public id; '' if there is no such page."""
    if name not in request.app.router.named_resources():
        return ""
    return path_to(request, name, id=public_id)
