"""Jobs as rows of a page: what each does, how far it is, what failed and why, what came of it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from markupsafe import Markup

from gateway.dicom.levels import UNIQUE_KEYS
from gateway.index.resources import look_up
from gateway.jobs.table import Job
from gateway.web.context import CONTEXT
from gateway.web.pages.causes import ExplainedFailure, explained
from gateway.web.pages.reader import as_viewer, may, page_of
from gateway.web.pages.wording import CATALOGUE, Words
from gateway.web.rest.jobs import JOB_ACTIONS, JobAction
from gateway.web.rest.own_jobs import check_acts_on
from gateway.web.sessions import Forbidden
from gateway.web.urls import path_template, path_to

OPEN: Final = ("waiting", "running", "held")
TITLE: Final = "Title"
"""Member of a job's user data with what it is about, for people."""
MAX_TITLE: Final = 160
_MAX_LINKS: Final = 3
"""Studies that one job links to."""
_ARCHIVES: Final = ("Archive", "Media")
_SENDING: Final = {
    "DicomModalityStore": "modality",
    "OrthancPeerStore": "peer",
    "DicomWebStowClient": "server",
}
"""Kinds of jobs that send, with the kind of system that they send to."""
_STUDY: Final = f"{UNIQUE_KEYS['study'] >> 16:04x},{UNIQUE_KEYS['study'] & 0xFFFF:04x}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance that a job could not send."""

    public_id: str
    url: str
    """Of its page; '' for none."""
    why: ExplainedFailure


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job in words."""

    job: Job
    kind: Markup | str
    system: str
    title: str
    percent: int
    instances: int
    """How many the job is about; 0 if it does not say."""
    failed: int
    failures: Sequence[Failure]
    again_url: str
    """Of the page that sends what has failed once more; '' if nothing has."""
    why: ExplainedFailure | None
    results: Sequence[tuple[str, str]]
    """Key of the name, and URL, of what has come of it."""
    actions: Sequence[JobAction]

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.job.state in OPEN


async def job_row(request: web.Request, t: Words, job: Job) -> JobRow:
    """A job in words, with the links that the reader may follow."""
    content: Mapping[str, Any] = job.progress.content if job.progress is not None else {}
    listed = [each for each in content.get("FailedInstances", ()) if isinstance(each, dict)]
    failures = [
        Failure(
            str(each.get("ID", "")),
            page_of(request, "instance-page", str(each.get("ID", ""))),
            explained(t, str(each.get("Details", "")), each.get("DimseErrorStatus")),
        )
        for each in listed
    ]
    return JobRow(
        job,
        _kind(t, job.kind),
        job.queue.partition(":")[2],
        _title(job),
        100 if job.state == "done" else job.progress.percent if job.progress is not None else 0,
        _number(content.get("InstancesCount")),
        _number(content.get("FailedInstancesCount")),
        failures,
        _again_url(request, job, failures),
        explained(t, job.error, _status(job)) if job.error and job.state != "done" else None,
        await _results(request, job, content),
        _actions(request, job),
    )


def _actions(request: web.Request, job: Job) -> list[JobAction]:
    """What the reader may do with a job now."""
    try:
        check_acts_on(request, job)
    except Forbidden:
        return []
    return [action for action, states in JOB_ACTIONS.items() if job.state in states]


def _kind(t: Words, kind: str) -> Markup | str:
    return t("jobs.kinds." + kind) if f"jobs.kinds.{kind}" in CATALOGUE else kind


def _title(job: Job) -> str:
    user_data = job.payload.get("user_data")
    title = user_data.get(TITLE) if isinstance(user_data, dict) else None
    return title[:MAX_TITLE] if isinstance(title, str) else ""


def _number(value: Any) -> int:
    """A number of a job's content, which some kinds write as text, as Orthanc does."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _status(job: Job) -> int | None:
    """The DIMSE status with which a job has failed."""
    payload = (job.progress.error_payload or {}) if job.progress is not None else {}
    content = payload.get("Content")
    for each in content if isinstance(content, list) else [content]:
        if isinstance(each, dict) and each.get("DimseErrorStatus"):
            return _number(each["DimseErrorStatus"])
    return None


def _again_url(request: web.Request, job: Job, failures: Sequence[Failure]) -> str:
    ids = [each.public_id for each in failures if each.public_id]
    if job.kind not in _SENDING or not ids or job.state in OPEN or not may(request, "send"):
        return ""
    system = job.queue.partition(":")[2]
    fields = [("to", f"{_SENDING[job.kind]}:{system}"), *(("id", each) for each in ids)]
    return f"{path_template(request, 'send-page')}?{urlencode(fields)}"


async def _results(request: web.Request, job: Job, content: Mapping[str, Any]) -> list[tuple[str, str]]:
    if job.state != "done":
        return []
    if job.kind in _ARCHIVES:
        return [("archive", path_to(request, "job-output", id=str(job.id), key="archive"))]
    if not may(request, "view"):
        return []
    return [("study", url) for each in await _studies(request, job, content) if (url := each)]


async def _studies(request: web.Request, job: Job, content: Mapping[str, Any]) -> list[str]:
    """The paths of the pages of studies that have come of a job."""
    if content.get("Type") == "Study" and isinstance(content.get("ID"), str):
        return [page_of(request, "study-page", content["ID"])]
    uids = [keys.get(_STUDY) for keys in job.payload.get("keys", ()) if isinstance(keys, dict)]
    if job.kind == "DicomWebWadoRetrieveClient":
        uids = [each[0] for each in job.payload.get("resources", ()) if each]
    found = []
    with as_viewer(request):
        for uid in list(dict.fromkeys(filter(None, uids)))[:_MAX_LINKS]:
            rows = await look_up(request.app[CONTEXT].database, uid, _MAX_LINKS)
            found += [page_of(request, "study-page", public_id) for level, public_id in rows if level == "study"]
    return found
