"""The page of one association: its negotiation as a matrix, what came of it, and how it ended.

Open associations are there, and the last that ended, over restarts too; older ones are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web
from markupsafe import Markup

from gateway.dicom.uids import TRANSFER_SYNTAXES, name_of
from gateway.errors import NotFound
from gateway.net.association_record import AssociationRecord, ContextRecord
from gateway.net.record_log import stored_record
from gateway.web.context import CONTEXT
from gateway.web.pages.frame import page_answer
from gateway.web.pages.wording import Words, reader_words
from gateway.web.route import Route
from gateway.web.urls import path_template

_RESULTS: Final = {-1: "unanswered", 0: "accepted", 1: "user", 2: "provider", 3: "abstract", 4: "transfer"}
"""Keys of the words for the results of a context (PS3.8 Table 9-18)."""
_MAX_DIGITS: Final = 18
"""Of a number that the database can hold."""


@dataclass(frozen=True, slots=True)
class NegotiatedRow:
    """A row of the matrix: a proposed context."""

    context: ContextRecord
    name: str
    syntaxes: list[tuple[str, bool]]
    """The proposed transfer syntaxes by name, and whether each was chosen."""
    more: int
    """Proposed transfer syntaxes that the record left out."""
    result: str
    why: Markup


async def association(request: web.Request) -> web.Response:
    """The page of an association."""
    number, words = request.match_info["number"], reader_words(request)
    context = request.app[CONTEXT]
    record = next((each for each in context.records() if str(each.number) == number), None)
    if record is None and number.isdecimal() and len(number) <= _MAX_DIGITS:
        record = await stored_record(context.database, int(number))
    if record is None:
        raise NotFound(f"association {number[:20]} is neither open nor among the last that ended")
    values = {
        "modalities_url": path_template(request, "modalities-page"),
        "now_url": path_template(request, "now-page"),
        "record": record,
        "rows": [_row(words, record, each) for each in record.contexts],
    }
    return page_answer(request, "association.html", values)


def _row(t: Words, record: AssociationRecord, context: ContextRecord) -> NegotiatedRow:
    result = _RESULTS.get(context.result, "provider")
    if context.result == -1 and record.outcome == "rejected":
        result = "rejected"
    return NegotiatedRow(
        context,
        name_of(context.abstract_syntax),
        [(_syntax(each), each == context.transfer_syntax) for each in context.transfer_syntaxes],
        context.proposed - len(context.transfer_syntaxes),
        result,
        t("associations.result." + result),
    )


def _syntax(uid: str) -> str:
    known = TRANSFER_SYNTAXES.get(uid)
    return known.name if known is not None else uid


ROUTES = (
    Route(
        *("GET", "/ui/associations/{number}", association, "settings"),
        answers=("text/html",),
        errors=(404,),
        name="association-page",
    ),
)
