"""GET /auth/audit-logs: the audit log as Orthanc's authorization plugin answers it, and whether its chain is whole.

Orthanc has its entries by the PostgreSQL plugin; the names of parameters and members are of these two plugins, those of
actions are ours.
"""

from __future__ import annotations

import base64
import csv
import datetime
import io
import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.audit.chain import ChainLink
from gateway.audit.entry import AuditEntry
from gateway.audit.table import AuditFilter, search, verify
from gateway.database.view import seeing
from gateway.errors import BadRequest
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer, number
from gateway.web.route import COUNT, TEXT, Parameter, Route, one_of

_DEFAULT_LIMIT: Final = 1000
_MAX_LIMIT: Final = 10_000
_MAX_SINCE: Final = 1_000_000
_CSV: Final = "text/csv"
_SOURCE: Final = "dicom-gateway"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters of what a spreadsheet takes for a formula."""


async def audit_logs(request: web.Request) -> web.Response:
    """Entries of the audit log, newest first: those of a user, a resource, an action, a time; all together.

    `since` is how many are passed over, `limit` how many come. Times are ISO 8601, in UTC unless they say otherwise.
    `LogData` comes as `JsonLogData`, or in base64 with `log-data-format=base64`; `format=csv`, or an Accept header with
    text/csv, makes a table of all of it.
    """
    wanted = audit_filter(request)
    limit = min(number(request, "limit", 0) or _DEFAULT_LIMIT, _MAX_LIMIT)
    skip = number(request, "since", 0)
    if skip > _MAX_SINCE:
        raise BadRequest(f"since: at most {_MAX_SINCE}; use to-timestamp for older entries")
    form = request.query.get("log-data-format", "json")
    if form not in ("json", "base64"):
        raise BadRequest("log-data-format: json or base64")
    found = await search(request.app[CONTEXT].database, wanted, skip=skip, limit=limit)
    if request.query.get("format") == "csv" or _CSV in request.headers.get("Accept", "").lower():
        return csv_answer(found)
    return json_answer([_as_json(each, form == "base64") for each in found])


async def verified(request: web.Request) -> web.Response:
    """Check the whole chain: `Problem` says what was removed or changed first, and is empty if nothing was.

    `Last` and `Hash`, written down elsewhere, prove later that nothing up to there was changed: by `seq` and `hash`.
    """
    known = []
    if (text := request.query.get("hash", "")) or "seq" in request.query:
        try:
            known.append(ChainLink(int(request.query.get("seq", "")), bytes.fromhex(text)))
        except ValueError:
            raise BadRequest("seq and hash: the Last and Hash of an earlier answer") from None
    with seeing(None):  # Without all entries it is no chain.
        found = await verify(request.app[CONTEXT].database, known)
    return json_answer({"First": found.first, "Hash": found.hash, "Last": found.last, "Problem": found.problem})


def audit_filter(request: web.Request) -> AuditFilter:
    """The conditions in the query of a request. Raises BadRequest."""
    query = request.query
    return AuditFilter(
        user=query.get("user-id", ""),
        public_id=query.get("resource-id", ""),
        study_uid=query.get("study", ""),
        action=query.get("action", ""),
        since=_time(query.get("from-timestamp", ""), "from-timestamp"),
        until=_time(query.get("to-timestamp", ""), "to-timestamp"),
    )


def iso_time(at: float) -> str:
    """A time, seconds since 1970, as ISO 8601 in UTC with milliseconds."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def csv_answer(entries: Sequence[AuditEntry]) -> web.Response:
    """A table of entries. What a spreadsheet would take for a formula has an apostrophe before it."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    names = [name for name in AuditEntry._fields if name != "hash"]
    table.writerow(names)
    for each in entries:
        values = [iso_time(each.at) if name == "at" else getattr(each, name) for name in names]
        table.writerow([f"'{value}" if str(value).startswith(_FORMULA) else value for value in values])
    headers = {"Content-Disposition": 'attachment; filename="audit-logs.csv"'}
    return web.Response(text=text.getvalue(), content_type=_CSV, charset="utf-8", headers=headers)


def _as_json(one: AuditEntry, in_base64: bool) -> dict[str, Any]:
    more: dict[str, Any] = {"Number": one.number, "Origin": one.origin, "Outcome": one.outcome, "Seq": one.seq}
    more |= {"PatientID": one.patient_id, "StudyInstanceUID": one.study_uid, "Token": one.token}
    detail = {**one.details, **{name: value for name, value in more.items() if value}}
    return {
        "Action": one.action,
        **({"Base64LogData": _base64(detail)} if in_base64 else {"JsonLogData": detail}),
        "ResourceId": one.public_id,
        "ResourceType": one.level.capitalize() or "None",
        "SourcePlugin": _SOURCE,
        "Timestamp": iso_time(one.at),
        "UserId": one.user,
        "UserName": one.user or one.origin,
    }


def _base64(detail: dict[str, Any]) -> str:
    return base64.b64encode(msgspec.json.encode(detail)).decode()


def _time(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped plus sign
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        found = moment.timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(f"{name}: {text[:40]!r} is no time such as 2026-11-29T12:00:00Z") from None
    return found if math.isfinite(found) else None


FILTERS: Final = (
    Parameter("user-id", "Name of a user", TEXT, "ann"),
    Parameter("resource-id", "Public id of a patient, study, series or instance", TEXT, "0123"),
    Parameter("study", "Study Instance UID", TEXT, "1.2.3"),
    Parameter("action", "Name of an action", TEXT, "delete"),
    Parameter("from-timestamp", "Entries from this time on", TEXT, "2026-11-29T00:00:00Z"),
    Parameter("to-timestamp", "Entries before this time", TEXT, "2030-01-01T00:00:00Z"),
    Parameter("since", "Entries to pass over", COUNT, "0"),
)
ROUTES: Final = (
    Route(
        "GET",
        "/auth/audit-logs",
        audit_logs,
        "audit-logs",
        (
            *FILTERS,
            Parameter("limit", "Most entries", COUNT, "10"),
            Parameter("log-data-format", "Form of the details", one_of("json", "base64"), "json"),
            Parameter("format", "`csv` for a table", TEXT, "json"),
        ),
        answers=(JSON, _CSV),
        name="audit-logs",
    ),
    Route(
        "GET",
        "/auth/audit-logs/verify",
        verified,
        "audit-logs",
        (
            Parameter("seq", "`Last` of an earlier answer", COUNT, "1"),
            Parameter("hash", "`Hash` of that answer", TEXT, "00"),
        ),
    ),
)
