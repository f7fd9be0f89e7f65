"""Links to a study for others: made by a form of its page, and shown with a QR code."""

from __future__ import annotations

import segno
from aiohttp import web
from markupsafe import Markup

from gateway.errors import BadRequest
from gateway.web.inputs import read_form, whole_number
from gateway.web.pages.study import study_page
from gateway.web.rest.tokens import DAY_S, MAX_DAYS, issue_link
from gateway.web.route import Route
from gateway.web.sessions import check_form


async def share(request: web.Request) -> web.Response:
    """Make a link to a study, which whoever has it may view until its end, and show it with a QR code."""
    form = await read_form(request)
    check_form(request, form)
    public_id, days, uses = request.match_info["id"], whole_number(form.get("days", "")), form.get("uses", "")
    if days is None or not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"a link lasts 1 to {MAX_DAYS} days")
    count = whole_number(uses) if uses else None
    if uses and count is None:
        raise BadRequest("the number of uses is no number")
    made = await issue_link(request, [public_id], label=form.get("name", ""), seconds=days * DAY_S, uses=count)
    shown = {"url": made.url, "code": Markup(_code(made.url)), "ends_at": made.ends_at}
    return await study_page(request, public_id, share=shown)


def _code(text: str) -> str:
    """A QR code as SVG that stands in a page: black on white, with the margin that readers need."""
    code = segno.make(text, error="m", micro=False)
    return code.svg_inline(scale=4, border=4, light="white", omitsize=True)


ROUTES = (
    Route(
        *("POST", "/ui/studies/{id}/share", share, "share"),
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
        errors=(404,),
        name="study-share",
        action="share",
    ),
)
