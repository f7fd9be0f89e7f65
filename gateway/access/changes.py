"""Roles and passwords that were changed over REST or on the pages: rows, which extend every snapshot of the settings.

They last over restarts and are the same in every process. A user keeps the roles that the configuration names, and may
have been given others here. A role that the configuration names is changed there and
nowhere else. A changed password stands for the one of the configuration until that is changed, so that an administrator
can always set a new one there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.access import queries
from gateway.access.issued_tokens import password_mark
from gateway.config import Settings, User
from gateway.config.roles import BUILT_IN, Role
from gateway.database.database import Database, Script
from gateway.errors import BadRequest, Configured

MAX_ROLES: Final = 200
MAX_LABELS: Final = 1000


class _Password(msgspec.Struct, frozen=True):
    hash: str
    replaces: str
    """Mark of the hash in the configuration that it stands for."""


@dataclass(frozen=True, slots=True)
class _Rows:
    roles: dict[str, Role] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    passwords: dict[str, _Password] = field(default_factory=dict)
    given: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def extends(self) -> bool:
        return bool(self.roles or self.passwords or self.given)


class AccessChanges:
    """The changes that one process knows. Belongs to one event loop."""

    def __init__(
        self, database: Database, *, changed: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.time
    ) -> None:
        """`changed` tells the other processes to `refresh`, and drops what was decided before."""
        self._database = database
        self._changed = changed
        self._clock = clock
        self._rows = _Rows()
        self._made: tuple[Settings, _Rows, Settings] | None = None

    def extend(self, settings: Settings) -> Settings:
        """A snapshot of the configuration with these changes; the same object while nothing changes."""
        rows = self._rows
        if not rows.extends:
            return settings
        made = self._made
        if made is None or made[0] is not settings or made[1] is not rows:
            users = tuple([_changed(user, rows) for user in settings.http.users])
            made = self._made = (
                settings,
                rows,
                msgspec.structs.replace(
                    settings,
                    roles={**rows.roles, **settings.roles},
                    http=msgspec.structs.replace(settings.http, users=users),
                ),
            )
        return made[2]

    @property
    def roles(self) -> Mapping[str, Role]:
        """The roles that were added."""
        return self._rows.roles

    def given(self, user: str) -> tuple[str, ...]:
        """The names of the roles that a user of the configuration was given beside those that it names."""
        return self._rows.given.get(user, ())

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that may be given; none: any."""
        return self._rows.labels

    async def refresh(self) -> None:
        """Read again what was changed, by whichever process."""
        roles: dict[str, Role] = {}
        labels: list[str] = []
        passwords: dict[str, _Password] = {}
        given: dict[str, tuple[str, ...]] = {}
        for kind, name, value in await self._database.fetch(queries.LIST_CHANGES):
            match kind:
                case "role":
                    roles[name] = msgspec.json.decode(value, type=Role)
                case "label":
                    labels.append(name)
                case "password":
                    passwords[name] = msgspec.json.decode(value, type=_Password)
                case "user":
                    given[name] = msgspec.json.decode(value, type=tuple[str, ...])
        rows = _Rows(roles, tuple(labels), passwords, given)
        if rows != self._rows:
            self._rows = rows

    async def put_roles(
        self, roles: Mapping[str, Role], labels: Collection[str], configured: Mapping[str, Role]
    ) -> None:
        """Replace all added roles, and the labels that may be given. Roles that are as the configuration has them, or
        as they are built in, are not recorded.

        Raises: BadRequest; Configured for another role of a name that `configured` has.
        """
        if len(roles) > MAX_ROLES or len(labels) > MAX_LABELS:
            raise BadRequest(f"more than {MAX_ROLES} roles or {MAX_LABELS} labels")
        added = {}
        for name, role in roles.items():
            if name in configured and role != configured[name]:
                raise Configured(f"the configuration has the role {name!r}; change roles.{name} there")
            if role != configured.get(name, BUILT_IN.get(name)):
                added[name] = role

        def script() -> Script[None]:
            now = self._clock()
            yield queries.CLEAR_CHANGES, ("role",)
            yield queries.CLEAR_CHANGES, ("label",)
            for name, role in added.items():
                yield queries.PUT_CHANGE, ("role", name, msgspec.json.encode(role).decode(), now)
            for label in dict.fromkeys(labels):
                yield queries.PUT_CHANGE, ("label", label, "", now)

        await self._write(script)

    async def change_password(self, user: User, configured: User, new_hash: str) -> None:
        """Put another hash in place of the one that the configuration has for a user."""
        value = msgspec.json.encode(_Password(new_hash, password_mark(configured.password))).decode()

        def script() -> Script[None]:
            yield queries.PUT_CHANGE, ("password", user.name, value, self._clock())

        await self._write(script)

    async def give_roles(self, user: str, roles: Collection[str]) -> None:
        """Give a user of the configuration these roles, by name, beside those that it names, and no others."""
        value = msgspec.json.encode(tuple(dict.fromkeys(roles))).decode()

        def script() -> Script[None]:
            yield queries.PUT_CHANGE, ("user", user, value, self._clock())

        await self._write(script)

    async def _write(self, script: Callable[[], Script[Any]]) -> None:
        await self._database.write(script)
        await self.refresh()
        self._changed()


def _changed(user: User, rows: _Rows) -> User:
    if given := rows.given.get(user.name):
        user = msgspec.structs.replace(user, roles=tuple(dict.fromkeys((*user.roles, *given))))
    password = rows.passwords.get(user.name)
    if password is None or password.replaces != password_mark(user.password):
        return user
    return msgspec.structs.replace(user, password=password.hash)
