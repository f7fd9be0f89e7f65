"""The search in the query string of a page of studies, and the page of studies that it finds."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from multidict import MultiMapping

from gateway.database.database import Database
from gateway.index.study_list import (
    ORDERS,
    ListedStudy,
    Position,
    StudyConditions,
    count_studies,
    is_position,
    list_studies,
)
from gateway.web.pages.totals import read_sequence
from gateway.web.route import Parameter, one_of

PAGE = 50
"""Studies on one page."""
MAX_COUNTED: Final = 1000
"""Studies that a search is counted up to."""
DAYS: Final = {"today": (0, 0), "yesterday": (1, 1), "week": (6, 0), "month": (29, 0)}
"""For each named span of Study Dates how many days before today it begins and ends."""
_DEFAULT_ORDER: Final = "received"
_FALLING: Final = frozenset(("received", "date", "series", "instances", "size"))
"""Orders that one looks at from their end first."""
_MAX_TEXT_LENGTH: Final = 64
_MAX_VALUES: Final = 20
"""Modalities or labels in one search."""
_DATE: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)", re.ASCII)
_decode_position = msgspec.json.Decoder(tuple[str | int | float, ...]).decode


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """A search; empty fields do not filter. Of `after` and `before` one says where the page begins or ends."""

    patient: str = ""
    accession: str = ""
    description: str = ""
    modality: tuple[str, ...] = ()
    source: str = ""
    label: tuple[str, ...] = ()
    days: str = ""
    """A name of DAYS."""
    since: str = ""
    """The first Study Date, as DA."""
    until: str = ""
    order: str = _DEFAULT_ORDER
    descending: bool = True
    after: Position | None = None
    before: Position | None = None

    @classmethod
    def of(cls, query: MultiMapping[str]) -> StudyQuery:
        """Parse a query string; what is invalid is left out."""
        patient, accession, description, source = (
            query.get(name, "").strip()[:_MAX_TEXT_LENGTH] for name in ("patient", "accession", "description", "source")
        )
        order = query.get("sort", "").lstrip("-")
        days, known = query.get("date", ""), order in ORDERS
        order = order if known else _DEFAULT_ORDER
        return cls(
            patient,
            accession,
            description,
            tuple([each.upper() for each in _several(query, "modality")]),
            source,
            _several(query, "label"),
            days if days in DAYS else "",
            _date(query.get("from", "")),
            _date(query.get("to", "")),
            order,
            query["sort"].startswith("-") if known else True,
            _position(query.get("after", ""), order),
            _position(query.get("before", ""), order),
        )

    @property
    def is_filtered(self) -> bool:
        return StudyQuery(order=self.order, descending=self.descending) != self.first_page

    @property
    def is_first_page(self) -> bool:
        return self.after is None and self.before is None

    @property
    def first_page(self) -> StudyQuery:
        return replace(self, after=None, before=None)

    @property
    def as_sorted(self) -> str:
        """The order as the query string has it."""
        return f"{'-' * self.descending}{self.order}"

    def conditions(self, today: datetime.date) -> StudyConditions:
        """The conditions of the search, on a day."""
        since, until = self.since, self.until
        if self.days and not (since or until):
            since, until = ((today - datetime.timedelta(days)).strftime("%Y%m%d") for days in DAYS[self.days])
        return StudyConditions(
            patient=self.patient,
            accession_number=self.accession,
            description=self.description,
            modalities=self.modality,
            source=self.source,
            labels=self.label,
            since=since,
            until=until,
        )

    def sorted_by(self, order: str) -> str:
        """The query string of the first page in another order, or in this one the other way round."""
        descending = not self.descending if order == self.order else order in _FALLING
        return replace(self.first_page, order=order, descending=descending).text()

    def text(self) -> str:
        """The query string, with a question mark where there is anything in it."""
        fields: list[tuple[str, str]] = [
            ("patient", self.patient),
            ("accession", self.accession),
            ("description", self.description),
            *[("modality", each) for each in self.modality],
            ("source", self.source),
            *[("label", each) for each in self.label],
            ("date", self.days),
            ("from", as_date_field(self.since)),
            ("to", as_date_field(self.until)),
            ("sort", "" if self.as_sorted == f"-{_DEFAULT_ORDER}" else self.as_sorted),
            *[(name, _as_text(each)) for name, each in (("after", self.after), ("before", self.before)) if each],
        ]
        given = [(name, value) for name, value in fields if value]
        return f"?{urlencode(given)}" if given else ""


@dataclass(frozen=True, slots=True)
class StudyPage:
    studies: list[ListedStudy]
    previous: str | None
    """The query string of the page before; None on the first."""
    following: str | None
    """That of the page after; None on the last."""
    seq: int
    """The change up to which the page is current."""
    matches: int
    """Studies on all pages; one more than MAX_COUNTED for any larger number."""


async def read_page(database: Database, query: StudyQuery, *, of_patient: str = "") -> StudyPage:
    """Read one page, of all studies or of those of one patient, by the public id. The sequence number is read first, so
    that the page is at least as current as it says."""
    seq = await read_sequence(database)
    wanted = replace(query.conditions(datetime.date.today()), of_patient=of_patient)

    async def read(asked: StudyQuery) -> list[ListedStudy]:
        return await list_studies(
            database,
            wanted,
            order=asked.order,
            descending=asked.descending,
            limit=PAGE + 1,
            after=asked.after,
            before=asked.before,
        )

    found = await read(query)
    if query.before is not None and len(found) <= PAGE:
        query = query.first_page  # What stands before it is less than a page: then it is the first.
        found = await read(query)
    is_last, is_first = query.before is None and len(found) <= PAGE, query.is_first_page
    found = found[-PAGE:] if query.before is not None else found[:PAGE]
    first, last = (found[0].position, found[-1].position) if found else (None, None)
    return StudyPage(
        found,
        None if is_first or first is None else replace(query, after=None, before=first).text(),
        None if is_last or last is None else replace(query, after=last, before=None).text(),
        seq,
        len(found) if is_first and is_last else await count_studies(database, wanted, MAX_COUNTED + 1),
    )


def as_date_field(value: str) -> str:
    """A DA value as a date field of a form has it."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if value else ""


def _several(query: MultiMapping[str], name: str) -> tuple[str, ...]:
    given: Iterable[str] = (each.strip()[:_MAX_TEXT_LENGTH] for each in query.getall(name, []))
    return tuple(dict.fromkeys(each for each in given if each))[:_MAX_VALUES]


def _date(text: str) -> str:
    found = _DATE.fullmatch(text.strip())
    return "".join(found.groups()) if found is not None else ""


def _position(text: str, order: str) -> Position | None:
    try:
        found = _decode_position(text) if text else ()
    except (msgspec.MsgspecError, ValueError):
        return None
    return found if is_position(found, order) else None


def _as_text(position: Any) -> str:
    return msgspec.json.encode(position).decode()


PARAMETERS: Final = (
    Parameter("patient", "Parts of the name, or the beginning of the ID"),
    Parameter("accession", "Beginning of the accession number"),
    Parameter("description", "Part of the description"),
    Parameter("modality", "A modality; several may be given, of which the study has one", example="CT"),
    Parameter("source", "AE title that the first instance came from", example="CT1"),
    Parameter("label", "A label; several may be given, and the study has them all", example="urgent"),
    Parameter("date", "Span of Study Dates, by the clock of the gateway", one_of(*DAYS), "today"),
    Parameter("from", "First Study Date", example="2026-01-01"),
    Parameter("to", "Last Study Date", example="2026-12-31"),
    Parameter(
        "sort", "Order, with `-` before it from its end", one_of(*ORDERS, *[f"-{each}" for each in ORDERS]), "name"
    ),
    Parameter("after", "Where the page before ended, from its link", example='["20260101",1]'),
    Parameter("before", "Where the page after began, from its link", example='["20260101",1]'),
)
"""The parameters of `StudyQuery.of`."""
