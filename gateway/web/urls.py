"""URLs to resources of ours, by the names that `routes.py` gives them. No URL is spelled out here.

They are what the client can follow: under the scheme, host and path that it used, which proxies in front of us may have
changed on the way (`middlewares.as_seen_by_client`).
"""

from __future__ import annotations

from aiohttp import web

PREFIX = web.RequestKey("prefix", str)
"""Where a request keeps the path under which a proxy shows us."""


def url_template(request: web.Request, name: str) -> str:
    """The absolute URL of a named resource as a format string with its path parameters: `…/studies/{study}`.

    Host has been checked, and braces cannot be in it.
    """
    return f"{root_url(request)}{request.app.router[name].canonical}"


def root_url(request: web.Request) -> str:
    """Where the paths of the router begin."""
    return f"{request.scheme}://{request.host}{request.get(PREFIX, '')}"


def path_template(request: web.Request, name: str) -> str:
    """The same without scheme and host, for pages of ours."""
    return f"{request.get(PREFIX, '')}{request.app.router[name].canonical}"


def path_to(request: web.Request, name: str, **parts: str) -> str:
    """The path of a named resource, its parameters quoted as they must be."""
    return f"{request.get(PREFIX, '')}{request.app.router[name].url_for(**parts)}"
