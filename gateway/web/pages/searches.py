"""Saved searches of the page of studies: of a user in the database; without a user the browser has them itself.

`static/saved.js` saves and forgets them; the page shows them as links.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.access.saved_searches import (
    MAX_NAME_LENGTH,
    MAX_QUERY_LENGTH,
    SavedSearch,
    forget_search,
    save_search,
    saved_searches,
)
from gateway.errors import BadRequest
from gateway.web.accept import JSON
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_object
from gateway.web.route import SIGNED_IN, Parameter, Route
from gateway.web.schemas import members
from gateway.web.sessions import Forbidden


async def searches_of(request: web.Request) -> list[SavedSearch] | None:
    """The saved searches of the reader; None for a reader who is no known user."""
    user = _user(request)
    return await saved_searches(request.app[CONTEXT].database, user) if user else None


async def save(request: web.Request) -> web.Response:
    """Save a search of the user who is signed in, in place of one of the same name. The oldest goes for the 31st."""
    user, body = _known_user(request), await read_object(request)
    name, query = body.get("Name"), body.get("Query")
    if not isinstance(name, str) or not isinstance(query, str):
        raise BadRequest("a search has a Name and a Query, both texts")
    await save_search(request.app[CONTEXT].database, user, SavedSearch(name.strip(), query))
    return web.Response(status=204)


async def forget(request: web.Request) -> web.Response:
    """Remove a saved search of the user who is signed in."""
    name = request.query.get("name", "")
    await forget_search(request.app[CONTEXT].database, _known_user(request), name)
    return web.Response(status=204)


def _user(request: web.Request) -> str:
    """The name of the reader; empty for somebody whose name need not be known, or who has come by a link or a token."""
    who = request.get(PRINCIPAL, ANYBODY)
    return who.name if who.is_person else ""


def _known_user(request: web.Request) -> str:
    user = _user(request)
    if not user:
        raise Forbidden("searches are saved for users who have signed in")
    return user


_SEARCH: Final = members(
    "Name",
    "Query",
    Name={"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    Query={"type": "string", "minLength": 1, "maxLength": MAX_QUERY_LENGTH},
)
ROUTES = (
    Route(
        *("PUT", "/ui/searches", save, SIGNED_IN),
        takes=_SEARCH,
        body=(JSON,),
        errors=(403,),
        name="searches",
        action="",
    ),
    Route(
        *("DELETE", "/ui/searches", forget, SIGNED_IN),
        (Parameter("name", "Name of the search", example="mine", required=True),),
        errors=(403, 404),
        action="",
    ),
)
