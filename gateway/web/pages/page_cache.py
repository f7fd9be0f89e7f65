"""Whole pages that are looked at again and again, cached as they are sent.

They stand in the cache of the REST API's answers and are valid as those are: while nothing is committed. What a page
shows besides rows is in its key: who reads it and from where, the address, the language and the columns that were
chosen, the token of its forms, the day, and the settings in force. The little that is in neither, such as a viewer that
somebody installs, is seen when the page expires.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.config import Settings
from gateway.web.authentication import EMERGENCY
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.pages.columns import chosen_columns
from gateway.web.pages.wording import reader_words
from gateway.web.rest.answer_cache import AnswerCache, CachedAnswer
from gateway.web.security import PAGE
from gateway.web.sessions import csrf_token
from gateway.web.urls import PREFIX

_EXPIRY_S: Final = 10.0
"""Seconds for which a page is cached at most."""
_MAX_ADDRESS_LENGTH: Final = 1000
"""Characters of the path and query of a page that is cached: a key costs memory that nobody counts."""


class PageCache:
    """Pages of HTML, by everything that they depend on besides the rows of the database."""

    def __init__(self, answers: AnswerCache) -> None:
        self._answers = answers
        self._settings: Settings | None = None
        self._generation = 0

    async def answer(self, request: web.Request, make: Callable[[], Awaitable[web.Response]]) -> web.Response:
        """Answer with the cached page, or else with the one that `make` makes."""
        # The version is read before the rows: what is committed meanwhile makes the page invalid.
        version, key = self._answers.version(), self._key(request)
        (text,) = self._answers.answers([key], version)
        if text is not None:
            return web.Response(body=text, content_type="text/html", charset="utf-8", headers=PAGE)
        made = await make()
        if isinstance(made.body, bytes) and made.status == 200 and len(request.path_qs) <= _MAX_ADDRESS_LENGTH:
            self._answers.put(key, CachedAnswer(made.body, version, time.time() + _EXPIRY_S))
        return made

    def _key(self, request: web.Request) -> Hashable:
        settings = request.app[CONTEXT].settings()
        if settings is not self._settings and settings != self._settings:
            self._settings = settings
            self._generation += 1
        return (
            *("page", self._generation, datetime.date.today()),
            *(request.path_qs, request.get(PREFIX, ""), request.scheme, request.host, request.remote),
            *(request.get(PRINCIPAL, ANYBODY), request.get(EMERGENCY), csrf_token(request)),
            *(reader_words(request).language, chosen_columns(request)),
        )


PAGES: web.AppKey[PageCache] = web.AppKey("pages", PageCache)
