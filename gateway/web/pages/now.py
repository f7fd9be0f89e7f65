"""The page of what happens now: associations, traffic, queues, storage, and what goes wrong, with what to do.

What changes quickly is fetched again every two seconds (`now-live`), the rest every minute. Figures that read many
rows are read once a minute, however many look.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.forwarding.control import DestinationStatus
from gateway.forwarding.table import QUEUE_PREFIX
from gateway.index.summary import statistics
from gateway.index.traffic import Traffic, lately_begins, received_by_study, received_lately, studies_begin
from gateway.jobs import table as jobs
from gateway.net.association_record import AssociationRecord
from gateway.processes.host_clock import host_clock
from gateway.remote.diagnosis import Finding, Value
from gateway.remote.incoming import finding_of
from gateway.web.context import CONTEXT, Context
from gateway.web.pages.findings import FindingWords, in_words
from gateway.web.pages.forecast import Forecast, forecast
from gateway.web.pages.frame import page_answer
from gateway.web.pages.plots import Amount, Plot, plot
from gateway.web.pages.wording import reader_words
from gateway.web.rest.deliveries import DELIVERIES
from gateway.web.route import Route
from gateway.web.urls import path_template

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_DAYS: Final = 30
_READ_EVERY_S: Final = 60.0
_MAX_OPEN: Final = 100
"""Open associations on the page."""
_MAX_TROUBLES: Final = 20
"""Kinds of trouble on the page."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Trouble of one kind with one peer, counted."""

    words: FindingWords
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures that take many rows to read, as of `read_at`."""

    read_at: float
    hour: Plot
    day: Plot
    month: Plot
    sent_day: Plot
    sent_month: Plot
    hour_begins: float
    """The time from which on `hour` has everything; 0 if all of it has."""
    month_begins: float
    """The time from which on `day` and `month` have everything; 0 if all of them have."""
    forecast: Forecast


class FiguresReader:
    """The figures of one process, read again when they are a minute old, by one request at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._figures: Figures | None = None

    async def figures(self, deliveries: Any) -> Figures:
        """The figures, at most a minute old. Raises DatabaseError."""
        async with self._lock:
            now = time.time()
            if self._figures is None or not 0 <= now - self._figures.read_at < _READ_EVERY_S:
                self._figures = await self._read(deliveries, now)
            return self._figures

    async def _read(self, deliveries: Any, now: float) -> Figures:
        database, use_cases = self._context.database, self._context.use_cases
        lately = await received_lately(database, now - _HOUR_S, _MINUTE_S)
        hourly = await received_by_study(database, now - _DAYS * _DAY_S, _HOUR_S)
        sent = [
            Amount(each.at, each.destination, each.count, each.sent)
            for each in await deliveries.rates(now - _DAYS * _DAY_S, _HOUR_S)
            if each.outcome == "delivered"
        ]
        stored = await statistics(database)
        received, begins = [_amount(each) for each in hourly], await lately_begins(database)
        return Figures(
            now,
            plot(map(_amount, lately), ends=now, interval_s=_MINUTE_S, bars=60),
            plot(received, ends=now, interval_s=_HOUR_S, bars=24),
            plot(received, ends=now, interval_s=_DAY_S, bars=_DAYS),
            plot(sent, ends=now, interval_s=_HOUR_S, bars=24),
            plot(sent, ends=now, interval_s=_DAY_S, bars=_DAYS),
            begins if begins > now - _HOUR_S else 0.0,
            behind if (behind := await studies_begin(database)) > now - _DAYS * _DAY_S else 0.0,
            forecast(
                hourly,
                now=now,
                used=stored.size + stored.attached,
                free=use_cases.store.free_bytes(),
                floor=self._context.settings().storage.min_free,
            ),
        )


FIGURES: web.AppKey[FiguresReader] = web.AppKey("figures", FiguresReader)


def _amount(received: Traffic) -> Amount:
    return Amount(received.at, received.sender, received.instances, received.bytes)


async def now_page(request: web.Request) -> web.Response:
    """The page of what happens now."""
    figures = await request.app[FIGURES].figures(request.app[DELIVERIES])
    return page_answer(request, "now.html", {**await _live(request), "figures": figures})


async def live(request: web.Request) -> web.Response:
    """The part of the page that changes quickly."""
    return page_answer(request, "now_live.html", await _live(request))


async def _live(request: web.Request) -> dict[str, Any]:
    context, words, now = request.app[CONTEXT], reader_words(request), time.time()
    destinations = await request.app[DELIVERIES].destinations()
    states = Counter[str]()
    for (queue, state), count in (await jobs.count_queues(context.database, "")).items():
        if not queue.startswith(QUEUE_PREFIX):
            states[state] += count
    ready, reasons = context.readiness()
    clock, served = host_clock(), request.app.router.named_resources()
    return {
        "association_url": path_template(request, "association-page"),
        "clock": clock,
        "destinations": [each for each in destinations if _is_trouble(each, now)],
        "is_ready": ready,
        "job_states": states,
        "jobs_url": path_template(request, "jobs-page") if "jobs-page" in served else "",
        "live_url": path_template(request, "now-live"),
        "modalities_url": path_template(request, "modalities-page"),
        "now": now,
        "open": context.associations()[:_MAX_OPEN],
        "open_count": len(context.associations()),
        "page": path_template(request, "now-page"),
        "reasons": reasons,
        "routing_url": path_template(request, "routing"),
        "sending": sum(each.sending for each in destinations),
        "troubles": [
            Trouble(in_words(words, finding), count, at) for finding, count, at in _troubles(request, context.records())
        ],
        "waiting": sum(each.waiting for each in destinations),
    }


def _is_trouble(destination: DestinationStatus, now: float) -> bool:
    return bool(destination.refused or destination.dead or destination.held or destination.paused_until > now)


def _troubles(request: web.Request, records: Any) -> list[tuple[Finding, int, float]]:
    """The kinds of trouble in the records, the newest of each with the number of them, newest first."""
    dicom = request.app[CONTEXT].settings().dicom
    ours: dict[str, Value] = {
        "our_aet": dicom.aet.strip(),
        "our_host": "",
        "our_port": str(request.app[CONTEXT].ports[0]),
    }
    found: dict[tuple[str, ...], tuple[Finding, AssociationRecord]] = {}
    counts = Counter[tuple[str, ...]]()
    for record in records:
        if not record.is_trouble:
            continue
        finding = finding_of(record, ours)
        if finding.grade == "good":
            continue
        key = record.host, record.calling_aet, finding.code
        found.setdefault(key, (finding, record))
        counts[key] += 1
    return [
        (finding, counts[key], record.ended_at or record.since)
        for key, (finding, record) in list(found.items())[:_MAX_TROUBLES]
    ]


ROUTES = (
    Route("GET", "/ui/now", now_page, "settings", answers=("text/html",), name="now-page"),
    Route("GET", "/ui/now/live", live, "settings", answers=("text/html",), name="now-live"),
)
