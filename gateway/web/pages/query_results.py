"""What a search of other systems has found, as rows of the query page: each answer in words, and how much of it is
here already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.database.view import tenant_of_task
from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.encode import DataSet
from gateway.dicom.levels import LEVELS, Level
from gateway.dicom.uids import is_uid
from gateway.errors import BadRequest
from gateway.index.identity import canonical_patient_id, owned, public_id
from gateway.index.locate import Counted, counted_resources
from gateway.systems.remote_search import RemoteSource
from gateway.web.context import CONTEXT
from gateway.web.pages.filters import date, person
from gateway.web.pages.job_rows import MAX_TITLE
from gateway.web.pages.query_form import QueryForm
from gateway.web.pages.reader import as_viewer, may, page_of

_PAGES: Final[dict[Level, str]] = {"patient": "patient-page", "study": "study-page", "series": "series-page"}
_MAX_TEXT: Final = 200
"""Characters of a value of another system that are shown."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """The object that a row offers to retrieve, as the value of its button."""

    source: str
    level: Level
    patient: str
    study: str
    series: str
    title: str

    @property
    def keys(self) -> dict[str, str]:
        """The unique keys by tag, as jobs have them."""
        by_tag = {"0010,0020": self.patient, "0020,000d": self.study, "0020,000e": self.series}
        return {tag: value for tag, value in by_tag.items() if value}


def parse_wanted(text: str) -> Wanted:
    """Parse the value of a button. Raises BadRequest."""
    try:
        wanted = msgspec.json.decode(text, type=Wanted)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise BadRequest("the button of this row cannot be read; search again") from None
    named = {"patient": wanted.patient, "study": wanted.study, "series": wanted.study and wanted.series}.get(
        wanted.level
    )
    uids = [each for each in (wanted.study, wanted.series) if each]
    if not named or not all(map(is_uid, uids)) or "\\" in wanted.patient or len(wanted.patient) > _MAX_TEXT:
        raise BadRequest("the row has no identifier by which it can be retrieved")
    return wanted


@dataclass(frozen=True, slots=True)
class Row:
    """One answer."""

    level: Level
    name: str
    patient_id: str
    birth_date: str
    sex: str
    date: str
    time: str
    accession: str
    description: str
    modalities: list[str]
    study: str
    series: str
    number: str
    series_count: str
    instance_count: str
    value: str
    """Of the button that retrieves it; '' for an answer that cannot be."""
    here: int
    """Instances of it that are here, as far as the reader may see."""
    url: str
    """Of its page here; '' without one."""

    @property
    def is_whole(self) -> bool:
        """Whether as much is here as the other system says it has."""
        return bool(self.here) and (not self.instance_count.isdecimal() or self.here >= int(self.instance_count))

    @property
    def order(self) -> str:
        """Where it stands among the answers of all sources: later ones first."""
        return f"{self.date:8}{self.time:6}"


async def result_rows(
    request: web.Request, source: RemoteSource, form: QueryForm, answers: Sequence[DataSet]
) -> list[Row]:
    """The rows of the answers of a source to a form."""
    ids = [""] * len(answers)
    here: dict[str, Counted] = {}
    if may(request, "view"):
        with as_viewer(request):
            ids = [_public_id(form, answer) for answer in answers]
            here = await counted_resources(request.app[CONTEXT].database, [each for each in ids if each])
    rows = [
        _row(request, source, form, answer, public, here.get(public))
        for answer, public in zip(answers, ids, strict=True)
    ]
    return sorted(rows, key=lambda row: (row.order, row.number.rjust(8)), reverse=form.level != "series")


def _public_id(form: QueryForm, answer: DataSet) -> str:
    """The public id that the object of an answer has here; '' if the answer does not name it."""
    patient = canonical_patient_id(_text(answer, "PatientID") or form.patient)
    uids = [_text(answer, "StudyInstanceUID") or form.study, _text(answer, "SeriesInstanceUID")]
    named = [patient, *uids][: LEVELS.index(form.level) + 1]
    if not all(named[1:]) or (form.level == "patient" and not patient):
        return ""
    return public_id(owned(patient, tenant_of_task()), *named[1:])


def _row(
    request: web.Request, source: RemoteSource, form: QueryForm, answer: DataSet, public: str, here: Counted | None
) -> Row:
    level, at = form.level, {name: _text(answer, name) for name in _SHOWN}
    study = at["StudyInstanceUID"] or form.study
    modalities = answer.get(KEYWORDS["ModalitiesInStudy" if level == "study" else "Modality"])
    words = [person(at["PatientName"]), at["StudyDescription"] or at["SeriesDescription"], date(at["StudyDate"])]
    title = " · ".join(word for word in words if word)[:MAX_TITLE]
    wanted = Wanted(str(source), level, at["PatientID"], study, at["SeriesInstanceUID"], title)
    value = msgspec.json.encode(wanted).decode()
    try:
        parse_wanted(value)
    except BadRequest:
        value = ""
    return Row(
        level,
        at["PatientName"],
        at["PatientID"],
        at["PatientBirthDate"],
        at["PatientSex"],
        at["StudyDate"] or at["SeriesDate"],
        at["StudyTime"],
        at["AccessionNumber"],
        at["StudyDescription"] or at["SeriesDescription"],
        [str(each)[:16] for each in modalities.values if each] if modalities is not None else [],
        study,
        at["SeriesInstanceUID"],
        at["SeriesNumber"],
        at["NumberOfPatientRelatedStudies"] if level == "patient" else at["NumberOfStudyRelatedSeries"],
        at["NumberOfSeriesRelatedInstances"] if level == "series" else at["NumberOfStudyRelatedInstances"],
        value,
        here.instances if here is not None else 0,
        page_of(request, _PAGES[level], public) if here is not None else "",
    )


_SHOWN: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyInstanceUID"),
    *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"),
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate"),
)


def _text(answer: DataSet, keyword: str) -> str:
    found: Any = answer.get(KEYWORDS[keyword])
    return found.text.strip()[:_MAX_TEXT] if found is not None and found.values else ""
