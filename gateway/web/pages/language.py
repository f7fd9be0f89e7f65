"""The choice of the language of the pages, kept in a cookie."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.errors import BadRequest
from gateway.web.inputs import read_form
from gateway.web.pages.wording import COOKIE, LANGUAGES
from gateway.web.route import SIGNED_IN, Route
from gateway.web.sessions import check_origin, set_cookie
from gateway.web.urls import local_page

_YEAR_S: Final = 365 * 24 * 3600


async def choose(request: web.Request) -> web.Response:
    """Show the pages in another language from now on, and lead back to the page of the form."""
    check_origin(request)
    form = await read_form(request)
    language = form.get("language", "")
    if language not in LANGUAGES:
        raise BadRequest(f"the pages do not speak {language[:20]!r}; there are {', '.join(LANGUAGES)}")
    answer = web.Response(status=303, headers={"Location": local_page(request, form.get("next", ""))})
    set_cookie(request, answer, COOKIE, language, _YEAR_S)
    return answer


ROUTES = (
    Route(
        *("POST", "/ui/language", choose, SIGNED_IN),
        body=("application/x-www-form-urlencoded",),
        errors=(403,),
        leads_on=True,
        name="language",
        action="",
    ),
)
