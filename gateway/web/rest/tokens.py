"""/auth/api-tokens, /auth/tokens, /auth/shares: tokens of users for their scripts, and links to single studies.

Links have the requests and answers of Orthanc's authorization plugin (`/auth/tokens/{type}`, `/auth/tokens/decode`);
`Count` and `Label` are ours. Nobody can give away more than they have: a token has roles of its maker, a link studies
that its maker sees.
"""

from __future__ import annotations

import datetime
import logging
import re
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.access.bearer import allowance_of
from gateway.access.issued_tokens import MAX_NAME_LENGTH, MAX_STUDIES, IssuedToken, TokenKind
from gateway.access.principals import ANYBODY, Principal, covers, user_of
from gateway.config import Settings
from gateway.config.roles import BUILT_IN
from gateway.dicom.levels import UNIQUE_KEYS
from gateway.errors import BadRequest, NotFound, UnknownResource
from gateway.index.resources import look_up, resource
from gateway.web.authentication import EMERGENCY
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.inputs import read_json
from gateway.web.rest.answers import json_answer
from gateway.web.route import SIGNED_IN, Route
from gateway.web.schemas import struct
from gateway.web.sessions import ISSUED_TOKENS, Forbidden
from gateway.web.urls import root_url, url_template
from gateway.web.viewer.viewer import VIEWER

log = logging.getLogger(__name__)

DAY_S: Final = 86400
MAX_DAYS: Final = 3660
"""Days until the end of a token or link."""
API_TOKEN_S: Final = 90 * DAY_S
"""Seconds of an API token for which nothing is said."""
_INSTANT_S: Final = 200
"""Seconds of an instant link for which nothing is said; it is followed at once."""
_PUBLICATION_S: Final = 30 * DAY_S
_TYPES: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "viewer-instant-link": (("view", "download"), _INSTANT_S),
    "download-instant-link": (("download",), _INSTANT_S),
    "resource-instant-link": (("view", "download"), _INSTANT_S),
    "ohif-viewer-publication": (("view", "download"), _PUBLICATION_S),
}
"""For each type of link what it allows, and its seconds if nothing is said."""
_NEEDED: Final = {"ohif-viewer-publication": "share", "download-instant-link": "download"}
"""The permission for making a link of a type, as in the plugin; for the others `view`."""


class _Ends(msgspec.Struct, rename="pascal"):
    expiration_date: str | None = None
    """ISO 8601."""
    validity_duration: int | None = None
    """Seconds from now."""

    def seconds(self, otherwise: int) -> float:
        """Seconds until the end. Raises: BadRequest."""
        seconds: float = otherwise
        if self.validity_duration is not None:
            seconds = self.validity_duration
        elif self.expiration_date:
            try:
                end = datetime.datetime.fromisoformat(self.expiration_date)
            except ValueError:
                raise BadRequest("ExpirationDate is not a time as 2026-12-31T11:00:00Z") from None
            seconds = (end if end.tzinfo else end.replace(tzinfo=datetime.UTC)).timestamp() - time.time()
        if not 0 < seconds <= MAX_DAYS * DAY_S:
            raise BadRequest(f"the end must be in the future, in at most {MAX_DAYS} days")
        return seconds


class _ApiToken(_Ends, rename="pascal"):
    name: str = ""
    roles: tuple[str, ...] | None = None


class _Study(msgspec.Struct, rename="pascal"):
    dicom_uid: str = ""
    orthanc_id: str = ""
    level: str = "study"


class _Link(_Ends, rename="pascal"):
    resources: tuple[_Study, ...] = ()
    label: str = ""
    count: int | None = None
    id_: str = msgspec.field(name="ID", default="")
    id_of_explorer: str = msgspec.field(name="Id", default="")


class _Shown(msgspec.Struct, rename="pascal"):
    token_key: str = ""
    token_value: str = ""


async def make_api_token(request: web.Request) -> web.Response:
    """Make an API token with a Name, and with Roles that the user has. Its secret, Token, is shown here and never
    again.

    Send it as `Authorization: Bearer TOKEN`.
    """
    wanted = await read_json(request, _ApiToken)
    seconds = wanted.seconds(API_TOKEN_S)
    token, secret = await issue_api_token(request, wanted.name, wanted.roles, seconds)
    return json_answer({"Token": secret, **token})


async def issue_api_token(
    request: web.Request, name: str, roles: tuple[str, ...] | None, seconds: float
) -> tuple[dict[str, Any], str]:
    """Issue an API token of the user, with roles of these names or (None) all that the user has; its fields, and its
    secret.

    Raises: BadRequest; Forbidden for a role that may more than the user, and during emergency access.
    """
    who, settings = token_maker(request), request.app[CONTEXT].settings()
    known = {**BUILT_IN, **settings.roles}
    names = role_names(who, settings) if roles is None else roles
    unknown = [each for each in names if each not in known]
    if unknown or not names:
        raise BadRequest(f"Roles: there is no role {unknown[0][:80]!r}" if unknown else "Roles: name one at least")
    for each in names:
        if not covers(who.roles, known[each]):
            raise Forbidden(f"user {who.name} may not do everything that the role {each!r} may")
    issued, name = request.app[ISSUED_TOKENS], token_name("Name", name)
    allows = allowance_of(who, settings, roles=names)
    token_id, secret = await issued.issue("api", name, who.name, allows, seconds=seconds)
    log.warning("user %s has made the token %s %r with the roles %s", who.name, token_id, name, ", ".join(names))
    return {"ID": token_id, "Name": name, "Roles": names, **_end(time.time() + seconds)}, secret


async def api_tokens(request: web.Request) -> web.Response:
    """The API tokens of the user, without their secrets; with the permission `admin-permissions` those of all users."""
    found = await _listed(request, "api")
    return json_answer([{**_fields(token), "Roles": token.allows.roles} for token in found])


async def revoke_api_token(request: web.Request) -> web.Response:
    """Revoke an API token, at once."""
    return await _revoke(request, "api")


async def make_link(request: web.Request) -> web.Response:
    """Make a link to studies: its Token, and its Url if it opens a page.

    Members of the body as in Orthanc's authorization plugin: Resources (of the level `study`), ValidityDuration in
    seconds or ExpirationDate, ID; beside them Label, a name for people, and Count, how often it may be used.
    """
    kind, wanted = request.match_info["type"], await read_json(request, _Link)
    if kind not in _TYPES:
        raise BadRequest(f"there are no links of type {kind[:80]!r}, but {', '.join(_TYPES)}")
    needed, who = _NEEDED.get(kind, "view"), token_maker(request)
    if not who.granting((needed,), "study"):
        return error_answer(request, 403, f"user {who.name} has no role with the permission {needed}")
    label = wanted.label or wanted.id_ or wanted.id_of_explorer
    seconds = wanted.seconds(_TYPES[kind][1])
    made = await _issue_link(request, kind, wanted.resources, label=label, seconds=seconds, uses=wanted.count)
    return json_answer({"ID": made.token_id, "Token": made.secret, "Url": made.url or None, **_end(made.ends_at)})


class IssuedLink(NamedTuple):
    """A link that was just made; its secret is known here alone."""

    token_id: str
    secret: str
    url: str
    """The page that it opens; empty if it is of a type that opens none."""
    ends_at: float


async def issue_link(
    request: web.Request, studies: Sequence[str], *, label: str, seconds: float, uses: int | None
) -> IssuedLink:
    """Make a link that opens a page with studies, by their public ids; `uses`: how often it may be used.

    The caller has checked that the user may share them. Raises: BadRequest, UnknownResource.
    """
    wanted = [_Study(orthanc_id=each) for each in studies]
    return await _issue_link(request, "ohif-viewer-publication", wanted, label=label, seconds=seconds, uses=uses)


async def _issue_link(
    request: web.Request, kind: str, wanted: Sequence[_Study], *, label: str, seconds: float, uses: int | None
) -> IssuedLink:
    who, permissions = token_maker(request), _TYPES[kind][0]
    if uses is not None and not 1 <= uses <= 1_000_000:
        raise BadRequest("Count must be from 1 to 1000000")
    if not 1 <= len(wanted) <= MAX_STUDIES:
        raise BadRequest(f"Resources: name 1 to {MAX_STUDIES} studies")
    studies, settings = [await _study(request, each) for each in wanted], request.app[CONTEXT].settings()
    allows = allowance_of(
        who,
        settings,
        roles=role_names(who, settings) if user_of(who.name, settings) is None else (),
        permissions=tuple([each for each in permissions if who.granting((each,), "study")]),
        studies=tuple([uid for uid, _ in studies]),
        resources=tuple([public_id for _, public_id in studies]),
        link=kind,
    )
    label = token_name("Label", label, needed=False)
    token_id, secret = await request.app[ISSUED_TOKENS].issue(
        "share", label, who.name, allows, seconds=seconds, uses=uses
    )
    log.warning("user %s has made the link %s %r to %d studies", who.name, token_id, label, len(studies))
    url = await _page_url(request, allows.studies, secret) if kind.endswith("-publication") else ""
    return IssuedLink(token_id, secret, url, time.time() + seconds)


async def decode_link(request: web.Request) -> web.Response:
    """Show what a link is for: TokenType, the studies, and where it leads; ErrorCode if it leads nowhere."""
    shown = await read_json(request, _Shown)
    token = await request.app[ISSUED_TOKENS].find(shown.token_value.removeprefix("Bearer ").strip())
    if token is None or token.kind != "share":
        return json_answer({"ErrorCode": "invalid", "ResourcesDicomIds": [], "ResourcesOrthancIds": []})
    fields: dict[str, Any] = {
        "ResourcesDicomIds": sorted(token.allows.studies),
        "ResourcesOrthancIds": sorted(token.allows.resources),
        "TokenType": token.allows.link,
    }
    if token.ends_at <= time.time() or token.uses_left == 0:
        fields["ErrorCode"] = "expired"
    elif token.allows.link.endswith("-publication"):
        fields["RedirectUrl"] = await _page_url(request, token.allows.studies, shown.token_value)
    return json_answer(fields)


async def links(request: web.Request) -> web.Response:
    """The links of the user that have not ended, without their secrets; with the permission `admin-permissions` those
    of all users.
    """
    found = await _listed(request, "share")
    return json_answer(
        [
            {
                **_fields(token),
                "Count": token.uses_left,
                "ResourcesDicomIds": token.allows.studies,
                "ResourcesOrthancIds": token.allows.resources,
                "TokenType": token.allows.link,
            }
            for token in found
        ]
    )


async def revoke_link(request: web.Request) -> web.Response:
    """Revoke a link, and end what was opened by it, at once."""
    return await _revoke(request, "share")


def token_maker(request: web.Request) -> Principal:
    """The user who makes a token. Raises: BadRequest if that is nobody, or itself a token."""
    who: Principal = request.get(PRINCIPAL, ANYBODY)
    if not who.name:
        raise BadRequest("everybody may do everything here; name users first: http.users, or tokens.issuer")
    if not who.is_person:
        raise BadRequest("tokens are made by users who have signed in themselves, not by another token")
    if EMERGENCY in request:
        raise Forbidden("during emergency access nothing is given away that would outlast it; end it first")
    return who


def role_names(who: Principal, settings: Settings) -> tuple[str, ...]:
    """The names of the roles that somebody has."""
    return tuple([each for each, role in {**BUILT_IN, **settings.roles}.items() if role in who.roles])


def _whose(request: web.Request) -> str | None:
    """The user whose tokens a request may list and revoke; '' for all, None for nobody: a token has roles of its maker,
    and may see less than the maker's links lead to."""
    who = request.get(PRINCIPAL, ANYBODY)
    if who.granting(("admin-permissions",)):
        return ""
    return who.name if who.is_person else None


async def _listed(request: web.Request, kind: TokenKind) -> list[IssuedToken]:
    whose = _whose(request)
    return await request.app[ISSUED_TOKENS].listed(kind, whose) if whose is not None else []


async def _revoke(request: web.Request, kind: TokenKind) -> web.Response:
    token_id, whose = request.match_info["id"], _whose(request)
    if whose is None:
        raise NotFound(f"there is no such token: {token_id[:40]}")
    await request.app[ISSUED_TOKENS].revoke(kind, token_id, whose)
    log.warning("user %s has revoked %s %s", request.get(PRINCIPAL, ANYBODY).name, kind, token_id)
    return json_answer({})


async def _study(request: web.Request, wanted: _Study) -> tuple[str, str]:
    """UID and public id of a study that the user sees. Raises: BadRequest, UnknownResource."""
    database = request.app[CONTEXT].database
    if wanted.level.lower() != "study":
        raise BadRequest(f"Level: links are to studies, not to a {wanted.level[:40]!r}")
    public_id = wanted.orthanc_id
    if not public_id:
        found = [each for level, each in await look_up(database, wanted.dicom_uid) if level == "study"]
        if len(found) > 1:
            raise BadRequest(f"several patients have a study {wanted.dicom_uid[:64]}; name it by OrthancId")
        public_id = found[0] if found else wanted.dicom_uid[:64]
    study = await resource(database, "study", public_id)
    uid = study.attributes.get(UNIQUE_KEYS["study"], "") if study is not None else ""
    if study is None or (wanted.dicom_uid and uid != wanted.dicom_uid):
        raise UnknownResource(f"there is no study {public_id[:64]}")
    return uid, study.public_id


async def _page_url(request: web.Request, studies: tuple[str, ...], secret: str) -> str:
    """The address of the viewer with these studies, or of the page of studies without a viewer."""
    if await request.app[VIEWER].release(request) is None:
        return f"{url_template(request, 'home')}?{urlencode({'token': secret})}"
    query = urlencode({"StudyInstanceUIDs": ",".join(studies), "token": secret})
    return f"{root_url(request)}{request.app.router['ohif'].canonical}viewer?{query}"


def token_name(field: str, text: str, *, needed: bool = True) -> str:
    if (needed and not text.strip()) or len(text) > MAX_NAME_LENGTH or not re.fullmatch(r"[^\x00-\x1f\x7f]*", text):
        raise BadRequest(f"{field}: name it, in at most {MAX_NAME_LENGTH} characters")
    if text and not text.isprintable():
        raise BadRequest(f"{field} has characters that cannot be shown")
    return text.strip()


def _fields(token: IssuedToken) -> dict[str, Any]:
    return {
        "CreationDate": _iso(token.created_at),
        "ID": token.id,
        "LastUse": _iso(token.used_at) if token.used_at else None,
        "Name": token.name,
        "User": token.user,
        **_end(token.ends_at),
    }


def _end(at: float) -> dict[str, str]:
    return {"ExpirationDate": _iso(at)}


def _iso(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_JSON: Final = ("application/json",)
_TYPE: Final = "view|download|share"

ROUTES = (
    Route("GET", "/auth/api-tokens", api_tokens, SIGNED_IN),
    Route("POST", "/auth/api-tokens", make_api_token, SIGNED_IN, takes=struct(_ApiToken), body=_JSON, action="tokens"),
    Route("DELETE", "/auth/api-tokens/{id}", revoke_api_token, SIGNED_IN, errors=(404,), action="tokens"),
    Route(
        "PUT", "/auth/tokens/{type}", make_link, _TYPE, takes=struct(_Link), body=_JSON, errors=(404,), action="share"
    ),
    Route("POST", "/auth/tokens/decode", decode_link, SIGNED_IN, takes=struct(_Shown), body=_JSON),
    Route("GET", "/auth/shares", links, SIGNED_IN),
    Route("DELETE", "/auth/shares/{id}", revoke_link, SIGNED_IN, errors=(404,), action="share"),
)
