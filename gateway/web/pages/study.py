"""The page of one study: its patient, labels, series and notes, and what can be done with it.

It is read here; `static/resource.js` has things done by REST, and `change_forms.py` makes other studies of it.
`study_share.py` makes links to the study, `viewer_links.py` those that open it elsewhere.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.levels import Level
from gateway.errors import UnknownResource
from gateway.index.annotations import added_metadata
from gateway.index.attachments import attachments_of
from gateway.index.resources import Resource, resource
from gateway.index.study_list import ListedStudy, StudyConditions, list_series, list_studies
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.pages.change_forms import form_places
from gateway.web.pages.frame import page_answer
from gateway.web.pages.reader import may, page_path
from gateway.web.pages.reports import MODALITIES as REPORT_MODALITIES
from gateway.web.pages.resource_forms import form_values, is_of_all_studies
from gateway.web.pages.viewer_links import viewer_links
from gateway.web.route import Parameter, Route
from gateway.web.urls import PATIENT, ObjectUrl, path_template, path_to
from gateway.web.viewer.viewer import study_url

NOTES: Final = "Notes"
"""The metadata of a study that has what people write about it."""
_MAX_SERIES: Final = 60
"""Series on one page."""
_MAX_OTHERS: Final = 20
"""Other studies of the patient."""
_HEADER: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_CHANGEABLE: Final = (
    *_HEADER,
    *("StudyDescription", "AccessionNumber", "StudyDate", "StudyTime", "StudyID", "ReferringPhysicianName"),
)
"""Attributes that the form changes."""
_REST: Final = {
    "notes": "study-metadata",
    "create": "create-dicom",
    "job": "job",
}
"""The names of routes that the scripts of the page use."""


async def study(request: web.Request) -> web.Response:
    """One study: its patient, labels, series and notes, and what can be done with it."""
    return await study_page(request, request.match_info["id"])


async def study_page(request: web.Request, public_id: str, **shown: Any) -> web.Response:
    """The page of a study; `shown` has values of the template besides. Raises UnknownResource."""
    database, place = request.app[CONTEXT].database, _place(request)
    found = await list_studies(database, StudyConditions(public_id=public_id), limit=1)
    whole = await resource(database, "study", public_id)
    if not found or whole is None:
        raise UnknownResource(f"there is no study {public_id[:64]}")
    one, series = found[0], await list_series(database, public_id, limit=_MAX_SERIES + 1, after=place)
    patient = await resource(database, "patient", one.patient_public_id)
    others = await list_studies(
        database, StudyConditions(of_patient=one.patient_public_id), order="date", limit=_MAX_OTHERS + 1
    )
    values: dict[str, Any] = {
        "attachments": await attachments_of(database, "study", public_id),
        "attributes": _attributes(whole, patient),
        "changeable": {name: _value(name, whole, patient) for name in _CHANGEABLE},
        "notes": (await added_metadata(database, "study", public_id)).get(NOTES),
        "others": [each for each in others if each.public_id != public_id][:_MAX_OTHERS],
        "patient": patient,
        "series": series[:_MAX_SERIES],
        "share": None,
        "series_viewers": lambda each: viewer_links(request, one, each.series_uid),
        "study": one,
        **await form_values(request, "study", whole),
        **await _places(request, one),
        **_following(request, series),
        **shown,
    }
    return page_answer(request, "study.html", values)


async def _places(request: web.Request, one: ListedStudy) -> dict[str, Any]:
    """What the reader may do, and the addresses that do it."""
    who = request.get(PRINCIPAL, ANYBODY)
    thumbnail = ObjectUrl(*(path_template(request, f"{root}series-thumbnail") for root in ("", PATIENT)))
    return {
        "can": {
            "anonymize": may(request, "anonymize"),
            "download": may(request, "download"),
            "modify": may(request, "modify"),
            "protect": may(request, "edit-labels", level="patient") and is_of_all_studies(request),
            "query": may(request, "q-r-remote-modalities"),
            "send": may(request, "send"),
            "share": may(request, "share") and who.is_person and bool(who.name),
            "upload": may(request, "upload"),
        },
        "archive_url": path_template(request, "studies-archive").format(id=one.public_id),
        "attachment_url": path_template(request, "study-attachment"),
        "files_url": path_to(request, "study-files", id=one.public_id),
        "forms": form_places(request, "study", one.public_id),
        "is_report": bool(one.modalities) and set(one.modalities) <= set(REPORT_MODALITIES),
        "media_url": path_template(request, "studies-media").format(id=one.public_id),
        "notes_url": path_to(request, "study-notes", id=one.public_id),
        "ohif_url": await study_url(request),
        "patient_page": page_path(request, "patient-page"),
        "protect_url": path_to(request, "patient-protection", id=one.patient_public_id),
        "query_page": page_path(request, "query-page"),
        "removal_url": path_to(request, "study-file-removal", id=one.public_id),
        "reports_url": path_template(request, "reports"),
        "rest": {name: path_template(request, route) for name, route in _REST.items()},
        "send_page": page_path(request, "send-page"),
        "series_page": page_path(request, "series-page"),
        "share_url": path_template(request, "study-share").format(id=one.public_id),
        "study_page": path_template(request, "study-page"),
        "thumbnail": thumbnail,
        "viewers": viewer_links(request, one),
    }


def _following(request: web.Request, series: list[Any]) -> dict[str, str]:
    """The address of the next page of series; empty on the last."""
    if len(series) <= _MAX_SERIES:
        return {"following": ""}
    place = msgspec.json.encode(series[_MAX_SERIES - 1].position).decode()
    return {"following": f"{request.path}?{urlencode({'after': place})}#series"}


def _place(request: web.Request) -> tuple[int, int] | None:
    try:
        number, row = msgspec.json.decode(request.query.get("after", ""), type=tuple[int, int])
    except msgspec.MsgspecError:
        return None
    return (number, row) if max(abs(number), abs(row)) < 1 << 62 else None


def _attributes(whole: Resource, patient: Resource | None) -> list[tuple[Level, str, str, str]]:
    """Level, tag, keyword and value of what the index has of the patient and the study."""
    levels: tuple[tuple[Level, Resource | None], ...] = (("patient", patient), ("study", whole))
    return [
        (level, f"{tag >> 16:04X},{tag & 0xFFFF:04X}", keyword_of(tag), value)
        for level, each in levels
        if each is not None
        for tag, value in sorted(each.attributes.items())
        if value and (level == "patient" or patient is None or tag not in patient.attributes)
    ]


def _value(keyword: str, whole: Resource, patient: Resource | None) -> str:
    for each in (whole, patient):
        for tag, value in each.attributes.items() if each is not None else ():
            if keyword_of(tag) == keyword:
                return value
    return ""


ROUTES = (
    Route(
        "GET",
        "/ui/studies/{id}",
        study,
        "view",
        (Parameter("after", "Where the page of series before ended, from its link", example="[1,1]"),),
        answers=("text/html",),
        errors=(404,),
        name="study-page",
    ),
)
