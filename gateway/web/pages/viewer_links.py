"""Links that open a study or a series in other viewers, by the templates of `http.viewers`."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from gateway.index.study_list import ListedStudy
from gateway.web.context import CONTEXT
from gateway.web.urls import object_url


def viewer_links(request: web.Request, study: ListedStudy, series_uid: str = "") -> list[tuple[str, str]]:
    """The name of each viewer, and the address that opens the study in it, or one series of the study. Everything put
    in is quoted."""
    values = {
        "study_uid": study.study_uid,
        "study_id": study.public_id,
        "series_uid": series_uid,
        "patient_id": study.patient_id,
        "accession_number": study.accession_number,
        "dicomweb": object_url(request, "studies").of(study.clashing_patient).removesuffix("/studies"),
    }
    quoted = {name: quote(value, safe="") for name, value in values.items()}
    return [
        (each.name, each.url.format_map(quoted))
        for each in request.app[CONTEXT].settings().http.viewers
        if each.opens_series == bool(series_uid)
    ]
