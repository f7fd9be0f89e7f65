"""/peers and /dicom-web/servers: systems over HTTP that are known, in Orthanc's fields, and what is asked of them."""

from __future__ import annotations

import functools
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.config.destinations import PeerDestination
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.levels import COLLECTIONS, LEVELS, UNIQUE_KEYS
from gateway.dicom.uids import is_uid
from gateway.errors import BadRequest
from gateway.remote.http import HttpClient, Reply
from gateway.remote.http_fields import shown
from gateway.systems.directory import KnownSystem
from gateway.systems.http_store_jobs import HttpStoreJobs, System
from gateway.systems.straight import post_straight
from gateway.systems.wado_jobs import WadoJobs
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.errors import NETWORK, error_answer
from gateway.web.inputs import read_json
from gateway.web.receiving import receiving
from gateway.web.rest.answers import flag, json_answer
from gateway.web.rest.asked import StoreBody, bad_file, converted, job_answer, read_store_body, sent
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.rest.names import level_named
from gateway.web.route import EXPAND, NUMBER, OF_SYSTEMS, PEERS, SERVERS, TEXT, TRUTH, UID, Route, one_of
from gateway.web.schemas import KEYS, any_of, list_of, members, struct
from gateway.web.security import ATTACHMENT

HTTP_STORE_JOBS: web.AppKey[HttpStoreJobs] = web.AppKey("http_store_jobs", HttpStoreJobs)
WADO_JOBS: web.AppKey[WadoJobs] = web.AppKey("wado_jobs", WadoJobs)
_OPERATIONS: Final[dict[System, tuple[str, ...]]] = {
    "peer": ("configuration", "store", "store-straight", "system"),
    "server": ("delete", "get", "qido", "retrieve", "stow"),
}
_MAX_ARGUMENTS: Final = 100


async def all_systems(request: web.Request, kind: System) -> web.Response:
    """Systems of the kind: their names; with `expand`, an object of their configurations by name."""
    known = await request.app[DIRECTORY].systems(kind)
    if flag(request, "expand"):
        return json_answer({name: as_json(each) for name, each in known.items()})
    return json_answer(list(known))


async def one(request: web.Request, kind: System) -> web.Response:
    """List the operations below a system."""
    await request.app[DIRECTORY].system(kind, request.match_info["name"])
    return json_answer(list(_OPERATIONS[kind]))


async def configuration(request: web.Request) -> web.Response:
    """A peer in Orthanc's fields, without secrets. `Source` is `REST` where it was added here, else `Configuration`."""
    return json_answer(as_json(await request.app[DIRECTORY].system("peer", request.match_info["name"])))


async def put(request: web.Request, kind: System) -> web.Response:
    """Add one, or change one that was added here. One of the configuration file is changed there (403)."""
    try:
        await request.app[DIRECTORY].put(kind, request.match_info["name"], await read_json(request))
    except BadRequest as error:
        return bad_file(request, error)
    return json_answer({})


async def remove(request: web.Request, kind: System) -> web.Response:
    """Forget one that was added here. One of the configuration file is taken out there (403)."""
    await request.app[DIRECTORY].remove(kind, request.match_info["name"])
    return json_answer({})


async def system(request: web.Request) -> web.Response:
    """Pass on the `/system` of a peer."""
    reply = await _asked(request, "peer", "/system")
    try:
        return json_answer(msgspec.json.decode(reply.body, type=dict[str, Any]))
    except msgspec.DecodeError:
        return error_answer(request, 500, f"it is none of Orthanc's API: {reply.words}", orthanc=NETWORK)


async def store(request: web.Request, kind: System) -> web.Response:
    """Send resources there: an identifier, a list of them, or an object with `Resources`.

    The answer comes once all are sent, or failed; with `"Synchronous": false` at once, with the job that does it.
    """
    try:
        body, ids = await read_store_body(request, StoreBody)
    except BadRequest as error:
        return bad_file(request, error)
    number = await request.app[HTTP_STORE_JOBS].add(
        kind,
        request.match_info["name"],
        ids,
        permissive=body.permissive,
        priority=body.rank,
        user_data=body.user_data,
    )
    return await job_answer(request, number, waits=body.waits)


async def store_straight(request: web.Request) -> web.Response:
    """Send the DICOM file in the body to a peer, without storing it here: what the peer answers."""
    name = request.match_info["name"]
    section = await request.app[DIRECTORY].section("peer", name)
    assert isinstance(section, PeerDestination)
    async with receiving(request) as chunks:
        return json_answer(await post_straight(request.app[CONTEXT].use_cases.ingest, name, section, chunks))


async def retrieve(request: web.Request) -> web.Response:
    """Retrieve studies, series and instances from a DICOMweb server (WADO-RS), and store them here.

    `{"Resources": [{"Study", "Series", "Instance"}]}`: UIDs, down to what is meant. The answer comes once all are
    stored; with `"Synchronous": false` at once, with the job that does it.
    """
    try:
        members = await read_json(request)
        if not isinstance(members, dict) or not isinstance(members.get("Resources"), list):
            raise BadRequest('The body must be a JSON object containing an array "Resources"')
        body = converted(members, StoreBody)
        resources = [_uids(each) for each in body.resources]
    except BadRequest as error:
        return bad_file(request, error)
    number = await request.app[WADO_JOBS].add(
        request.match_info["name"], resources, priority=body.rank, user_data=body.user_data
    )
    return await job_answer(request, number, waits=body.waits)


def _uids(resource: Any) -> tuple[str, ...]:
    """The UIDs of a study, series or instance. Raises BadRequest."""
    if not isinstance(resource, dict):
        raise BadRequest('each of the Resources is an object with "Study", and "Series" and "Instance" below it')
    if "Study" not in resource:
        raise BadRequest('Missing "Study" field in the body')
    if "Instance" in resource and "Series" not in resource:
        raise BadRequest('Missing "Series" field in the body')
    found = []
    for name in ("Study", "Series", "Instance"):
        uid = resource.get(name, "")
        if not isinstance(uid, str) or (not is_uid(uid) and (uid or name == "Study")):
            raise BadRequest(f"{name}: a UID is expected")
        if not uid:
            break
        found.append(uid)
    return tuple(found)


async def get(request: web.Request) -> web.Response:
    """Ask a DICOMweb server for `Uri` below its root, with `Arguments`: what it answers, as it comes, up to 4 MiB."""
    body = await read_json(request)
    try:
        path = _path(*_uri(body))
    except BadRequest as error:
        return bad_file(request, error)
    reply = await _asked(request, "server", path)
    if reply.status >= 400:
        status = 404 if reply.status == 404 else 500
        return error_answer(request, status, reply.words, orthanc=None if status == 404 else NETWORK)
    # Nothing that another system sends is shown as a page of ours.
    kind = reply.headers.get("Content-Type", "application/octet-stream")
    return web.Response(body=reply.body, headers={"Content-Type": kind, **ATTACHMENT})


async def qido(request: web.Request) -> web.Response:
    """Search a DICOMweb server (QIDO-RS): `Uri` and `Arguments` as for `get`; each match by tag, with names."""
    body = await read_json(request)
    try:
        path = _path(*_uri(body))
    except BadRequest as error:
        return bad_file(request, error)
    reply = await _asked(request, "server", path)
    if reply.status >= 400:
        return error_answer(request, 404 if reply.status == 404 else 500, reply.words, orthanc=NETWORK)
    try:
        matches = msgspec.json.decode(reply.body or b"[]", type=list[dict[str, Any]])
        return json_answer([{tag: _described(tag, member) for tag, member in each.items()} for each in matches])
    except (msgspec.DecodeError, ValueError, TypeError, AttributeError):
        return error_answer(request, 500, f"its answer is no list of matches: {reply.words}", orthanc=NETWORK)


async def delete(request: web.Request) -> web.Response:
    """Delete at a DICOMweb server whose property `HasDelete` says that it can: `{"Level", "StudyInstanceUID", …}`."""
    name = request.match_info["name"]
    known = await request.app[DIRECTORY].system("server", name)
    body = await read_json(request)
    try:
        if known.fields.get("HasDelete", "0") != "1":
            raise BadRequest(f'Cannot delete on DICOMweb server, check out property "HasDelete": {name}')
        path = _place_of(body if isinstance(body, dict) else {})
    except BadRequest as error:
        return bad_file(request, error)
    reply = await _asked(request, "server", path, "DELETE")
    if reply.status >= 400:
        return error_answer(request, 404 if reply.status == 404 else 500, reply.words, orthanc=NETWORK)
    return json_answer({})


def as_json(known: KnownSystem) -> dict[str, Any]:
    """The fields of a system, without secrets, in the order of their names."""
    return dict(sorted({**shown(known.fields), "Source": "REST" if known.added else "Configuration"}.items()))


async def _asked(request: web.Request, kind: System, path: str, method: str = "GET") -> Reply:
    name = request.match_info["name"]
    client = HttpClient(name, await request.app[DIRECTORY].section(kind, name))
    try:
        return await client.request(method, path, headers={"Accept": "application/dicom+json, */*;q=0.5"}, missing=True)
    finally:
        await client.close()


def _uri(body: Any) -> tuple[str, Any]:
    """`Uri` and `Arguments`. Raises BadRequest."""
    if not isinstance(body, dict) or not isinstance(body.get("Uri"), str):
        raise BadRequest('A request to the DICOMweb client must provide a JSON object with the field "Uri"')
    return body["Uri"], body.get("Arguments", {})


def _place_of(body: dict[str, Any]) -> str:
    """The path of a study, series or instance. Raises BadRequest."""
    level = level_named(body.get("Level"))
    if level == "patient":
        raise BadRequest("Level: Study, Series or Instance")
    path = ""
    for each in LEVELS[1 : LEVELS.index(level) + 1]:
        keyword = keyword_of(UNIQUE_KEYS[each])
        uid = body.get(keyword)
        if not isinstance(uid, str) or not is_uid(uid):
            raise BadRequest(f"{keyword}: a UID is expected")
        path += f"/{COLLECTIONS[each]}/{uid}"
    return path


def _described(tag: str, member: dict[str, Any]) -> dict[str, Any]:
    """An attribute of the DICOM JSON Model as the plugin of Orthanc shows it, in texts. Raises ValueError."""
    number = int(tag, 16)
    values = [each.get("Alphabetic", "") if isinstance(each, dict) else each for each in member.get("Value", [])]
    value = {"Value": "\\".join(str(each) for each in values)} if values else {}
    described = {"Element": number & 0xFFFF, "Group": number >> 16, "Name": keyword_of(number), **value}
    return {**described, "vr": str(member.get("vr", "UN"))}


def _path(uri: str, arguments: Any) -> str:
    """Raises BadRequest."""
    path = "/" + uri.lstrip("/")
    if ".." in path or len(path) > 4096 or not path.isascii() or any(each in path for each in "\\#\r\n \t"):
        raise BadRequest("Uri: a path below the root of the server, without ..")
    if not isinstance(arguments, dict) or len(arguments) > _MAX_ARGUMENTS:
        raise BadRequest(f"Arguments is an object of texts by name, {_MAX_ARGUMENTS} at most")
    if not all(isinstance(value, str | int) for value in arguments.values()):
        raise BadRequest("Arguments is an object of texts by name")
    if not arguments:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(arguments)}"


def _routes(kind: System, root: str) -> tuple[Route, ...]:
    about = "Peers." if kind == "peer" else "DICOMweb servers."
    return (
        Route("GET", root, functools.partial(all_systems, kind=kind), OF_SYSTEMS, (EXPAND,), subject=about),
        Route("GET", f"{root}/{{name}}", functools.partial(one, kind=kind), OF_SYSTEMS, errors=(404,), subject=about),
        Route(
            "PUT",
            f"{root}/{{name}}",
            functools.partial(put, kind=kind),
            "settings",
            takes=_SYSTEM,
            body=(JSON,),
            errors=(403,),
            subject=about,
        ),
        Route(
            "DELETE",
            f"{root}/{{name}}",
            functools.partial(remove, kind=kind),
            "settings",
            errors=(403, 404),
            subject=about,
        ),
    )


_URI: Final = members("Uri", Uri=TEXT, Arguments={**KEYS, "maxProperties": _MAX_ARGUMENTS})
_DELETE: Final = members(
    *("Level", "StudyInstanceUID"),
    Level=one_of("Study", "Series", "Instance"),
    StudyInstanceUID=UID,
    SeriesInstanceUID=UID,
    SOPInstanceUID=UID,
)
_RETRIEVE: Final = struct(
    StoreBody, "Resources", Resources=list_of(members("Study", Study=UID, Series=UID, Instance=UID))
)
_SYSTEM: Final = any_of(
    members(
        "Url",
        Url=TEXT,
        Username=TEXT,
        Password=TEXT,
        HttpHeaders=KEYS,
        Timeout=NUMBER,
        Pkcs11=TRUTH,
    ),
    list_of(TEXT, 3),
)


def _route(kind: System, path: str) -> Route:
    """The route that sends what a body names to a system of that kind."""
    handler = functools.partial(store, kind=kind)
    return Route("POST", path, handler, "send", takes=sent(StoreBody), body=(JSON, "text/plain"), errors=(404,))


ROUTES = (
    *_routes("peer", PEERS),
    Route("GET", f"{PEERS}/{{name}}/configuration", configuration, OF_SYSTEMS, errors=(404,)),
    Route("GET", f"{PEERS}/{{name}}/system", system, OF_SYSTEMS, errors=(404,)),
    _route("peer", f"{PEERS}/{{name}}/store"),
    Route(
        "POST",
        f"{PEERS}/{{name}}/store-straight",
        store_straight,
        "send",
        body=("application/dicom", "application/octet-stream"),
        errors=(404, 413, 503, 507),
    ),
    *_routes("server", SERVERS),
    Route(
        "POST",
        f"{SERVERS}/{{name}}/get",
        get,
        "q-r-remote-modalities",
        takes=_URI,
        body=(JSON,),
        answers=("application/dicom+json",),
        errors=(404,),
    ),
    Route("POST", f"{SERVERS}/{{name}}/delete", delete, "settings", takes=_DELETE, body=(JSON,), errors=(404,)),
    Route(
        "POST",
        f"{SERVERS}/{{name}}/retrieve",
        retrieve,
        "q-r-remote-modalities",
        takes=_RETRIEVE,
        body=(JSON,),
        errors=(404,),
    ),
    Route("POST", f"{SERVERS}/{{name}}/qido", qido, "q-r-remote-modalities", takes=_URI, body=(JSON,), errors=(404,)),
    _route("server", f"{SERVERS}/{{name}}/stow"),
)
