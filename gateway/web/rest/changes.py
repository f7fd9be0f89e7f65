"""GET /changes: the change log, in Orthanc's shape."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.errors import BadRequest
from gateway.events.changes import KINDS, last_change, read_changes
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_text, number, text_answer
from gateway.web.rest.change_texts import CHANGES, entries
from gateway.web.route import COUNT, FLAG, TEXT, Parameter, Route

_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 1000
_ALL: Final = "all"


async def changes(request: web.Request) -> web.Response:
    """The change log after `since`, or the `last` change alone. A parameter that is not a number is ignored.

    `type` names the kinds wanted, separated by semicolons. With `to` and no `since` these are the last changes up to
    that one, still oldest first: `First` less one is the next `to`, as `Last` is the next `since`.
    """
    database = request.app[CONTEXT].database
    since, to = number(request, "since", 0), number(request, "to", 0) or None
    limit = min(number(request, "limit", 0) or _DEFAULT_LIMIT, _MAX_LIMIT)
    kinds = _kinds(request.query.get("type", ""))
    if "last" in request.query:
        page = await read_changes(database, to=await last_change(database), limit=1, kinds=kinds)
        found, is_last = entries(page.changes), True
    elif kinds or to is not None:
        page = await read_changes(database, since=since, to=to, limit=limit, kinds=kinds)
        found, is_last = entries(page.changes), page.is_last
    else:
        found, is_last = await request.app[CHANGES].after(since, limit)
    first = {"First": found.seqs[0]} if found.seqs else {}
    last = found.seqs[-1] if found.seqs else await last_change(database)
    text = json_text({"Changes": [], "Done": is_last, **first, "Last": last})
    if found.seqs:
        text = text.replace(b"[]", b"[%b\n   ]" % b",".join(found.texts), 1)
    return text_answer(text)


async def delete_changes(request: web.Request) -> web.Response:
    """Refuse to clear the change log: examinations, live pages and what becomes stable are read off it."""
    return error_answer(
        request, 403, "the change log is not cleared: parts of the gateway, and other readers, follow it"
    )


def _kinds(text: str) -> list[str]:
    """The kinds of changes that `type` names; none for all. Raises BadRequest."""
    wanted = dict.fromkeys(name for name in text.split(";") if name)
    if _ALL in wanted:
        return []
    for name in wanted:
        if name not in KINDS:
            raise BadRequest(f"type: {name[:40]!r} is none of {', '.join(KINDS)}")
    return list(wanted)


ROUTES = (
    Route(
        "GET",
        "/changes",
        changes,
        "view",
        (
            Parameter("since", "Sequence number to go on after", COUNT, "0"),
            Parameter("to", "Sequence number of the last one wanted", COUNT, "1000"),
            Parameter("limit", "Most changes", COUNT, "10"),
            Parameter("type", "Kinds of changes, separated by semicolons", TEXT, "StableStudy;NewStudy"),
            Parameter("last", "The newest alone", FLAG),
        ),
    ),
    Route("DELETE", "/changes", delete_changes, "settings", answers=(), errors=(403,)),
)
