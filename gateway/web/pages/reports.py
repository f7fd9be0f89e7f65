"""The reports of a study, from the list of studies; `dicomweb/documents.py` sends them.

A study that has only reports is opened here and not in OHIF, which lacks some kinds (dose reports) and fails on an item
without a concept name.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.dicom.uids import name_of
from gateway.errors import NotFound
from gateway.index.locate import Located, located_page
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.documents import REPORTS
from gateway.web.pages.frame import page_answer
from gateway.web.route import Parameter, Route
from gateway.web.urls import PATIENT, ObjectUrl, path_template

MODALITIES: Final = frozenset(("KO", "SR"))
"""Modalities of a study that has only reports."""
_MAX_LOOKED_AT: Final = 1000
"""Instances of the study that are searched."""


async def reports(request: web.Request) -> web.Response:
    """The reports of a study: a single one at once, otherwise a list of them.

    `patient`: the public id of the study's patient, if another has a study of the same UID.
    """
    study, patient = request.match_info["study"], request.query.get("patient", "")
    page = await located_page(request.app[CONTEXT].database, study, patient=patient, limit=_MAX_LOOKED_AT)
    found = [each for each in page if each.sop_class_uid.startswith(REPORTS)]
    if not found:
        raise NotFound("this study has no report here")
    urls = ObjectUrl(*(path_template(request, f"{root}rendered") for root in ("", PATIENT)))
    links = [(name_of(each.sop_class_uid), each.sop_uid, _url(urls, each)) for each in found]
    if len(links) == 1:
        raise web.HTTPFound(links[0][2])
    return page_answer(request, "reports.html", {"reports": links, "study": study})


def _url(urls: ObjectUrl, one: Located) -> str:
    uids = {"study": one.study_uid, "series": one.series_uid, "instance": one.sop_uid}
    return f"{urls.of(one.clashing_patient, **uids)}?accept=text/html"


ROUTES = (
    Route(
        "GET",
        "/ui/reports/{study}",
        reports,
        "view",
        (Parameter("patient", "Public id of the study's patient"),),
        answers=("text/html",),
        errors=(404,),
        name="reports",
    ),
)
