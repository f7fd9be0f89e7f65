"""After a run: is everything there that was acknowledged? Asked over DICOMweb (QIDO-RS, PS3.18 §10.6)."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import aiohttp
import msgspec

from gateway.errors import GatewayError
from loadtest.data import Instance

_PAGE = 500
_AT_ONCE = 4
_SOP_INSTANCE_UID = "00080018"


class VerifyFailed(GatewayError):
    """The server gave no answer that could be used."""


class Verification(msgspec.Struct, frozen=True):
    """What the server knows of what it has acknowledged."""

    url: str
    asked: int
    found: int
    missing: list[str]
    """SOP Instance UIDs."""


class Acknowledged:
    """Remembers what was acknowledged, by study."""

    def __init__(self) -> None:
        self._studies: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, instance: Instance) -> None:
        self._studies[instance.study_instance_uid].add(instance.sop_instance_uid)

    async def verify(self, url: str) -> Verification:
        """Ask the DICOMweb service at `url` (`http://user:password@host:8042/dicom-web`). Raises VerifyFailed."""
        asking = asyncio.Semaphore(_AT_ONCE)
        headers = {"Accept": "application/dicom+json"}
        try:
            async with aiohttp.ClientSession(headers=headers, raise_for_status=False) as session:

                async def missing(study: str, uids: set[str]) -> set[str]:
                    async with asking:
                        if study:
                            return uids - await _instances(session, f"{url.rstrip('/')}/studies/{study}/instances")
                        where = f"{url.rstrip('/')}/instances"
                        return {uid for uid in uids if not await _page(session, where, {"SOPInstanceUID": uid})}

                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(missing(study, uids)) for study, uids in self._studies.items()]
        except* (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, VerifyFailed) as errors:
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise VerifyFailed(f"cannot verify at {_without_password(url)}: {first}") from first
        asked = sum(map(len, self._studies.values()))
        lost = sorted(uid for task in tasks for uid in task.result())
        return Verification(_without_password(url), asked, asked - len(lost), lost)


async def _instances(session: aiohttp.ClientSession, url: str) -> set[str]:
    """The SOP Instance UIDs of a whole study, page by page."""
    found: set[str] = set()
    offset = 0
    while page := await _page(session, url, {"limit": str(_PAGE), "offset": str(offset)}):
        before = len(found)
        found |= page
        if len(found) == before:
            break  # A server that does not know `offset` sends the same again.
        offset += len(page)
    return found


async def _page(session: aiohttp.ClientSession, url: str, query: dict[str, str]) -> set[str]:
    async with session.get(url, params=query) as answer:
        body = await answer.read()
        if answer.status in (204, 404):
            return set()
        if answer.status != 200:
            raise VerifyFailed(f"GET {answer.url.path} was answered {answer.status} {answer.reason}")
    return {row[_SOP_INSTANCE_UID]["Value"][0] for row in msgspec.json.decode(body) if _SOP_INSTANCE_UID in row}


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
