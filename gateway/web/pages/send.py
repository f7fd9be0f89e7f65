"""The page for sending what is stored: what it is, where it goes, and the job that sends it.

Modalities, peers and DICOMweb servers are sent to by a job, which lists each failure; a destination of the
configuration gets deliveries, with its retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.index.locate import Counted, counted_resources
from gateway.index.resources import resource, resource_above
from gateway.systems.calls import AS_KNOWN
from gateway.web.auditing import named
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_fields
from gateway.web.pages.filters import date, person
from gateway.web.pages.frame import page_answer
from gateway.web.pages.job_rows import MAX_TITLE, TITLE
from gateway.web.pages.reader import may, page_of
from gateway.web.pages.wording import reader_words
from gateway.web.rest.asked import public_ids
from gateway.web.rest.dimse import STORE_JOBS
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.rest.peers import HTTP_STORE_JOBS
from gateway.web.route import Parameter, Route
from gateway.web.schemas import PUBLIC_ID
from gateway.web.sessions import check_form
from gateway.web.urls import path_template

MAX_RESOURCES: Final = 500
"""Resources that are sent from one page: their ids are in its address."""
_SHOWN: Final = 20
"""Resources that the page names; the others are counted."""
_KINDS: Final = ("modality", "server", "peer", "destination")
_PAGES: Final[dict[Level, str]] = {level: f"{level}-page" for level in LEVELS}


@dataclass(frozen=True, slots=True)
class Sendable:
    """A resource that is to be sent."""

    level: Level
    name: str
    """Of the patient, carets and all."""
    text: str
    """Description and the like."""
    date: str
    instances: int
    size: int
    url: str


async def choose(request: web.Request) -> web.Response:
    """The page for sending resources, whose public ids are in its address."""
    ids = _ids(request.query.getall("id", []))
    await named(request, ids)
    return await _page(request, ids, request.query.get("to", "")[:200])


async def send(request: web.Request) -> web.StreamResponse:
    """Begin to send the resources of a form, and lead to what shows its progress."""
    fields = await read_fields(request)
    form = dict(fields)
    check_form(request, form)
    ids = _ids([value for name, value in fields if name == "id"])
    await named(request, ids)
    kind, _, name = form.get("to", "").partition(":")
    if not ids or kind not in _KINDS or not name:
        problem = "nothing" if not ids else "nowhere"
        answer = await _page(request, ids, form.get("to", ""), problem=problem)
        answer.set_status(400)
        return answer
    if kind == "destination":
        count = await request.app[CONTEXT].use_cases.manual_deliveries.add(name, ids)
        if may(request, "route"):
            query = urlencode({"destination": name, "state": "waiting"})
            raise web.HTTPSeeOther(f"{path_template(request, 'routing')}?{query}")
        return await _page(request, ids, form["to"], added=count)
    number = await _add_job(request, kind, name, ids, commitment="commitment" in form)
    raise web.HTTPSeeOther(f"{path_template(request, 'jobs-page')}?id={number}")


async def _page(
    request: web.Request, ids: Sequence[str], chosen: str, *, problem: str = "", added: int | None = None
) -> web.Response:
    found = await counted_resources(request.app[CONTEXT].database, ids)
    outer = {public_id: each for public_id, each in found.items() if not each.above & found.keys()}
    shown = [await _sendable(request, public_id, outer[public_id]) for public_id in list(outer)[:_SHOWN]]
    systems = await _systems(request)
    values: dict[str, Any] = {
        "added": added,
        "chosen": chosen,
        "count": len(outer),
        "gone": len(set(ids)) - len(found),
        "ids": list(outer),
        "instances": sum(each.instances for each in outer.values()),
        "page": path_template(request, "send-page"),
        "problem": problem,
        "resources": shown,
        "size": sum(each.size for each in outer.values()),
        "systems": systems,
        "has_systems": any(names for _, names in systems),
    }
    return page_answer(request, "send.html", values)


async def _systems(request: web.Request) -> list[tuple[str, list[tuple[str, str]]]]:
    """By kind, the names and addresses of all systems that can be sent to."""
    directory, settings = request.app[DIRECTORY], request.app[CONTEXT].settings()
    modalities = await directory.systems("modality")
    found = [
        (
            "modality",
            [
                (name, f"{each.fields['AET']}@{each.fields['Host']}:{each.fields['Port']}")
                for name, each in modalities.items()
                if each.fields["Port"]
            ],
        )
    ]
    found += [
        (kind, [(name, each.fields["Url"]) for name, each in (await directory.systems(kind)).items()])
        for kind in ("server", "peer")
    ]
    tagged = [(name, str(each.__struct_config__.tag)) for name, each in sorted(settings.destinations.items())]
    found.append(("destination", tagged))
    return found


async def _sendable(request: web.Request, public_id: str, counted: Counted) -> Sendable:
    database, level = request.app[CONTEXT].database, counted.level
    own = await resource(database, level, public_id)
    patient = own if level == "patient" else await resource_above(database, level, public_id, "patient")
    study = own if level == "study" else None
    if level in ("series", "instance"):
        study = await resource_above(database, level, public_id, "study")
    attributes = own.attributes if own is not None else {}
    above = study.attributes if study is not None else {}
    description = above.get(KEYWORDS["StudyDescription"], "")
    if level == "patient":
        description = attributes.get(KEYWORDS["PatientID"], "")
    if level == "series":
        words = [attributes.get(KEYWORDS[name], "") for name in ("Modality", "SeriesNumber", "SeriesDescription")]
        description = " ".join(filter(None, [*words, f"({description})" if description else ""]))
    if level == "instance":
        description = f"{attributes.get(KEYWORDS['InstanceNumber'], '')} {description}".strip()
    name = patient.attributes.get(KEYWORDS["PatientName"], "") if patient is not None else ""
    return Sendable(
        level,
        name,
        description,
        above.get(KEYWORDS["StudyDate"], ""),
        counted.instances,
        counted.size,
        page_of(request, _PAGES[level], public_id) if may(request, "view") else "",
    )


async def _add_job(request: web.Request, kind: str, name: str, ids: Sequence[str], *, commitment: bool) -> int:
    """Add the job that sends; its number. It goes on after a failure, and lists what has failed."""
    user_data = {TITLE: await _title(request, ids)}
    if kind == "modality":
        return await request.app[STORE_JOBS].add(
            name, ids, AS_KNOWN, permissive=True, commitment=commitment, user_data=user_data
        )
    return await request.app[HTTP_STORE_JOBS].add(
        "peer" if kind == "peer" else "server", name, ids, permissive=True, user_data=user_data
    )


async def _title(request: web.Request, ids: Sequence[str]) -> str:
    """What is sent, for the list of jobs: the first resource, and how many more there are."""
    found = await counted_resources(request.app[CONTEXT].database, ids[:1])
    words = []
    for public_id, counted in found.items():
        one = await _sendable(request, public_id, counted)
        words = [person(one.name), one.text, date(one.date)]
    if len(ids) > 1:
        words.append(str(reader_words(request)("send.and_more", count=len(ids) - 1)))
    return " · ".join(word for word in words if word)[:MAX_TITLE]


def _ids(texts: Sequence[str]) -> list[str]:
    """Raises BadRequest for what is no public id, or too many."""
    if len(texts) > MAX_RESOURCES:
        raise BadRequest(f"{len(texts)} resources; at most {MAX_RESOURCES} are sent from one page")
    return list(dict.fromkeys(public_ids(texts)))


_QUERY: Final = (
    Parameter("id", "Public id of what is to be sent; may be repeated", PUBLIC_ID),
    Parameter("to", "The system that is chosen already, as modality:NAME", example="modality:pacs"),
)
ROUTES: Final = (
    Route("GET", "/ui/send", choose, "send", _QUERY, answers=("text/html",), name="send-page", action="view"),
    Route(
        *("POST", "/ui/send", send, "send"),
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
        errors=(404,),
    ),
)
