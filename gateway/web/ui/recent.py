"""The studies that the page shows: what is asked for in its query string, and the rows as the template wants them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.database.database import Database
from gateway.events.changes import last_change
from gateway.index.summary import RecentStudy, recent_studies

PAGE = 50
"""Studies on one page."""
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """A search; empty fields do not filter. `before`: only what was received before that place in the list."""

    patient: str = ""
    accession: str = ""
    modality: str = ""
    before: tuple[float, int] | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Read a query string; what cannot be read is left out."""
        before = None
        try:
            received, _, row = query.get("before", "").partition("_")
            before = (float(received), min(int(row), 1 << 62))
        except ValueError:
            pass
        patient, accession, modality = (
            query.get(name, "").strip()[:_LONGEST] for name in ("patient", "accession", "modality")
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
    """The change up to which the page is fresh."""


async def read_studies(database: Database, asked: Asked) -> Page:
    """One page. The sequence number is read first, so that the page is at least as fresh as it says."""
    seq = await last_change(database)
    found = await recent_studies(
        database,
        patient=asked.patient,
        accession_number=asked.accession,
        modality=asked.modality,
        after=asked.before,
        limit=PAGE + 1,
    )
    older = None
    if len(found) > PAGE:
        del found[PAGE:]
        fields = {"patient": asked.patient, "accession": asked.accession, "modality": asked.modality}
        older = {name: value for name, value in fields.items() if value}
        older["before"] = f"{found[-1].last_received!r}_{found[-1].id}"
    return Page(found, older, seq)
