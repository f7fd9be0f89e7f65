"""The form of the query page: what its fields say, the keys that they ask for, and its address."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from multidict import MultiMapping

from gateway.dicom.dictionary import KEYWORDS, implicit_vr
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.levels import Level
from gateway.dicom.uids import is_uid
from gateway.web.route import Parameter, one_of

QUERY_LEVELS: Final[tuple[Level, ...]] = ("study", "patient", "series")
WHEN: Final[Mapping[str, tuple[int, int] | None]] = {
    "any": None,
    "today": (0, 0),
    "yesterday": (1, 1),
    "week": (7, 0),
    "month": (30, 0),
    "year": (365, 0),
    "range": None,
}
"""Presets of the date: days before today at which it begins and ends."""
MAX_SOURCES: Final = 50
_MAX_TEXT: Final = 64
_RETURNED: Final[Mapping[Level, Sequence[str]]] = {
    "patient": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"),
    "study": (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyInstanceUID", "ModalitiesInStudy"),
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    ),
    "series": (
        *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
        *("SeriesDate", "BodyPartExamined", "NumberOfSeriesRelatedInstances"),
    ),
}
"""What is asked for beside the filters, by keyword."""
_ABOVE_SERIES: Final = ("PatientName", "PatientID", "StudyDate", "AccessionNumber")
"""Asked for with series if no study is named; systems with hierarchical queries alone refuse the search anyway."""


@dataclass(frozen=True, slots=True)
class QueryForm:
    """The fields of the form; empty ones do not filter."""

    sources: tuple[str, ...] = ()
    level: Level = "study"
    name: str = ""
    patient: str = ""
    """Patient ID."""
    accession: str = ""
    modality: str = ""
    description: str = ""
    study: str = ""
    """Study Instance UID."""
    when: str = "any"
    begin: str = ""
    end: str = ""

    @classmethod
    def of(cls, query: MultiMapping[str]) -> QueryForm:
        """Parse a query string; invalid fields are ignored."""
        texts = {
            name: query.get(name, "").strip()[:_MAX_TEXT]
            for name in ("name", "patient", "accession", "modality", "description", "study")
        }
        if not is_uid(texts["study"]):
            texts["study"] = ""
        texts["modality"] = texts["modality"].upper()
        level, when = query.get("level", ""), query.get("when", "any")
        begin, end = _day(query.get("begin", "")), _day(query.get("end", ""))
        if when not in WHEN or (when == "any" and (begin or end)):
            when = "range" if begin or end else "any"
        return cls(
            tuple(dict.fromkeys(query.getall("source", [])))[:MAX_SOURCES],
            level if level in QUERY_LEVELS else "study",
            **{name: "".join(filter(str.isprintable, text)).replace("\\", "") for name, text in texts.items()},
            when=when,
            begin=begin if when == "range" else "",
            end=end if when == "range" else "",
        )

    def address(self, page: str, *more: tuple[str, str], **changes: object) -> str:
        """The address of a page with these fields, some of them changed, and more parameters."""
        form = replace(self, **changes)  # type: ignore[arg-type]
        fields = [("source", each) for each in form.sources]
        fields += [("level", form.level)] if form.level != "study" else []
        names = ("name", "patient", "accession", "modality", "description", "study", "begin", "end")
        fields += [(name, value) for name in names if (value := getattr(form, name))]
        fields += [("when", form.when)] if form.when != "any" else []
        fields += more
        return f"{page}?{urlencode(fields)}" if fields else page

    @property
    def is_filtered(self) -> bool:
        """Whether any filter is set: without one a source is asked for everything that it has."""
        filters = (self.name, self.patient, self.accession, self.modality, self.description, self.study)
        return any(filters) or self.when != "any"

    def keys(self, today: datetime.date) -> DataSet:
        """The keys of the search: the filters, and what is to be returned."""
        names: Iterable[str] = _RETURNED[self.level]
        if self.level == "series" and not self.study:
            names = (*names, *_ABOVE_SERIES)
        wanted = dict.fromkeys(names, "")
        filters = {
            "PatientName": _name_pattern(self.name),
            "PatientID": self.patient,
            "StudyInstanceUID": self.study,
        }
        if self.level == "series" and self.study:
            # Below a study, hierarchical queries have no keys of it but its UID (PS3.4 C.4.1.1.3.1).
            filters = {"StudyInstanceUID": self.study}
        if self.level != "patient" and not (self.level == "series" and self.study):
            filters["AccessionNumber"] = self.accession
            filters["StudyDate"] = self.dates(today)
        if self.level == "study":
            filters["StudyDescription"] = _part(self.description)
            filters["ModalitiesInStudy"] = self.modality
        if self.level == "series":
            filters["SeriesDescription"] = _part(self.description)
            filters["Modality"] = self.modality
        wanted |= {name: value for name, value in filters.items() if value}
        return {
            KEYWORDS[name]: Attribute(implicit_vr(KEYWORDS[name]), [value] if value else ())
            for name, value in wanted.items()
        }

    def dates(self, today: datetime.date) -> str:
        """The range of the date (PS3.4 C.2.2.2.5); '' for any."""
        begin, end = self.begin.replace("-", ""), self.end.replace("-", "")
        if (days := WHEN[self.when]) is not None:
            first, last = (f"{today - datetime.timedelta(each):%Y%m%d}" for each in days)
            begin, end = first, last
        if begin and begin == end:
            return begin
        return f"{begin}-{end}" if begin or end else ""


def _day(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return ""


def _name_pattern(text: str) -> str:
    """The pattern of a name as people type it: `doe, jane` or the beginning of any such part."""
    if not text or any(letter in text for letter in "*?^="):
        return text
    family, _, given = (part.strip() for part in text.partition(","))
    return f"{family}*^{given}*" if given else f"{family}*"


def _part(text: str) -> str:
    return text if not text or "*" in text or "?" in text else f"*{text}*"


PARAMETERS: Final = (
    Parameter("source", "A system to ask, as modality:NAME or server:NAME; may be repeated", example="modality:pacs"),
    Parameter("level", "What is listed", one_of(*QUERY_LEVELS), "study"),
    Parameter("name", "Beginning of the patient's name; * and ? stand for any letters", example="doe"),
    Parameter("patient", "Patient ID"),
    Parameter("accession", "Accession number"),
    Parameter("modality", "One modality", example="CT"),
    Parameter("description", "Part of the description", example="head"),
    Parameter("study", "Study Instance UID", example="1.2.3"),
    Parameter("when", "Date of the study", one_of(*WHEN), "today"),
    Parameter("begin", "First date, where `when` is range", example="2026-11-01"),
    Parameter("end", "Last date, where `when` is range", example="2026-11-30"),
)
"""The parameters of `QueryForm.of`."""
