"""/auth/user, /auth/settings, /auth/break-glass: who asks, which roles there are, emergency access.

The first two are as in Orthanc's authorization plugin, whose names of fields Orthanc Explorer 2 knows: `*` among the
labels of a role means every study. Conditions of roles that the plugin does not have are further fields.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.changes import AccessChanges
from gateway.access.emergencies import fields_of_emergency
from gateway.access.principals import ANYBODY, role_problems
from gateway.config import Settings
from gateway.config.roles import BUILT_IN, PERMISSIONS, Role
from gateway.errors import BadRequest
from gateway.web.authentication import EMERGENCIES, EMERGENCY
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_json
from gateway.web.rest.answers import json_answer
from gateway.web.route import SIGNED_IN, Route
from gateway.web.schemas import struct

log = logging.getLogger(__name__)

ACCESS_CHANGES: web.AppKey[AccessChanges] = web.AppKey("access_changes", AccessChanges)
_EVERY: Final = "*"
_MAX_NAME_LENGTH: Final = 64
"""Characters of the name of a role."""


class _RoleFields(msgspec.Struct, rename="kebab", omit_defaults=True):
    """A role over REST."""

    permissions: tuple[str, ...]
    authorized_labels: tuple[str, ...] = ()
    without_labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    days: float | None = None
    tenant: str = ""

    @classmethod
    def of(cls, role: Role) -> _RoleFields:
        fields = msgspec.structs.asdict(role)
        return cls(authorized_labels=fields.pop("labels") or (_EVERY,), **fields)

    def role(self) -> Role:
        """Raises: BadRequest for a role without labels: it would see nothing here, and everything as a `Role`."""
        fields = msgspec.structs.asdict(self)
        labels = fields.pop("authorized_labels")
        if not labels:
            raise BadRequest(f'authorized-labels: ["{_EVERY}"] for every study, or the labels of those to be seen')
        return Role(labels=() if _EVERY in labels else labels, **fields)


class _Roles(msgspec.Struct, rename="kebab"):
    roles: dict[str, _RoleFields]
    available_labels: tuple[str, ...] = ()


class _Reason(msgspec.Struct, rename="pascal"):
    reason: str = ""


async def profile(request: web.Request) -> web.Response:
    """The user who asks: name, permissions, and the labels of the studies to be seen."""
    who = request.get(PRINCIPAL, ANYBODY)
    seeing = who.granting(("view", "download"))
    labels = {label for role in seeing for label in role.labels or (_EVERY,)}
    return json_answer(
        {
            "authorized-labels": [_EVERY] if _EVERY in labels else sorted(labels),
            "groups": [],
            "name": who.name,
            "permissions": sorted({permission for role in who.roles for permission in role.permissions}),
            "user-id": who.name,
        }
    )


async def get_roles(request: web.Request) -> web.Response:
    """All roles: built in, of the configuration, added over REST; and the labels that may be given."""
    known = {**BUILT_IN, **request.app[CONTEXT].settings().roles}
    return json_answer(_Roles({name: _RoleFields.of(role) for name, role in known.items()}, _labels(request)))


async def put_roles(request: web.Request) -> web.Response:
    """Replace the roles that were added, and the labels that may be given. Roles of the configuration stay."""
    wanted = await read_json(request, _Roles)
    roles = {name: fields.role() for name, fields in wanted.roles.items()}
    if wrong := [name for name in roles if not (0 < len(name) <= _MAX_NAME_LENGTH and name.isprintable())]:
        raise BadRequest(
            f"{wrong[0][:80]!r} is no name of a role: at most {_MAX_NAME_LENGTH} characters that can be shown"
        )
    if roles.get("admin", BUILT_IN["admin"]) != BUILT_IN["admin"]:
        raise BadRequest("the role admin stays as it is, or nobody could change roles back; change it in [roles.admin]")
    for problem in role_problems(Settings(roles=roles)):
        raise BadRequest(problem)
    configured: Mapping[str, Role] = request.app[CONTEXT].use_cases.configured().roles
    await request.app[ACCESS_CHANGES].put_roles(roles, wanted.available_labels, configured)
    log.warning("user %s has changed the roles: %s", _user(request), ", ".join(sorted(roles)))
    return await get_roles(request)


async def permissions(_request: web.Request) -> web.Response:
    """The names of all permissions."""
    return json_answer(sorted(("all", *PERMISSIONS)))


async def break_glass(request: web.Request) -> web.Response:
    """Begin emergency access: see all studies for a while. It is written down, and raises an alarm, with the Reason."""
    reason = (await read_json(request, _Reason)).reason
    who, settings = request.get(PRINCIPAL, ANYBODY), request.app[CONTEXT].settings()
    if not who.is_person or not who.name:
        raise BadRequest("emergency access is for users who have signed in themselves")
    emergency = await request.app[EMERGENCIES].begin(who, reason, settings)
    return json_answer(fields_of_emergency(emergency))


async def get_emergency(request: web.Request) -> web.Response:
    """The emergency access of the user; null without one."""
    emergency = request.get(EMERGENCY)
    return json_answer(fields_of_emergency(emergency) if emergency is not None else None)


async def end_emergency(request: web.Request) -> web.Response:
    """End the emergency access of the user."""
    if EMERGENCY in request:
        await request.app[EMERGENCIES].end(request.get(PRINCIPAL, ANYBODY))
    return json_answer({})


def _labels(request: web.Request) -> tuple[str, ...]:
    return request.app[ACCESS_CHANGES].labels


def _user(request: web.Request) -> Any:
    return request.get(PRINCIPAL, ANYBODY).name or "(nobody)"


_JSON: Final = ("application/json",)

ROUTES = (
    Route("GET", "/auth/user/profile", profile, SIGNED_IN),
    Route("GET", "/auth/settings/roles", get_roles, "admin-permissions"),
    Route("PUT", "/auth/settings/roles", put_roles, "admin-permissions", takes=struct(_Roles), body=_JSON),
    Route("GET", "/auth/settings/permissions", permissions, "admin-permissions"),
    Route("GET", "/auth/break-glass", get_emergency, SIGNED_IN),
    Route("POST", "/auth/break-glass", break_glass, "break-glass", takes=struct(_Reason), body=_JSON),
    Route("DELETE", "/auth/break-glass", end_emergency, SIGNED_IN, action="break-glass-end"),
)
