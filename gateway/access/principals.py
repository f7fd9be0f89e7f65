"""Who asks, and what they may do: a user, a modality or a token, with roles.

Every door asks `Principal.granting`: HTTP in `web/middlewares.py`, DICOM in `scp/admission.py`. Which studies the roles
show is turned into a view of the index by `index/visibility.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config import Service, Settings
from gateway.config.roles import BUILT_IN, LEVELS_OF_PERMISSION, OF_STUDIES, PERMISSIONS, Role

SERVICE_PERMISSIONS: Final[Mapping[Service, tuple[str, ...]]] = {
    "echo": (),
    "store": ("upload",),
    "find": ("view",),
    "get": ("download",),
    "move": ("send",),
    "commit": ("upload",),
    "worklist": ("worklists",),
    "mpps": ("worklists",),
}
"""For each DICOM service the permissions of which its requestor needs one; none: anybody may."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks. `name` is for the log, and empty for somebody who need not say."""

    name: str
    roles: tuple[Role, ...]
    token: str = ""
    """Name of the token or session by which somebody has signed in; empty for a password."""

    def granting(self, permissions: Collection[str], level: str = "patient") -> tuple[Role, ...]:
        """Choose those of the roles that grant a permission, as the function `granting` does."""
        return granting(self.roles, permissions, level)

    def without_conditions(self) -> Principal:
        """Make a principal of the same name, with those of the roles alone that show every study."""
        return Principal(self.name, tuple([role for role in self.roles if not role.has_conditions]))


def granting(roles: tuple[Role, ...], permissions: Collection[str], level: str = "patient") -> tuple[Role, ...]:
    """The roles that grant one of the permissions for resources of a level, as far as they see them; none if their
    holder may not. All roles if no permission is needed."""
    if not permissions:
        return roles or (_NOTHING,)
    return tuple([role for role in roles if _grants(role, frozenset(permissions), level)])


_NOTHING: Final = Role(permissions=())
"""What somebody without any role has, who may still use what needs no permission."""
ANYBODY: Final = Principal("", (BUILT_IN["admin"],))
"""Somebody whose name need not be known, who may do everything."""


@functools.lru_cache(1024)
def _grants(role: Role, permissions: frozenset[str], level: str) -> bool:
    depth = LEVELS_OF_PERMISSION.index(level)
    if role.has_conditions:
        permissions &= OF_STUDIES
    for granted in role.permissions:
        permission, _, highest = granted.partition(":")
        if (permission in permissions or (permission == "all" and permissions)) and (
            not highest or depth >= LEVELS_OF_PERMISSION.index(highest)
        ):
            return True
    return False


def principal(name: str, roles: Sequence[str], settings: Settings) -> Principal:
    """The principal with roles of these names. Names that there are not, any more, count for nothing."""
    found = [settings.roles.get(each) or BUILT_IN.get(each) for each in roles]
    return Principal(name, tuple([each for each in found if each is not None]))


def user_principal(name: str, settings: Settings) -> Principal:
    """The principal of a user of the configuration."""
    for user in settings.http.users:
        if user.name == name:
            return principal(name, user.roles, settings)
    return Principal(name, ())


def permitted_services(roles: tuple[Role, ...], services: Collection[Service]) -> frozenset[Service]:
    """The DICOM services among some that a holder of roles may request."""
    return frozenset([service for service in services if granting(roles, SERVICE_PERMISSIONS[service])])


def role_problems(settings: Settings) -> Iterator[str]:
    """Yield every unknown permission of a role, and every unknown role of a user or modality."""
    for name, role in settings.roles.items():
        for granted in role.permissions:
            permission, colon, level = granted.partition(":")
            if permission not in ("all", *PERMISSIONS):
                listed = ", ".join(("all", *PERMISSIONS))
                yield f"roles.{name}.permissions: {permission!r} is no permission; there are {listed}"
            elif colon and level not in LEVELS_OF_PERMISSION:
                listed = ", ".join(LEVELS_OF_PERMISSION)
                yield f"roles.{name}.permissions: {level!r} is no level; there are {listed}"
            elif role.has_conditions and permission not in ("all", *OF_STUDIES):
                yield (
                    f"roles.{name}.permissions: {permission!r} is about more than single studies, so that a role with "
                    "conditions on studies cannot give it; give it in a role of its own, without conditions"
                )
        if role.days is not None and not role.days > 0:
            yield f"roles.{name}.days: {role.days:g} is not a positive number of days"
    known = {**BUILT_IN, **settings.roles}
    holders = [(f"http.users: {user.name}: roles", user.roles) for user in settings.http.users]
    holders += [(f"modalities.{name}.roles", modality.roles) for name, modality in settings.modalities.items()]
    for place, roles in holders:
        for role_name in roles:
            if role_name not in known:
                yield f"{place}: {role_name!r} is no role; there are {', '.join(known)}, and [roles.NAME] adds one"
