"""Existing studies of a server with their instances, for reading in a run.

They are listed over DICOMweb if there is such a service, otherwise by C-FIND.
"""

from __future__ import annotations

import aiohttp
import msgspec

from gateway.dicom.uids import is_valid_uid
from gateway.errors import GatewayError
from gateway.net.buffers import BlockPool
from gateway.net.requestor import associate
from loadtest.shelf import Place
from loadtest.target import Target
from loadtest.work import ask, web
from loadtest.work.base import Failed, describe

_STUDY, _SERIES, _INSTANCE, _CLASS = 0x0020000D, 0x0020000E, 0x00080018, 0x00080016
_MAX_INSTANCES = 2000
"""Instances of one study."""
_JSON = "application/dicom+json"


class NothingFound(GatewayError):
    """The server could not be queried, or has nothing."""


async def studies_of(target: Target, most: int) -> list[Place]:
    """The instances of up to `most` studies, in the server's order. Raises NothingFound."""
    try:
        places = await (_by_web(target, most) if target.web is not None else _by_find(target, most))
    except (Failed, aiohttp.ClientError, msgspec.DecodeError) as error:
        raise NothingFound(f"{target} could not be queried for its studies: {error or describe(error)}") from error
    places = [place for place in places if all(map(is_valid_uid, place[:3]))]  # They become parts of URLs.
    if not places:
        raise NothingFound(f"{target} has no study")
    return places


async def _by_web(target: Target, most: int) -> list[Place]:
    assert target.web is not None
    url, found = target.web.url, []
    async with web.http_session(target) as session:
        body = await web.get(session, f"{url}/studies", _JSON, {"limit": str(most)})
        for study in _rows(body):
            where = f"{url}/studies/{web.text(study, _STUDY)}/instances"
            for row in _rows(await web.get(session, where, _JSON, {"limit": str(_MAX_INSTANCES)})):
                uids = [web.text(row, tag) for tag in (_SERIES, _INSTANCE, _CLASS)]
                found.append(Place(web.text(study, _STUDY), uids[0], uids[1], uids[2]))
    return found


def _rows(body: bytes) -> list[dict[str, dict[str, object]]]:
    return msgspec.json.decode(body, type=list[dict[str, dict[str, object]]]) if body else []


async def _by_find(target: Target, most: int) -> list[Place]:
    found = []
    async with associate(target.call([(ask.FIND, ask.PLAIN)]), BlockPool(8)) as association:
        studies = await ask.found(association, "study", {"StudyInstanceUID": ""})
        for study in [row[_STUDY] for row in studies if _STUDY in row][:most]:
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": ""}
            for series in [row[_SERIES] for row in await ask.found(association, "series", keys) if _SERIES in row]:
                wanted = {**keys, "SeriesInstanceUID": series, "SOPInstanceUID": "", "SOPClassUID": ""}
                rows = await ask.found(association, "instance", wanted)
                found += [Place(study, series, row[_INSTANCE], row.get(_CLASS, "")) for row in rows if _INSTANCE in row]
    return found
