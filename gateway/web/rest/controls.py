"""/tools/…: how much is logged, metrics, and the end of the gateway, as far as `[rest]` of the settings lets users.

The settings themselves are never changed over HTTP: what asks for that is refused with the name of the setting.
"""

from __future__ import annotations

import functools
import logging
from typing import Final

from aiohttp import web

from gateway import telemetry
from gateway.errors import BadRequest
from gateway.telemetry import LOG_CATEGORIES, VERBOSITIES
from gateway.web.context import CONTEXT, USER
from gateway.web.errors import error_answer
from gateway.web.health import metrics_answer
from gateway.web.measures import MEASURES
from gateway.web.receiving import small_body
from gateway.web.rest.answers import json_answer
from gateway.web.route import Route

log = logging.getLogger(__name__)


async def get_log_level(_request: web.Request, category: str = "") -> web.Response:
    """How much is logged: `default`, as configured, `verbose` or `trace`."""
    return web.Response(text=telemetry.verbosity(category))


async def put_log_level(request: web.Request, category: str = "") -> web.Response:
    """Log more, or as much as configured again, until the configuration is read or the gateway started again.

    Refused unless `rest.log_level` is set: what is then logged may name patients.
    """
    context = request.app[CONTEXT]
    level = (await _text(request)).strip()
    if not context.settings().rest.log_level:
        return error_answer(request, 403, "the log level is not set over HTTP; rest.log_level = true would allow it")
    if level not in VERBOSITIES:
        raise BadRequest(f"the body is one of {', '.join(VERBOSITIES)}, not {level[:40]!r}")
    context.control.set_verbosity(level, category)
    log.warning("user %s has set the log level%s to %s", _user(request), f" of {category}" * bool(category), level)
    return web.Response(text="")


async def get_metrics(_request: web.Request) -> web.Response:
    """Whether metrics are collected: always (1)."""
    return web.Response(text="1")


async def put_metrics(request: web.Request) -> web.Response:
    """Collect metrics, which is done anyway (1, true). It cannot be ended: monitoring relies on it."""
    if _truth(await _text(request)):
        return web.Response(text="")
    return error_answer(request, 403, "metrics are always collected; nothing has to be paid for them")


async def prometheus(request: web.Request) -> web.Response:
    """Metrics in the text format of Prometheus: those of `/metrics`, and Orthanc's by its names."""
    return await metrics_answer(request, await request.app[MEASURES].orthanc_page())


async def put_unknown_sop_class_accepted(request: web.Request) -> web.Response:
    """Say whether SOP classes are taken that the standard does not name; refused where the settings say otherwise."""
    wanted = _truth(await _text(request))
    if wanted is request.app[CONTEXT].settings().dicom.accept_unknown_sop_classes:
        return web.Response(text="")
    text = f"a setting says this: dicom.accept_unknown_sop_classes = {str(wanted).lower()}"
    return error_answer(request, 403, text)


async def invalidate_tags(_request: web.Request) -> web.Response:
    """Forget attributes that were read from files: what is kept of them goes with its file, so nothing is done."""
    return web.Response(text="")


async def reset(request: web.Request) -> web.Response:
    """Read the configuration again, as SIGHUP does. Refused unless `rest.shutdown` is set."""
    if not request.app[CONTEXT].settings().rest.shutdown:
        return _not_ended(request)
    log.warning("user %s has asked for the configuration to be read again", _user(request))
    request.app[CONTEXT].control.reload()
    return json_answer({})


async def shutdown(request: web.Request) -> web.Response:
    """End the gateway, once what is under way has ended. Refused unless `rest.shutdown` is set."""
    if not request.app[CONTEXT].settings().rest.shutdown:
        return _not_ended(request)
    log.warning("user %s has asked the gateway to stop", _user(request))
    request.app[CONTEXT].control.stop()
    return json_answer({})


def _not_ended(request: web.Request) -> web.Response:
    return error_answer(request, 403, "the gateway is not ended over HTTP; rest.shutdown = true would allow it")


def _user(request: web.Request) -> str:
    return repr(request.get(USER, "")) if USER in request else "(anonymous)"


async def _text(request: web.Request) -> str:
    return (await small_body(request)).decode("utf-8", "replace")


def _truth(text: str) -> bool:
    """The truth value in a body. Raises BadRequest."""
    found = {"1": True, "true": True, "0": False, "false": False}.get(text.strip().lower())
    if found is None:
        raise BadRequest(f"the body is 1, 0, true or false, not {text.strip()[:40]!r}")
    return found


_TEXT: Final = ("text/plain",)
ROUTES = (
    *(
        route
        for category in ("", *LOG_CATEGORIES)
        for route in (
            Route(
                "GET",
                "/tools/log-level" + f"-{category}" * bool(category),
                functools.partial(get_log_level, category=category),
                "settings",
                answers=_TEXT,
            ),
            Route(
                "PUT",
                "/tools/log-level" + f"-{category}" * bool(category),
                functools.partial(put_log_level, category=category),
                "settings",
                body=_TEXT,
                answers=(),
                errors=(403,),
            ),
        )
    ),
    Route("GET", "/tools/metrics", get_metrics, "settings", answers=_TEXT),
    Route("PUT", "/tools/metrics", put_metrics, "settings", body=_TEXT, answers=(), errors=(403,)),
    Route("GET", "/tools/metrics-prometheus", prometheus, "settings", answers=_TEXT),
    Route(
        "PUT",
        "/tools/unknown-sop-class-accepted",
        put_unknown_sop_class_accepted,
        "settings",
        body=_TEXT,
        answers=(),
        errors=(403,),
    ),
    Route("POST", "/tools/invalidate-tags", invalidate_tags, "settings", answers=()),
    Route("POST", "/tools/reset", reset, "settings", errors=(403,)),
    Route("POST", "/tools/shutdown", shutdown, "settings", errors=(403,)),
)
