"""The page of jobs: what people have asked for and the gateway does meanwhile, newest first, with its progress.

Everything works without scripts; `static/jobs.js` keeps it fresh, here and on other pages that show jobs.
"""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import urlencode

from aiohttp import web

from gateway.errors import BadRequest
from gateway.jobs.table import Job, State, get_job, list_reporting_jobs
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form, whole_number
from gateway.web.pages.frame import page_answer
from gateway.web.pages.job_rows import OPEN, job_row
from gateway.web.pages.wording import reader_words
from gateway.web.rest.answers import number
from gateway.web.rest.jobs import JOB_ACTIONS, act_on
from gateway.web.route import COUNT, OF_JOBS, Parameter, Route, one_of
from gateway.web.sessions import check_form
from gateway.web.urls import path_template

_SHOWN: Final = 50
MAX_IDS: Final = 100
"""Jobs that one page shows by their numbers."""
STATES: Final[tuple[State, ...]] = ("running", "waiting", "held", "done", "failed", "cancelled")


async def jobs(request: web.Request) -> web.Response:
    """The page of jobs."""
    return page_answer(request, "jobs.html", await _values(request))


async def rows(request: web.Request) -> web.Response:
    """The rows of the page of jobs alone, for an open page. The query is that of the page."""
    return page_answer(request, "job_rows.html", await _values(request))


async def act(request: web.Request) -> web.StreamResponse:
    """Perform the action of a button on a job, and lead back to the page."""
    form = await read_form(request)
    check_form(request, form)
    what = form.get("what", "")
    if what not in JOB_ACTIONS:
        raise BadRequest(f"there is no action {what[:40]!r}")
    page, said = path_template(request, "jobs-page"), ""
    try:
        await act_on(request, form.get("id", ""), what)
    except BadRequest:
        said = "late"  # Its state has changed since the page was shown.
    back = [(name, form[name]) for name in ("state", "before") if form.get(name)]
    back += [("id", each) for each in form.get("ids", "").split(",")[:MAX_IDS] if each]
    back += [("said", said)] if said else []
    raise web.HTTPSeeOther(f"{page}?{urlencode(back)}" if back else page)


async def _values(request: web.Request) -> dict[str, Any]:
    t, query = reader_words(request), request.query
    ids = [each for each in query.getall("id", [])[:MAX_IDS] if whole_number(each) is not None]
    state = query.get("state", "")
    state = state if state in STATES else ""
    found, older = await _by_id(request, ids) if ids else await _page(request, cast(State, state))
    shown = [await job_row(request, t, each) for each in found]
    page = path_template(request, "jobs-page")
    asked = [("id", each) for each in ids] or [
        (name, query[name][:20]) for name in ("state", "before") if query.get(name)
    ]
    return {
        "act_url": page,
        "ids": ids,
        "is_late": query.get("said") == "late",
        "jobs": shown,
        "older_url": f"{page}?{urlencode({'state': state, 'before': older})}" if older else "",
        "open_count": sum(each.job.state in OPEN for each in shown),
        "page": page,
        "rows_url": f"{path_template(request, 'jobs-rows')}?{urlencode(asked)}",
        "before": query.get("before", "") if not ids else "",
        "state": state,
        "states": STATES,
    }


async def _by_id(request: web.Request, ids: list[str]) -> tuple[list[Job], int]:
    database = request.app[CONTEXT].database
    found = [await get_job(database, int(each)) for each in dict.fromkeys(ids)]
    return [each for each in found if each is not None], 0


async def _page(request: web.Request, state: State) -> tuple[list[Job], int]:
    """A page, and the number at which the next one begins; 0 on the last."""
    before = number(request, "before", 2**62)
    found = await list_reporting_jobs(
        request.app[CONTEXT].database, state=state, before=min(before, 2**62), limit=_SHOWN + 1
    )
    return found[:_SHOWN], found[_SHOWN - 1].id if len(found) > _SHOWN else 0


_QUERY: Final = (
    Parameter("id", "Number of a job; may be repeated", COUNT),
    Parameter("state", "Only jobs in this state", one_of(*STATES), "failed"),
    Parameter("before", "Only jobs before this one", COUNT, "1000"),
    Parameter("said", "What the page says first: that a button came too late", one_of("late"), "late"),
)
ROUTES: Final = (
    Route("GET", "/ui/jobs", jobs, OF_JOBS, _QUERY, answers=("text/html",), name="jobs-page"),
    Route("GET", "/ui/jobs/rows", rows, OF_JOBS, _QUERY, answers=("text/html",), name="jobs-rows"),
    Route(
        *("POST", "/ui/jobs", act, OF_JOBS),
        body=("application/x-www-form-urlencoded",),
        errors=(403, 404),
        leads_on=True,
    ),
)
