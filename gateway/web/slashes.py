"""Paths with extra slashes: `/dicom-web/studies/` and `/dicom-web//studies` are answered as `/dicom-web/studies`.

Clients join URLs from a root that ends with a slash, or end every path with one. Such paths are answered and not
redirected, since many clients do not follow a redirect of a POST.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from aiohttp import web
from yarl import URL

_SLASHES: Final = re.compile("/{2,}")


class ExtraSlashes(web.AbstractResource):
    """Resolves a path without its extra slashes, when no resource has the path itself. Add it to the router last."""

    def __init__(self, router: web.UrlDispatcher) -> None:
        super().__init__()
        self._router = router

    @property
    def canonical(self) -> str:
        """The prefix under which the router indexes it: that of every path."""
        return "/"

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """The match of the normalized path, and the methods of its resources if the request's is not among them."""
        path = request.rel_url.raw_path
        tidied = _SLASHES.sub("/", path).rstrip("/") or "/"
        if tidied == path:
            return None, set()
        found = await self._router.resolve(request.clone(rel_url=URL.build(path=tidied, encoded=True)))
        if isinstance(found.http_exception, web.HTTPMethodNotAllowed):
            return None, set(found.http_exception.allowed_methods)
        return (found, set()) if found.http_exception is None else (None, set())

    def add_prefix(self, prefix: str) -> None:
        raise NotImplementedError("the prefix is in the paths already")

    def get_info(self) -> Any:
        return {}

    def raw_match(self, path: str) -> bool:
        return False

    def url_for(self, **kwargs: str) -> URL:
        raise NotImplementedError("it has no path of its own")

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(())
