"""Queries of a DICOMweb server by QIDO-RS (PS3.18 §10.6): searches, and for instances a series and a page at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from gateway.dicom.json import NOT_JSON
from gateway.errors import GatewayError
from gateway.remote.destination import Named
from gateway.remote.http import HttpClient, Reply

ACCEPT: Final = {"Accept": "application/dicom+json"}
_UID: Final = re.compile(r"[0-9A-Za-z]+(\.[0-9A-Za-z]+)*")
"""Text that needs no escaping in a URL; no server has other UIDs."""
_PAGE: Final = 500
"""Results per request. Servers may return fewer (§8.3.4.4)."""
_MAX_PAGES: Final = 2000
"""Pages of one series: bounds a server that returns one result at a time, or the same for ever."""


async def search(
    http: HttpClient, path: str, keys: Mapping[str, str], fields: Iterable[str], limit: int
) -> list[dict[str, Any]]:
    """The matches of a search at `path`, in the DICOM JSON Model: `keys` are values to match by tag, `fields` the tags
    to return beside them. Raises like `HttpClient.request`, and GatewayError."""
    asked = [*keys.items(), *(("includefield", tag) for tag in fields), ("limit", str(limit))]
    reply = await http.request("GET", f"{path}?{urlencode(asked)}", headers=ACCEPT)
    if reply.status == 204:
        return []
    if reply.status != 200:
        raise GatewayError(f"{http.name}: {reply.words} to a search")
    try:
        return msgspec.json.decode(reply.body or b"[]", type=list[dict[str, Any]])
    except NOT_JSON:
        raise GatewayError(f"{http.name}: its answer to a search cannot be read as DICOM JSON") from None


async def present(http: HttpClient, instances: Sequence[Named], base: str = "") -> set[str]:
    """The SOP Instance UIDs of the instances that the server has. Raises like `HttpClient.request`, and
    GatewayError."""
    found: set[str] = set()
    by_series: dict[tuple[str, str], set[str]] = {}
    for study, series, sop in instances:
        if all(map(_UID.fullmatch, (study, series, sop))):
            by_series.setdefault((study, series), set()).add(sop)
    for (study, series), wanted in by_series.items():
        path = f"{base}/studies/{study}/series/{series}/instances"
        missing, offset = set(wanted), 0
        for _ in range(_MAX_PAGES):
            uids = await _page(http, f"{path}?includefield=00080018&limit={_PAGE}&offset={offset}")
            found |= missing & uids
            missing -= uids
            offset += len(uids)
            if not uids or not missing:
                break
    return found


async def has_one(http: HttpClient, uid: str) -> bool:
    """Whether the server has an instance, in any series."""
    return bool(_UID.fullmatch(uid)) and uid in await _page(
        http, f"/instances?SOPInstanceUID={uid}&includefield=00080018&limit=2"
    )


async def _page(http: HttpClient, path: str) -> frozenset[str]:
    reply = await http.request("GET", path, headers=ACCEPT, missing=True)
    if reply.status in (204, 404):
        return frozenset()
    if reply.status != 200:
        raise GatewayError(f"{http.name}: {reply.words} to a search for instances")
    return frozenset(_uids(http, reply))


def _uids(http: HttpClient, reply: Reply) -> list[str]:
    try:
        rows = msgspec.json.decode(reply.body or b"[]", type=list[dict[str, Any]])
        return [str(row["00080018"]["Value"][0]) for row in rows]
    except (*NOT_JSON, KeyError, IndexError, TypeError):
        raise GatewayError(f"{http.name}: its answer to a search is not a list of instances") from None
