"""The list of patients, the latest first, and the page of one: studies, labels, and what can be done with them."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.errors import UnknownResource
from gateway.index.annotations import all_labels
from gateway.index.patient_list import list_patients
from gateway.index.resources import resource, totals
from gateway.web.context import CONTEXT
from gateway.web.inputs import whole_number
from gateway.web.pages.change_forms import form_places
from gateway.web.pages.frame import page_answer
from gateway.web.pages.page import list_values
from gateway.web.pages.reader import may, page_path
from gateway.web.pages.resource_forms import form_values
from gateway.web.pages.study_query import PARAMETERS, StudyQuery, read_page
from gateway.web.route import Parameter, Route
from gateway.web.urls import path_template, path_to

PAGE: Final = 50
"""Patients on one page."""
_MAX_TEXT_LENGTH: Final = 64
_MAX_LABELS: Final = 200
_REST: Final = {"job": "job"}
"""The names of routes that the script of the page uses."""
_CHANGEABLE: Final = {
    "PatientID": 0x00100020,
    "PatientName": 0x00100010,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
}
"""Attributes that the form changes."""


async def patients(request: web.Request) -> web.Response:
    """The list of patients."""
    wanted, label = (request.query.get(name, "").strip()[:_MAX_TEXT_LENGTH] for name in ("patient", "label"))
    after, before = (whole_number(request.query.get(name, "")) for name in ("after", "before"))
    database, here = request.app[CONTEXT].database, path_template(request, "patients-page")
    found = await list_patients(database, patient=wanted, label=label, limit=PAGE + 1, after=after, before=before)
    if before is not None and after is None and len(found) <= PAGE:
        after = before = None  # What stands before it is less than a page: then it is the first.
        found = await list_patients(database, patient=wanted, label=label, limit=PAGE + 1)
    backwards = before is not None and after is None
    is_last, is_first = not backwards and len(found) <= PAGE, after is None and before is None
    found = found[-PAGE:] if backwards else found[:PAGE]

    def link(**place: int) -> str:
        given = {name: value for name, value in {"patient": wanted, "label": label, **place}.items() if value != ""}
        return f"{here}?{urlencode(given)}" if given else here

    values = {
        "asked": {"patient": wanted, "label": label},
        "first_url": link(),
        "following": "" if is_last or not found else link(after=found[-1].row),
        "here_path": here,
        "labels": (await all_labels(database))[:_MAX_LABELS],
        "patient_page": path_template(request, "patient-page"),
        "patients": found,
        "previous": "" if is_first or not found else link(before=found[0].row),
    }
    return page_answer(request, "patients.html", values)


async def patient(request: web.Request) -> web.Response:
    """One patient: studies, labels, and what can be done with all of them."""
    public_id, query = request.match_info["id"], StudyQuery.of(request.query)
    context = request.app[CONTEXT]
    one = await resource(context.database, "patient", public_id)
    counted = await totals(context.database, "patient", public_id)
    if one is None or counted is None:
        raise UnknownResource(f"there is no patient {public_id[:64]}")
    here = path_template(request, "patient-page").format(id=public_id)
    values: dict[str, Any] = {
        **await list_values(request, query, here),
        **await form_values(request, "patient", one),
        "archive_url": path_template(request, "patients-archive").format(id=public_id),
        "attributes": {name: one.attributes.get(tag, "") for name, tag in _CHANGEABLE.items()},
        "can": {
            "anonymize": may(request, "anonymize", level="patient"),
            "download": may(request, "download", level="patient"),
            "modify": may(request, "modify", level="patient"),
            "query": may(request, "q-r-remote-modalities", level="patient"),
            "send": may(request, "send", level="patient"),
        },
        "counted": counted,
        "forms": form_places(request, "patient", public_id),
        "media_url": path_template(request, "patients-media").format(id=public_id),
        "page": await read_page(context.database, query, of_patient=public_id),
        "patient": one,
        "patient_page": path_template(request, "patient-page"),
        "patients_url": path_template(request, "patients-page"),
        "protect_url": path_to(request, "patient-protection", id=public_id),
        "query_page": page_path(request, "query-page"),
        "rest": {name: path_template(request, route) for name, route in _REST.items()},
        "send_page": page_path(request, "send-page"),
    }
    return page_answer(request, "patient.html", values)


_PLACES: Final = (
    Parameter("after", "Where the page before ended, from its link", {"type": "string", "pattern": "^[0-9]+$"}, "1"),
    Parameter("before", "Where the page after began, from its link", {"type": "string", "pattern": "^[0-9]+$"}, "1"),
)
ROUTES = (
    Route(
        "GET",
        "/ui/patients",
        patients,
        "view",
        (
            Parameter("patient", "Parts of the name, or the beginning of the ID"),
            Parameter("label", "A label of the patient", example="urgent"),
            *_PLACES,
        ),
        answers=("text/html",),
        name="patients-page",
    ),
    Route(
        "GET",
        "/ui/patients/{id}",
        patient,
        "view",
        PARAMETERS,
        answers=("text/html",),
        errors=(404,),
        name="patient-page",
    ),
)
