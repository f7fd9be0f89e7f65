"""/modalities: the DICOM systems that are known, in Orthanc's fields. What is asked of them is `dimse.py`'s.

Orthanc answers an empty text where there is nothing to say; here it is an empty object.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.errors import BadRequest
from gateway.remote.modality_fields import FLAGS
from gateway.systems.directory import Directory, KnownSystem
from gateway.web.accept import JSON
from gateway.web.errors import BAD_FILE, error_answer
from gateway.web.inputs import read_json
from gateway.web.rest.answers import flag, json_answer
from gateway.web.route import EXPAND, NUMBER, OF_SYSTEMS, TEXT, TRUTH, Route, at_least
from gateway.web.schemas import any_of, list_of, members

DIRECTORY: web.AppKey[Directory] = web.AppKey("directory", Directory)
OPERATIONS: Final = (
    *("configuration", "echo", "find", "find-instance", "find-patient", "find-series", "find-study", "find-worklist"),
    *("get", "move", "query", "storage-commitment", "store", "store-straight"),
)
"""What can be asked for below one of them."""


async def all_modalities(request: web.Request) -> web.Response:
    """Modalities: their names; with `expand`, an object of their configurations by name."""
    known = await request.app[DIRECTORY].systems("modality")
    if flag(request, "expand"):
        return json_answer({name: as_json(each) for name, each in known.items()})
    return json_answer(list(known))


async def one(request: web.Request) -> web.Response:
    """List the operations below a modality."""
    await request.app[DIRECTORY].system("modality", request.match_info["name"])
    return json_answer(sorted(OPERATIONS))


async def configuration(request: web.Request) -> web.Response:
    """A modality in Orthanc's fields. `Source` is `REST` where it was added here, else `Configuration`."""
    return json_answer(as_json(await request.app[DIRECTORY].system("modality", request.match_info["name"])))


async def put(request: web.Request) -> web.Response:
    """Add a modality, or change one that was added here. One of the configuration file is changed there (403)."""
    try:
        await request.app[DIRECTORY].put("modality", request.match_info["name"], await read_json(request))
    except BadRequest as error:
        return error_answer(request, 400, str(error), orthanc=BAD_FILE)
    return json_answer({})


async def remove(request: web.Request) -> web.Response:
    """Forget a modality that was added here. One of the configuration file is taken out there (403)."""
    await request.app[DIRECTORY].remove("modality", request.match_info["name"])
    return json_answer({})


def as_json(known: KnownSystem) -> dict[str, Any]:
    """The fields of a system, in the order of their names."""
    return dict(sorted({**known.fields, "Source": "REST" if known.added else "Configuration"}.items()))


_PORT: Final = at_least(1, 65535)
MODALITY_SCHEMA: Final = any_of(
    members(
        *("AET", "Host", "Port"),
        AET=TEXT,
        Host=TEXT,
        Port=any_of(_PORT, TEXT),
        Manufacturer=TEXT,
        Timeout=NUMBER,
        LocalAet=TEXT,
        RetrieveMethod=TEXT,
        UseDicomTls=TRUTH,
        **dict.fromkeys((*FLAGS, "AllowStorageCommitment"), TRUTH),
    ),
    list_of(any_of(TEXT, _PORT), 4),
)
"""An object, or a list of AE title, host, port and perhaps manufacturer."""
ROUTES = (
    Route("GET", "/modalities", all_modalities, OF_SYSTEMS, (EXPAND,)),
    Route("GET", "/modalities/{name}", one, OF_SYSTEMS, errors=(404,)),
    Route("PUT", "/modalities/{name}", put, "settings", takes=MODALITY_SCHEMA, body=(JSON,), errors=(403,)),
    Route("DELETE", "/modalities/{name}", remove, "settings", errors=(403, 404)),
    Route("GET", "/modalities/{name}/configuration", configuration, OF_SYSTEMS, errors=(404,)),
)
