"""The columns of the list of studies: which there are, and which the reader has chosen, kept in a cookie."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.web.inputs import read_form
from gateway.web.route import SIGNED_IN, Route
from gateway.web.sessions import check_origin, cookie_of, set_cookie
from gateway.web.urls import local_page

_COOKIE: Final = "dicom-gateway-columns"
"""Name of the cookie with the names of the columns, in their order."""
_YEAR_S: Final = 365 * 24 * 3600
_SEPARATOR: Final = "."

COLUMNS: Final = {
    "patient": "name",
    "patient_id": "patient-id",
    "birth_date": "birth-date",
    "description": "description",
    "date": "date",
    "modality": "modality",
    "accession": "accession",
    "labels": "labels",
    "source": "source",
    "series": "series",
    "instances": "instances",
    "size": "size",
    "received": "received",
}
"""Every column, and the order that its head gives."""
DEFAULT: Final = (
    "patient",
    "description",
    "date",
    "modality",
    "accession",
    "labels",
    "series",
    "instances",
    "received",
)


def chosen_columns(request: web.Request) -> tuple[str, ...]:
    """The columns that the reader wants, in order. That of patients is always the first."""
    names = [each for each in cookie_of(request, _COOKIE).split(_SEPARATOR) if each in COLUMNS]
    return tuple(dict.fromkeys(["patient", *names])) if names else DEFAULT


async def choose(request: web.Request) -> web.Response:
    """Show other columns in the list of studies, or in another order, and lead back to the page of the form."""
    check_origin(request)
    form = await read_form(request)
    names = [each for each in COLUMNS if each in form]
    order = {name: place for place, name in enumerate(form.get("order", "").split(_SEPARATOR))}
    names.sort(key=lambda name: order.get(name, len(order)))
    move, _, moved = form.get("move", "").partition(_SEPARATOR)
    if moved in names:
        place = names.index(moved) + (-1 if move == "forward" else 1)
        names.remove(moved)
        names.insert(max(place, 0), moved)
    answer = web.Response(status=303, headers={"Location": local_page(request, form.get("next", ""))})
    if form.get("reset"):
        set_cookie(request, answer, _COOKIE, "", 0)
    else:
        set_cookie(request, answer, _COOKIE, _SEPARATOR.join(names), _YEAR_S)
    return answer


ROUTES = (
    Route(
        *("POST", "/ui/columns", choose, SIGNED_IN),
        body=("application/x-www-form-urlencoded",),
        errors=(403,),
        leads_on=True,
        name="columns",
        action="",
    ),
)
