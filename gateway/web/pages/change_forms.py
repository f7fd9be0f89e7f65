"""The forms that make other studies of what is here: modified, anonymized, merged, split.

Each is answered twice: first with what it would change, for which nothing is made; and from there, or by a script that
has shown that in place, with the job that does it. Without scripts the first answer is a page with a button, and the
second the page of the job.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from gateway.admin.change_requests import ChangeRequest
from gateway.dicom.levels import COLLECTIONS, Level
from gateway.edit.change_set import ChangeSet, Received
from gateway.errors import BadRequest, DataSetError, EditError, UnknownResource
from gateway.index.locate import Located, identified
from gateway.systems.regrouping_jobs import PlannedRegrouping, RegroupingOptions
from gateway.web.accept import JSON, choose
from gateway.web.auditing import named
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.inputs import read_fields
from gateway.web.pages.frame import page_answer
from gateway.web.pages.lineage import lineage
from gateway.web.pages.reader import may
from gateway.web.rest.anonymize import anonymizing_request
from gateway.web.rest.answers import json_answer, reference
from gateway.web.rest.changing import MODIFICATION_JOBS, ChangeBody, add_change
from gateway.web.rest.regroup import REGROUPING, new_attributes
from gateway.web.route import Route
from gateway.web.sessions import Forbidden, check_form
from gateway.web.urls import path_template, path_to

What = Literal["modify", "anonymize", "merge", "split"]
_HTML: Final = "text/html"
_MAX_CHANGES: Final = 500
"""Changes that are shown."""
_PATIENT: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
"""Whoever becomes another patient becomes it with all that the form says of one."""
_DESCRIPTIONS: Final = ("StudyDescription", "SeriesDescription", "ProtocolName")
_DATES: Final = tuple(
    f"{each}{kind}" for each in ("Study", "Series", "Acquisition", "Content") for kind in ("Date", "Time")
)
_WAS: Final = "was."
"""What stands before the name of an attribute in the name of the field that has its value of before."""


@dataclass(frozen=True, slots=True)
class ChangeForm:
    """A form as it was sent."""

    what: What
    level: Level
    public_id: str
    fields: Sequence[tuple[str, str]]

    def one(self, name: str) -> str:
        """The text of a field; empty for none."""
        return next((value.strip() for key, value in self.fields if key == name), "")

    def all(self, name: str) -> list[str]:
        """The values of a field that may stand there several times."""
        return [value for key, value in self.fields if key == name]

    @property
    def keeps_source(self) -> bool:
        """Whether what is changed stays."""
        return not self.one("remove-source")

    def change_body(self) -> ChangeBody:
        """Make the body that `modify` and `anonymize` take over REST. Raises BadRequest where nothing is changed."""
        if self.what == "anonymize":
            replaced = {name: self.one(name) for name in ("PatientName", "PatientID") if self.one(name)}
            kept = [*(_DESCRIPTIONS if self.one("descriptions") else ()), *(_DATES if self.one("dates") else ())]
            return ChangeBody(replace=replaced, keep=kept, force=True)
        shown = [key.removeprefix(_WAS) for key, _ in self.fields if key.startswith(_WAS)]
        changed = [name for name in shown if self.one(name) != self.one(f"{_WAS}{name}")]
        if not changed:
            raise BadRequest("no attribute has another value than before")
        if any(name in _PATIENT for name in changed):
            changed = list(dict.fromkeys([*changed, *(name for name in _PATIENT if name in shown)]))
        replaced = {name: self.one(name) for name in changed}
        labels = bool(self.one("labels"))
        return ChangeBody(replace=replaced, force=True, keep_source=self.keeps_source, keep_labels=labels)


def form_places(request: web.Request, level: Level, public_id: str) -> dict[str, dict[str, str]]:
    """Where the forms of a resource are sent to, by what they do: for a preview, and to have it done."""
    return {
        what: {
            "preview": path_to(request, f"{level}-{what}-preview", id=public_id),
            "act": path_to(request, f"{level}-{what}-form", id=public_id),
        }
        for each, what in _FORMS
        if each == level
    }


async def preview(request: web.Request, level: Level, what: What) -> web.Response:
    """Show what a form would change: each attribute of the first instance, and its value before and after."""
    form = await _read(request, level, what)
    found = await _changes(request, form)
    if choose(request, (_HTML, JSON)) == JSON:
        return json_answer([{"Path": path, "Before": before, "After": after} for path, before, after in found])
    values = {
        "act_url": path_to(request, f"{level}-{what}-form", id=form.public_id),
        "changes": found,
        "fields": [(name, value) for name, value in form.fields if name != "csrf"],
        "line": await lineage(request, level, form.public_id),
        "page_url": path_to(request, f"{level}-page", id=form.public_id),
        "removes_source": not form.keeps_source,
        "what": what,
    }
    return page_answer(request, "change.html", values)


async def act(request: web.Request, level: Level, what: What) -> web.StreamResponse:
    """Have done what a form says, by a job, and lead to it."""
    form = await _read(request, level, what)
    number = await _begin(request, form)
    if choose(request, (_HTML, JSON)) == JSON:
        return json_answer(reference("jobs", number))
    raise web.HTTPSeeOther(f"{path_template(request, 'jobs-page')}?id={number}")


async def _read(request: web.Request, level: Level, what: What) -> ChangeForm:
    """Read a form. Raises BadRequest; Forbidden where it removes what may not be deleted."""
    fields = await read_fields(request)
    check_form(request, dict(fields))
    form = ChangeForm(what, level, request.match_info["id"], fields)
    deletes = request.app[CONTEXT].settings().dicomweb.delete and may(request, "delete", level=level)
    if not form.keeps_source and not deletes:
        raise Forbidden("the source may not be deleted (dicomweb.delete, and the permission delete)")
    return form


def _request(form: ChangeForm) -> tuple[ChangeBody, ChangeRequest]:
    body = form.change_body()
    return body, anonymizing_request(body) if form.what == "anonymize" else body.change_request("modify", form.level)


async def _plan(request: web.Request, form: ChangeForm) -> PlannedRegrouping:
    """The plan of a merge or split. Raises BadRequest, UnknownResource."""
    jobs = request.app[REGROUPING]
    if form.what == "merge":
        await named(request, [form.public_id, form.one("other")])
        return await jobs.plan_merge(form.public_id, [form.one("other")])
    series, description = form.all("series"), form.one("StudyDescription")
    if not series:
        raise BadRequest("no series is chosen")
    attributes = new_attributes({"StudyDescription": description} if description else {})
    return await jobs.plan_split(form.public_id, series, [], attributes, [])


async def _begin(request: web.Request, form: ChangeForm) -> int:
    """Add the job; its number."""
    if form.what in ("modify", "anonymize"):
        return await add_change(request, *_request(form), [form.public_id], form.level)
    options = RegroupingOptions(keep_source=form.keeps_source, peer=request.remote or "")
    return await request.app[REGROUPING].add(await _plan(request, form), options)


async def _changes(request: web.Request, form: ChangeForm) -> list[tuple[str, str | None, str | None]]:
    """Path, value before and value after of each attribute that is changed in the first instance. Raises BadRequest."""
    located, changes = await _first(request, form)
    try:
        with closing(await request.app[RETRIEVAL].edit(located, changes, Received("", 0.0))) as changed:
            found = await asyncio.to_thread(lambda: changed.edited.changes)
    except (EditError, DataSetError) as error:
        raise BadRequest(str(error)) from None
    # What is anonymized first and then replaced is changed twice: it is shown once.
    after = {each.path: each.after for each in found}
    before = {each.path: each.before for each in reversed(found)}
    return [(path, before[path], after[path]) for path in itertools.islice(after, _MAX_CHANGES)]


async def _first(request: web.Request, form: ChangeForm) -> tuple[Located, ChangeSet]:
    """The first instance that is changed, and its changes. Raises BadRequest, UnknownResource."""
    if form.what in ("merge", "split"):
        return await request.app[REGROUPING].first_change(await _plan(request, form))
    _, wanted = _request(form)
    async for page in identified(request.app[CONTEXT].database, form.level, form.public_id, 1):
        identity, located = page[0]
        return located, await request.app[MODIFICATION_JOBS].of_instance(wanted, identity.instance)
    raise UnknownResource(f"there is no {form.level} {form.public_id[:64]}")


_FORM: Final = ("application/x-www-form-urlencoded",)
_FORMS: Final[tuple[tuple[Level, What], ...]] = (
    *(("study", what) for what in ("modify", "anonymize", "merge", "split")),
    ("patient", "modify"),
    ("patient", "anonymize"),
)
ROUTES = tuple(
    route
    for level, what in _FORMS
    for permission in ("anonymize" if what == "anonymize" else "modify",)
    for route in (
        Route(
            *("POST", f"/ui/{COLLECTIONS[level]}/{{id}}/{what}/preview"),
            functools.partial(preview, level=level, what=what),
            permission,
            body=_FORM,
            answers=(_HTML, JSON),
            errors=(403, 404),
            name=f"{level}-{what}-preview",
            action="view",
        ),
        Route(
            *("POST", f"/ui/{COLLECTIONS[level]}/{{id}}/{what}"),
            functools.partial(act, level=level, what=what),
            permission,
            body=_FORM,
            answers=(JSON,),
            leads_on=True,
            errors=(403, 404, 409, 507),
            name=f"{level}-{what}-form",
        ),
    )
)
