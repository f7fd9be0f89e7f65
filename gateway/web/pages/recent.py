"""The studies of the page: the search in its query string, and the rows for the template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.database.database import Database
from gateway.index.summary import RecentStudy, recent_studies
from gateway.web.pages.totals import read_sequence
from gateway.web.route import Parameter

PAGE = 50
"""Studies on one page."""
_MAX_TEXT_LENGTH = 64


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """A search; empty fields do not filter. `before`: only studies received before that place in the list."""

    patient: str = ""
    accession: str = ""
    modality: str = ""
    before: tuple[float, int] | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> StudyFilter:
        """Parse a query string; invalid fields are ignored."""
        before = None
        try:
            received, _, row = query.get("before", "").partition("_")
            before = (float(received), min(int(row), 1 << 62))
        except ValueError:
            pass
        patient, accession, modality = (
            query.get(name, "").strip()[:_MAX_TEXT_LENGTH] for name in ("patient", "accession", "modality")
        )
        return cls(patient, accession, modality.upper(), before)

    @property
    def any(self) -> bool:
        return bool(self.patient or self.accession or self.modality)


@dataclass(frozen=True, slots=True)
class Page:
    studies: list[RecentStudy]
    older: dict[str, str] | None
    """The query of the next page; None on the last."""
    seq: int
    """The change up to which the page is current."""


async def read_studies(database: Database, search: StudyFilter) -> Page:
    """Read one page. The sequence number is read first, so that the page is at least as current as it says."""
    seq = await read_sequence(database)
    found = await recent_studies(
        database,
        patient=search.patient,
        accession_number=search.accession,
        modality=search.modality,
        after=search.before,
        limit=PAGE + 1,
    )
    older = None
    if len(found) > PAGE:
        del found[PAGE:]
        fields = {"patient": search.patient, "accession": search.accession, "modality": search.modality}
        older = {name: value for name, value in fields.items() if value}
        older["before"] = f"{found[-1].last_received!r}_{found[-1].id}"
    return Page(found, older, seq)


PARAMETERS: Final = (
    Parameter("patient", "Part of the name, or beginning of the ID"),
    Parameter("accession", "Beginning of the accession number"),
    Parameter("modality", "One modality", example="CT"),
    Parameter("before", "The place where the previous page ended, from its link", example="1.0_1"),
)
"""The parameters of `StudyFilter.of`."""
