"""A general HTTP client for DICOMweb, used by uploads and by requests that are not measured."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from loadtest.target import Target
from loadtest.work.base import Failed

_CHUNK = 256 << 10


def http_session(target: Target, connections: int = 1) -> aiohttp.ClientSession:
    """A session of up to `connections` connections to the DICOMweb service; the caller closes it."""
    assert target.web is not None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=target.timeout, sock_read=target.timeout)
    web = target.web
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ssl=target.trust or True),
        timeout=timeout,
        auth=aiohttp.BasicAuth(web.user, web.password) if web.user else None,
        headers={"Accept-Encoding": "identity"} | ({"Host": web.host} if web.host else {}),
        read_bufsize=_CHUNK,
        auto_decompress=False,
    )


async def get(session: aiohttp.ClientSession, url: str, accept: str, query: Mapping[str, str] = {}) -> bytes:
    """The body of a GET; empty for 204 No Content. Raises Failed."""
    async with session.get(url, params=query, headers={"Accept": accept}) as answer:
        if answer.status == 204:
            return b""
        check(answer)
        return await answer.read()


def text(row: Mapping[str, Mapping[str, object]], tag: int) -> str:
    """The first value of an attribute in the DICOM JSON model; "" without one."""
    values = row.get(f"{tag:08X}", {}).get("Value")
    return str(values[0]) if isinstance(values, list) and values else ""


def check(answer: aiohttp.ClientResponse) -> None:
    if answer.status not in (200, 206):
        raise Failed(f"HTTP {answer.status} {answer.reason}")
