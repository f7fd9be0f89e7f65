"""/modalities/{name}/find…: C-FIND whose answers are not kept. Older scripts use all but `find-worklist`."""

from __future__ import annotations

import functools
from typing import Final

from aiohttp import web

from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.encode import DataSet
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.web.accept import JSON
from gateway.web.inputs import read_json, read_object
from gateway.web.rest.answers import json_answer
from gateway.web.rest.asked import CallBody, bad_file, converted
from gateway.web.rest.queries import KEPT_QUERIES, asked_keys, without_values
from gateway.web.rest.tags import Format, in_format
from gateway.web.route import MODALITY, Route
from gateway.web.schemas import KEYS, any_of, struct

_MAX_PATIENTS: Final = 100
"""Of one `find`: it asks about each of them, and about each of their studies."""
_DEFAULTS: Final[dict[Level, tuple[str, ...]]] = {
    "patient": ("OtherPatientIDs", "PatientBirthDate", "PatientID", "PatientName", "PatientSex"),
    "study": (
        *("AccessionNumber", "PatientID", "ReferringPhysicianName", "StudyDate", "StudyDescription", "StudyID"),
        *("StudyInstanceUID", "StudyTime"),
    ),
    "series": (
        *("AccessionNumber", "BodyPartExamined", "Modality", "OperatorsName", "PatientID"),
        *("PerformedProcedureStepDescription", "ProtocolName", "SeriesDate", "SeriesDescription"),
        *("SeriesInstanceUID", "SeriesNumber", "SeriesTime", "StudyInstanceUID"),
    ),
    "instance": (
        *("AccessionNumber", "AcquisitionNumber", "ImageComments", "InstanceCreationDate", "InstanceCreationTime"),
        *("InstanceNumber", "NumberOfFrames", "PatientID", "SeriesInstanceUID", "SOPInstanceUID", "StudyInstanceUID"),
    ),
}
"""What Orthanc asks for at each level."""


class _FindBody(CallBody):
    full: bool = False
    short: bool = False
    simplify: bool = False


async def find(request: web.Request, level: Level) -> web.Response:
    """Ask a modality by C-FIND at a level, with the keys in the body; the answers by keyword."""
    name, wanted = request.match_info["name"], asked_keys(await read_json(request))
    _check_narrow(level, wanted)
    return json_answer([in_format(each, "simplify") for each in await _found(request, name, level, wanted)])


async def find_all(request: web.Request) -> web.Response:
    """Ask a modality for patients, the studies of each, and the series of each of these, one inside the other."""
    name, wanted = request.match_info["name"], asked_keys(await read_json(request))
    found, patients = await _found(request, name, "patient", wanted), []
    if len(found) > _MAX_PATIENTS:
        raise BadRequest(f"{len(found)} patients fit, and each is asked about: name fewer than {_MAX_PATIENTS}")
    for patient in found:
        shown = {**in_format(patient, "simplify"), "Studies": []}
        patients.append(shown)
        for study in await _found(request, name, "study", _narrowed(wanted, patient, "PatientID")):
            below = await _found(request, name, "series", _narrowed(wanted, study, "PatientID", "StudyInstanceUID"))
            series = [in_format(each, "simplify") for each in below]
            shown["Studies"].append({**in_format(study, "simplify"), "Series": series})
    return json_answer(patients)


async def find_worklist(request: web.Request) -> web.Response:
    """Ask a modality for items of its worklist: keys, or `{"Query": keys, "Short": true}`; the answers by keyword."""
    try:
        members = await read_object(request, "Must provide a JSON object")
        wraps = "Query" in members
        body = converted(members if wraps else {}, _FindBody)
        form: Format = "full" if body.full else "short" if body.short else "simplify"
        wanted, options = asked_keys(members["Query"] if wraps else members), body.options()
    except BadRequest as error:
        return bad_file(request, error)
    found = await request.app[KEPT_QUERIES].found(request.match_info["name"], None, wanted, options)
    return json_answer([in_format(each, form) for each in found])


async def _found(request: web.Request, name: str, level: Level, wanted: DataSet) -> list[DataSet]:
    return await request.app[KEPT_QUERIES].found(name, level, without_values(_DEFAULTS[level]) | wanted)


def _narrowed(wanted: DataSet, above: DataSet, *names: str) -> DataSet:
    """The keys of the request with those of what is above."""
    return {**wanted, **{tag: above[tag] for tag in (KEYWORDS[name] for name in names) if tag in above}}


def _check_narrow(level: Level, wanted: DataSet) -> None:
    """A study is looked for below a patient or an accession number, a series below its study too, as in Orthanc: they
    would be too many otherwise. Raises BadRequest."""

    def names(keyword: str) -> bool:
        attribute = wanted.get(KEYWORDS[keyword])
        return attribute is not None and len(attribute.text) > 2

    if level == "patient":
        return
    if not (names("AccessionNumber") or names("PatientID")):
        raise BadRequest("name AccessionNumber or PatientID, in more than two characters")
    for above in LEVELS[1 : LEVELS.index(level)]:
        if not names(keyword := {"study": "StudyInstanceUID", "series": "SeriesInstanceUID"}[above]):
            raise BadRequest(f"name {keyword}")


ROUTES = (
    *(
        Route(
            "POST",
            f"{MODALITY}/find-{level}",
            functools.partial(find, level=level),
            "q-r-remote-modalities",
            takes=KEYS,
            body=(JSON,),
            errors=(404,),
        )
        for level in LEVELS
    ),
    Route("POST", f"{MODALITY}/find", find_all, "q-r-remote-modalities", takes=KEYS, body=(JSON,), errors=(404,)),
    Route(
        "POST",
        f"{MODALITY}/find-worklist",
        find_worklist,
        "q-r-remote-modalities",
        takes=any_of(struct(_FindBody), KEYS),
        body=(JSON,),
        errors=(404,),
    ),
)
