"""What a secret proves that somebody shows: a token of the issuer of `[tokens]`, or one that the gateway has issued.

Here are the decision, and the cache of what was decided. HTTP is in `web/authentication.py`. An entry of the cache
holds until its token ends, at most `_TRUSTED_S`; until the settings or the issuer's keys change; until anything is
revoked, by whichever worker.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from gateway.access.issued_tokens import UPLOAD_LINK, Allowance, IssuedToken, IssuedTokens, is_issued, password_mark
from gateway.access.principals import (
    Principal,
    covers,
    named_roles,
    principal,
    roles_of_groups,
    user_of,
    user_principal,
)
from gateway.access.tokens import TokenIdentity, TokenRefused, TokenVerifier
from gateway.config import Settings
from gateway.config.roles import DEPOSIT, Role

MAX_CACHED: Final = 4096
"""Secrets whose principal is cached; the one used least recently is dropped."""
_TRUSTED_S: Final = 60.0
"""Seconds after which a token of the issuer is verified again, if its keys need not be looked at before."""
_ISSUED_S: Final = 5.0
"""Seconds after which an issued token is looked up again: a command may have revoked it."""
_NOTED_S: Final = 60.0
"""Seconds between two notes of the last use of a token."""


@dataclass(slots=True)
class _Decision:
    who: Principal
    settings: Settings
    revocations: int
    keys: Any
    """The mark of the file of keys, None without one: a key that is withdrawn there proves nothing from then on."""
    until: float


class BearerAuthenticator:
    """Finds the principal of a secret. One for each process."""

    def __init__(self, verifier: TokenVerifier, issued: IssuedTokens, clock: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._issued = issued
        self._clock = clock
        self._decided: OrderedDict[bytes, _Decision] = OrderedDict()

    async def authenticate(self, secret: str, settings: Settings) -> Principal:
        """The principal that a secret proves. Raises: TokenRefused."""
        key = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        decided, now = self._decided.get(key), self._clock()
        if (
            decided is not None
            and now < decided.until
            and decided.settings is settings
            and decided.revocations == self._issued.revocations.value
            and (decided.keys is None or decided.keys == self._verifier.mark(settings.tokens))
        ):
            self._decided.move_to_end(key)
            return decided.who
        revocations = self._issued.revocations.value  # Read first: one that comes meanwhile is noticed.
        keys = None
        if is_issued(secret):
            who, until = await self._of_issued(secret, settings, now)
        else:
            keys = self._verifier.mark(settings.tokens)
            identity = await self._verifier.verify(secret.encode("utf-8", "surrogatepass"), settings.tokens)
            who, until = identity_principal(identity, settings), min(identity.ends_at, identity.proved_until)
            until = min(until, now + _TRUSTED_S)
        if until > now:
            self._decided[key] = _Decision(who, settings, revocations, keys, until)
            self._decided.move_to_end(key)
            while len(self._decided) > MAX_CACHED:
                self._decided.popitem(last=False)
        return who

    async def _of_issued(self, secret: str, settings: Settings, now: float) -> tuple[Principal, float]:
        """The principal of an issued token, and until when it may be cached."""
        token = await self._issued.find(secret)
        if token is None:
            raise TokenRefused("its token was never issued, or is revoked")
        idle = settings.http.session_idle_minutes * 60 if token.kind == "session" else 0.0
        if now >= token.ends_at or (idle and now >= max(token.used_at, token.created_at) + idle):
            raise TokenRefused(f"its {described(token)} has ended", expired=True)
        who = issued_principal(token, settings)
        if token.uses_left is not None:
            if not await self._issued.count_use(secret):
                raise TokenRefused(f"its {described(token)} has been used up", expired=True)
            return who, 0.0
        if now - token.used_at >= min(_NOTED_S, idle / 4 or _NOTED_S):
            await self._issued.note_use(token.id)
        return who, min(token.ends_at, now + _ISSUED_S)


def described(token: IssuedToken) -> str:
    """The token, for the log."""
    kinds = {"api": "token", "share": "link", "session": "session"}
    return f"{kinds[token.kind]} {token.id}" + (f" {token.name!r}" if token.name else "")


def identity_principal(identity: TokenIdentity, settings: Settings, token: str = "bearer token") -> Principal:
    """The principal of a user that a token of the issuer proves."""
    return user_principal(identity.name, settings, roles_of_groups(identity.groups, settings.tokens), token)


def issued_principal(token: IssuedToken, settings: Settings) -> Principal:
    """The principal of an issued token by the current settings.

    Raises: TokenRefused if its user is gone from the configuration, or has another password since a session began.
    """
    allows = token.allows
    user = user_of(token.user, settings)
    if not allows.by_issuer:
        if settings.needs_sign_in and user is None:
            raise TokenRefused(f"its {described(token)} is of {token.user[:64]!r}, who is not among http.users")
        own = token.kind == "session" and not token.parent
        if user is not None and own and allows.password != password_mark(user.password):
            raise TokenRefused(f"its {described(token)} began before the password was changed", expired=True)
    if allows.link == UPLOAD_LINK:
        known = user is not None or bool(allows.roles)
        may = not known or user_principal(token.user, settings, allows.roles).granting(("upload",))
        roles = (Role(permissions=(DEPOSIT,), tenant=allows.tenant),) if may else ()
        link = token.parent or token.id
        return Principal(_link_name(token), roles, described(token), is_person=False, is_link=True, upload_link=link)
    if allows.studies:
        permissions, maker = allows.permissions, None
        if user is not None or allows.roles:
            maker = user_principal(token.user, settings, allows.roles)
            permissions = tuple([each for each in permissions if maker.granting((each,), "study")])
        # By what is one patient's alone: another study of the same UID may be of somebody whom the maker does not see.
        role = Role(permissions=permissions, studies=allows.resources or allows.studies)
        name = _link_name(token)
        return Principal(name, (role,), described(token), is_person=False, is_link=True, maker=maker)
    if token.kind == "session":
        return user_principal(token.user, settings, allows.roles, "session")
    who = replace(principal(token.user, allows.roles, settings, described(token)), is_person=False)
    if user is not None:  # What a user may not do any more, a token may not either.
        owned = named_roles((*user.roles, *(allows.roles if allows.by_issuer else ())), settings)
        who = replace(who, roles=tuple([role for role in who.roles if covers(owned, role)]))
    return who


def _link_name(token: IssuedToken) -> str:
    return f"link {token.parent or token.id}" + (f" {token.name}" if token.name else "")


def allowance_of(who: Principal, settings: Settings, **more: tuple[str, ...] | str) -> Allowance:
    """The allowance of a token that `who` makes, with what is recorded of its maker."""
    user = user_of(who.name, settings)
    return msgspec.structs.replace(Allowance(**more), by_issuer=bool(who.name) and user is None)  # type: ignore[arg-type]
