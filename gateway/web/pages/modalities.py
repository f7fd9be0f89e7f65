"""The page of modalities: the DICOM systems that are known, a form to add one, and the doctor for each.

What is entered is kept before it is tried, as REST keeps it. Everything works without scripts; `static/modalities.js`
only watches for what the other side asks of us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.config import Modality, Settings
from gateway.errors import BadRequest, ConfigurationError, Configured
from gateway.net.association_record import AssociationRecord
from gateway.remote import probe
from gateway.remote.diagnosis import Diagnosis, Value
from gateway.remote.incoming import incoming
from gateway.scu.node import find_node
from gateway.systems.directory import KnownSystem
from gateway.systems.doctor import consult
from gateway.web.context import CONTEXT, Context
from gateway.web.inputs import read_form
from gateway.web.pages.findings import in_words
from gateway.web.pages.frame import page_answer
from gateway.web.pages.wording import reader_words
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.route import Parameter, Route
from gateway.web.sessions import check_form
from gateway.web.urls import path_template

_FLAGS: Final = {
    "store": "AllowStore",
    "find": "AllowFind",
    "move": "AllowMove",
    "get": "AllowGet",
    "worklist": "AllowFindWorklist",
    "workflow": "AllowNAction",
    "echo": "AllowEcho",
}
"""The fields of REST by the names of the form: what a modality may ask of us."""
_LOOPBACK: Final = ("127.", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ModalityRow:
    """A modality in the table, with the last that came from it."""

    name: str
    modality: Modality
    added: bool
    last: AssociationRecord | None


async def modalities(request: web.Request) -> web.Response:
    """The page of modalities; with `name`, of one of them."""
    return await _page(request, request.query.get("name", "").strip())


async def act(request: web.Request) -> web.StreamResponse:
    """Keep what the form says and try it; try a modality; or remove one."""
    form = await read_form(request)
    check_form(request, form)
    directory, name = request.app[DIRECTORY], form.get("name", "").strip()
    match form.get("what"):
        case "save":
            try:
                await directory.put("modality", name, _body(form))
            except (BadRequest, Configured) as error:
                return await _page(request, name, entered=form, problem=str(error))
        case "check":
            await directory.system("modality", name)
        case "remove":
            await directory.remove("modality", name)
            raise web.HTTPSeeOther(path_template(request, "modalities-page"))
        case what:
            raise BadRequest(f"there is no button {what!r}")
    return await _page(request, name, diagnosis=await _diagnose(request, name))


def _body(form: Mapping[str, str]) -> dict[str, Any]:
    """The form as the body of `PUT /modalities/{name}`."""
    port = form.get("port", "").strip()
    return {
        "AET": form.get("aet", "").strip(),
        "Host": form.get("host", "").strip(),
        "Port": port,
        "LocalAet": form.get("our_aet", "").strip(),
        "UseDicomTls": "tls" in form,
        **{flag: name in form for name, flag in _FLAGS.items()},
    }


async def _diagnose(request: web.Request, name: str) -> Diagnosis:
    context = request.app[CONTEXT]
    try:
        node = await asyncio.to_thread(find_node, context.settings(), name)
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None
    ours = _ours(request, context.settings(), context.settings().modalities[name])
    return await consult(node, ours=ours, records=context.records(), database=context.database)


def _ours(request: web.Request, settings: Settings, modality: Modality | None) -> dict[str, Value]:
    """What to enter at the other side: our AE title, host and port."""
    dicom, tls = settings.dicom, modality is not None and modality.tls
    host = request.host.rpartition(":")[0].strip("[]") or request.host
    plain = request.app[CONTEXT].ports[0]
    return {
        "our_aet": (modality.our_aet if modality is not None else "") or dicom.aet.strip(),
        "our_host": "" if host.startswith(_LOOPBACK) else host,
        "our_port": str((dicom.tls_port or "") if tls else plain),
    }


async def _page(
    request: web.Request,
    name: str,
    *,
    diagnosis: Diagnosis | None = None,
    entered: Mapping[str, str] | None = None,
    problem: str = "",
) -> web.Response:
    context, words = request.app[CONTEXT], reader_words(request)
    known = await request.app[DIRECTORY].systems("modality")
    settings = context.settings()
    records = context.records()
    chosen = settings.modalities.get(name) if name in known else None
    ours = _ours(request, settings, chosen)
    if diagnosis is not None:
        ours["our_host"] = diagnosis.local or ours["our_host"]
    came = await _incoming(context, chosen, records, ours) if chosen is not None else []
    outgoing = [each for each in diagnosis.findings if each.step != "incoming"] if diagnosis is not None else []
    values: dict[str, Any] = {
        "chosen": name if chosen is not None else "",
        "entered": entered or _entered(name, known.get(name), chosen),
        "flags": list(_FLAGS),
        "incoming": came and [in_words(words, each) for each in came],
        "is_good": diagnosis is not None and diagnosis.is_good,
        "is_own": chosen is None or known[name].added,
        "association_url": path_template(request, "association-page"),
        "modalities": [
            ModalityRow(each, settings.modalities[each], system.added, _last(settings.modalities[each], records))
            for each, system in known.items()
            if each in settings.modalities
        ],
        "ours": ours,
        "page": path_template(request, "modalities-page"),
        "problem": problem,
        "tls_port": settings.dicom.tls_port,
        "tried": [in_words(words, each) for each in outgoing],
    }
    return page_answer(request, "modalities.html", values)


async def _incoming(
    context: Context, modality: Modality, records: Sequence[AssociationRecord], ours: dict[str, Value]
) -> Any:
    addresses = [modality.host]
    try:
        async with asyncio.timeout(2):
            addresses += await probe.resolve(modality.host, modality.port or 0)
    except (OSError, UnicodeError):
        pass
    return incoming(records, modality.aet, addresses, ours)


def _entered(name: str, known: KnownSystem | None, modality: Modality | None) -> dict[str, Any]:
    """The values of the form: of a modality, or those that are right for a new one."""
    if known is None or modality is None:
        return {"name": name, "aet": "", "host": "", "port": "104", "store": "on", "echo": "on"}
    allowed = {field for field, flag in _FLAGS.items() if known.fields.get(flag)}
    return {
        "name": name,
        "aet": modality.aet,
        "host": modality.host,
        "port": modality.port,
        "our_aet": modality.our_aet,
        **dict.fromkeys(allowed, "on"),
        **({"tls": "on"} if modality.tls else {}),
    }


def _last(modality: Modality, records: Sequence[AssociationRecord]) -> AssociationRecord | None:
    return next((each for each in records if each.calling_aet == modality.aet), None)


_NAME: Final = (Parameter("name", "A modality to show", example="ct1"),)
ROUTES = (
    Route(*("GET", "/ui/modalities", modalities, "settings", _NAME), answers=("text/html",), name="modalities-page"),
    Route(
        *("POST", "/ui/modalities", act, "settings"),
        body=("application/x-www-form-urlencoded",),
        answers=("text/html",),
        errors=(403, 404),
    ),
)
