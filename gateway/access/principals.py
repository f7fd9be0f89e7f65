"""Who asks, and what they may do: a user, a modality or a token, with roles.

Every door asks `Principal.granting`: HTTP in `web/authorization.py`, DICOM in `scp/admission.py`. Which studies the
roles show is turned into a view of the index by `index/visibility.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.config import Service, Settings, Tokens, User
from gateway.config.roles import BUILT_IN, LEVELS_OF_PERMISSION, PERMISSIONS, Role

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
    """What proved it, for the log: a session, a certificate, the name of a token; empty for a password."""
    is_person: bool = True
    """Whether a person or system has signed in, and not merely shown a token that somebody has made."""
    is_link: bool = False
    """Whether it is whoever has a link to studies."""
    maker: Principal | None = None
    """Whoever has made the link, with the roles that they have now: it shows no more than they see."""
    upload_link: str = ""
    """The id of a link to upload."""

    @property
    def api_token(self) -> str:
        """The API token that it has shown, for the log; empty for whoever has signed in, and for links."""
        return "" if self.is_person or self.is_link else self.token

    def granting(self, permissions: Collection[str], level: str = "patient") -> tuple[Role, ...]:
        """Choose those of the roles that grant a permission, as the function `granting` does."""
        return granting(self.roles, permissions, level)

    def within(self, tenant: str) -> Principal:
        """Make the principal that it is at a door of a tenant, as the function `within` has it."""
        return replace(self, roles=within(self.roles, tenant))

    def without_conditions(self) -> Principal:
        """Make a principal of the same name, with those of the roles alone that show every study, or every one of their
        tenant."""
        return replace(self, roles=tuple([role for role in self.roles if not role.has_conditions_in_tenant]))


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


def within(roles: Iterable[Role], tenant: str) -> tuple[Role, ...]:
    """The roles that count at a door of a tenant: its own ones, and those above all tenants, which count there for that
    tenant alone."""
    return tuple(
        [
            role if role.tenant else msgspec.structs.replace(role, tenant=tenant)
            for role in roles
            if role.tenant in ("", tenant)
        ]
    )


@functools.lru_cache(1024)
def _grants(role: Role, permissions: frozenset[str], level: str) -> bool:
    depth = LEVELS_OF_PERMISSION.index(level)
    if role.grantable is not None:
        permissions &= role.grantable
    for granted in role.permissions:
        permission, _, highest = granted.partition(":")
        if (permission in permissions or (permission == "all" and permissions)) and (
            not highest or depth >= LEVELS_OF_PERMISSION.index(highest)
        ):
            return True
    return False


def principal(name: str, roles: Iterable[str], settings: Settings, token: str = "") -> Principal:
    """The principal with roles of these names. Names that there are not, any more, count for nothing."""
    return Principal(name, named_roles(roles, settings), token)


def named_roles(names: Iterable[str], settings: Settings) -> tuple[Role, ...]:
    """The roles of these names, each once, without those that there are not."""
    found = [settings.roles.get(each) or BUILT_IN.get(each) for each in dict.fromkeys(names)]
    return tuple([each for each in found if each is not None])


def user_principal(name: str, settings: Settings, more: Sequence[str] = (), token: str = "") -> Principal:
    """The principal of a user of the configuration, or of another one, with `more` roles."""
    user = user_of(name, settings)
    return principal(name, (*(user.roles if user is not None else ()), *more), settings, token)


def user_of(name: str, settings: Settings) -> User | None:
    """The user of that name in the configuration."""
    return next((user for user in settings.http.users if user.name == name), None)


def roles_of_groups(groups: Iterable[str], tokens: Tokens) -> tuple[str, ...]:
    """The names of the roles of everybody with a token, and of these groups of the issuer."""
    named = [role for group in groups for role in (tokens.groups.get(group, ()) if tokens.groups else (group,))]
    return tuple(dict.fromkeys((*tokens.roles, *named)))


def covers(roles: Iterable[Role], wanted: Role) -> bool:
    """Whether a holder of `roles` may do everything that a holder of `wanted` may, with the same studies at least."""
    held = tuple(roles)
    return all(any(_covers(role, wanted, permission) for role in held) for permission in wanted.permissions)


def _covers(role: Role, wanted: Role, permission: str) -> bool:
    shows_as_much = not role.has_conditions or msgspec.structs.replace(role, permissions=wanted.permissions) == wanted
    return shows_as_much and bool({"all", permission, permission.partition(":")[0]} & set(role.permissions))


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
            elif granted in role.excessive:
                yield (
                    f"roles.{name}.permissions: {permission!r} is about more than single studies, so that a role with "
                    "conditions on studies cannot give it; give it in a role of its own, without conditions"
                )
        if role.tenant and role.tenant not in settings.tenants:
            there = ", ".join(settings.tenants) or "none"
            yield f"roles.{name}.tenant: {role.tenant!r} is no tenant; there are {there}"
        if role.days is not None and not role.days > 0:
            yield f"roles.{name}.days: {role.days:g} is not a positive number of days"
    known = {**BUILT_IN, **settings.roles}
    holders = [(f"http.users: {user.name}: roles", user.roles) for user in settings.http.users]
    holders.append(("tokens.roles", settings.tokens.roles))
    holders += [(f"tokens.groups: {group}", roles) for group, roles in settings.tokens.groups.items()]
    holders += [(f"modalities.{name}.roles", modality.roles) for name, modality in settings.modalities.items()]
    for place, roles in holders:
        for role_name in roles:
            if role_name not in known:
                yield f"{place}: {role_name!r} is no role; there are {', '.join(known)}, and [roles.NAME] adds one"
