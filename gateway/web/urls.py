"""Absolute URLs to resources of ours, by the names that `routes.py` gives them. No URL is spelled out here."""

from __future__ import annotations

from aiohttp import web


def url_template(request: web.Request, name: str) -> str:
    """The absolute URL of a named resource as a format string with its path parameters: `…/studies/{study}`.

    Scheme and host are those that the client used. Host has been checked, and braces cannot be in it.
    """
    return f"{request.scheme}://{request.host}{request.app.router[name].canonical}"
