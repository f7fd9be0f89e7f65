"""The inbox: what outsiders have uploaded, until a person accepts or deletes it, and the links by which they do."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.access.bearer import allowance_of
from gateway.access.issued_tokens import UPLOAD_LINK
from gateway.access.principals import ANYBODY, user_of
from gateway.database.view import tenant_of_task
from gateway.dicom.dictionary import KEYWORDS
from gateway.errors import BadRequest, NotFound
from gateway.index.annotations import added_metadata
from gateway.index.inbox import SENDER, WaitingStudy, waiting_instances, waiting_studies
from gateway.index.resources import resource
from gateway.web.auditing import named
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form, whole_number
from gateway.web.pages.deposit import check_kept
from gateway.web.pages.frame import page_answer
from gateway.web.pages.reader import may, page_of
from gateway.web.rest.asked import public_ids
from gateway.web.rest.removal import REMOVAL
from gateway.web.rest.tokens import DAY_S, MAX_DAYS, role_names, token_maker, token_name
from gateway.web.route import Route
from gateway.web.sessions import ISSUED_TOKENS, Forbidden, check_form
from gateway.web.urls import path_template, url_template

log = logging.getLogger(__name__)

_SHOWN: Final = 100
_MAX_USES: Final = 1_000_000
INSTANCES: Final = 20_000
"""Instances that a link may bring, where its maker says nothing else."""
_MAX_INSTANCES: Final = 10_000_000
GIGABYTES: Final = 20
"""Gigabytes that a link may bring, where its maker says nothing else."""
_MAX_GIGABYTES: Final = 100_000
_GIGABYTE: Final = 10**9


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A study that waits, in words."""

    waiting: WaitingStudy
    name: str
    patient_id: str
    description: str
    date: str
    sender: str
    url: str


async def show(request: web.Request) -> web.Response:
    """The page of the inbox."""
    return await _page(request)


async def accept_study(request: web.Request) -> web.StreamResponse:
    """Accept what waits of a study: its label goes, and the rules are applied to it."""
    study, _ = await _waiting(request)
    await request.app[CONTEXT].use_cases.acceptance.accept(study)
    raise web.HTTPSeeOther(path_template(request, "inbox-page"))


async def delete_study(request: web.Request) -> web.StreamResponse:
    """Delete what waits of a study, and nothing else of it."""
    _, instances = await _waiting(request)
    for each in instances:
        await request.app[REMOVAL].by_public_id("instance", each)
    raise web.HTTPSeeOther(path_template(request, "inbox-page"))


async def make_link(request: web.Request) -> web.Response:
    """Make a link by which an outsider uploads, and show it this once."""
    form = await read_form(request)
    check_form(request, form)
    check_kept(request)
    if not may(request, "upload"):
        raise Forbidden("whoever makes a link to upload needs the permission upload")
    who, issued = token_maker(request), request.app[ISSUED_TOKENS]
    days, uses = whole_number(form.get("days", "")) or 0, form.get("uses", "")
    if not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"a link lasts 1 to {MAX_DAYS} days")
    count = whole_number(uses) if uses else None
    if uses and not 1 <= (count or 0) <= _MAX_USES:
        raise BadRequest(f"a link is used 1 to {_MAX_USES} times")
    instances = whole_number(form.get("instances") or str(INSTANCES)) or 0
    gigabytes = whole_number(form.get("gigabytes") or str(GIGABYTES)) or 0
    if not 1 <= instances <= _MAX_INSTANCES:
        raise BadRequest(f"a link brings 1 to {_MAX_INSTANCES} instances")
    if not 1 <= gigabytes <= _MAX_GIGABYTES:
        raise BadRequest(f"a link brings 1 to {_MAX_GIGABYTES} gigabytes")
    settings, room = request.app[CONTEXT].settings(), (instances, gigabytes * _GIGABYTE)
    roles = role_names(who, settings) if user_of(who.name, settings) is None else ()
    allows = allowance_of(who, settings, roles=roles, link=UPLOAD_LINK, tenant=tenant_of_task())
    name = token_name("name", form.get("name", ""))
    token_id, secret = await issued.issue("share", name, who.name, allows, seconds=days * DAY_S, uses=count, room=room)
    log.warning("user %s has made the link %s %r to upload", who.name, token_id, name)
    url = f"{url_template(request, 'deposit-page')}?{urlencode({'token': secret})}"
    return await _page(request, link=url, link_ends_at=time.time() + days * DAY_S)


async def revoke_link(request: web.Request) -> web.StreamResponse:
    """Revoke a link of one's own to upload."""
    form = await read_form(request)
    check_form(request, form)
    who = request.get(PRINCIPAL, ANYBODY)
    await request.app[ISSUED_TOKENS].revoke("share", form.get("id", ""), who.name)
    log.warning("user %s has revoked share %s", who.name, form.get("id", "")[:40])
    raise web.HTTPSeeOther(path_template(request, "inbox-page"))


async def _waiting(request: web.Request) -> tuple[str, list[str]]:
    """The study that a form names, and its waiting instances. Raises: NotFound if none waits."""
    form = await read_form(request)
    check_form(request, form)
    (study,) = public_ids([form.get("study", "")])
    await named(request, [study], "study")
    instances = await waiting_instances(request.app[CONTEXT].database, study)
    if not instances:
        raise NotFound(f"nothing of the study {study} waits")
    return study, instances


async def _page(request: web.Request, **shown: Any) -> web.Response:
    who, database = request.get(PRINCIPAL, ANYBODY), request.app[CONTEXT].database
    makes_links = may(request, "share") and may(request, "upload") and who.is_person and bool(who.name)
    links = await request.app[ISSUED_TOKENS].listed("share", who.name) if makes_links else []
    values = {
        "accept_url": path_template(request, "inbox-accept"),
        "delete_url": path_template(request, "inbox-delete"),
        "link": "",
        "links": [each for each in links if each.allows.link == UPLOAD_LINK],
        "link_url": path_template(request, "inbox-link"),
        "makes_links": makes_links,
        "may_accept": may(request, "edit-labels"),
        "may_delete": may(request, "delete"),
        "gigabytes": GIGABYTES,
        "instances": INSTANCES,
        "max_days": MAX_DAYS,
        "max_gigabytes": _MAX_GIGABYTES,
        "max_instances": _MAX_INSTANCES,
        "revoke_url": path_template(request, "inbox-revoke"),
        "rows": [await _row(request, each) for each in await waiting_studies(database, _SHOWN)],
        "shown": _SHOWN,
        **shown,
    }
    return page_answer(request, "inbox.html", values)


async def _row(request: web.Request, waiting: WaitingStudy) -> InboxRow:
    database, public_id = request.app[CONTEXT].database, waiting.public_id
    study = await resource(database, "study", public_id)
    metadata = await added_metadata(database, "study", public_id)
    attributes = study.attributes if study is not None else {}
    return InboxRow(
        waiting,
        attributes.get(KEYWORDS["PatientName"], ""),
        attributes.get(KEYWORDS["PatientID"], ""),
        attributes.get(KEYWORDS["StudyDescription"], ""),
        attributes.get(KEYWORDS["StudyDate"], ""),
        metadata[SENDER].value if SENDER in metadata else "",
        page_of(request, "study-page", public_id) if may(request, "view") else "",
    )


_FORM: Final = ("application/x-www-form-urlencoded",)
_HTML: Final = ("text/html",)
ROUTES: Final = (
    Route("GET", "/ui/inbox", show, "edit-labels", answers=_HTML, name="inbox-page", action="search"),
    Route(
        *("POST", "/ui/inbox/accept", accept_study, "edit-labels"),
        body=_FORM,
        errors=(404,),
        leads_on=True,
        name="inbox-accept",
    ),
    Route(
        *("POST", "/ui/inbox/delete", delete_study, "delete"),
        body=_FORM,
        errors=(404, 409),
        leads_on=True,
        name="inbox-delete",
    ),
    Route(
        *("POST", "/ui/inbox/links", make_link, "share"),
        body=_FORM,
        answers=_HTML,
        errors=(403,),
        name="inbox-link",
    ),
    Route(
        *("POST", "/ui/inbox/revoke", revoke_link, "share"),
        body=_FORM,
        errors=(404,),
        leads_on=True,
        name="inbox-revoke",
    ),
)
