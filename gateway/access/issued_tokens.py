"""Tokens that the gateway has issued: API tokens, links to a study, sessions of browsers.

A token is 32 random bytes behind a mark, so that scanners for secrets find it. The database has its SHA-256 alone; with
so many random bits no slower hash is needed. What a token allows is decided by `bearer.py`.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.access import queries
from gateway.database.database import Database, Script
from gateway.errors import BadRequest, NotFound
from gateway.processes.shared_counter import SharedCounter

TokenKind = Literal["api", "share", "session"]
MARK: Final = "dgw_"
"""What every issued token begins with. No JSON Web Token does."""
MAX_TOKENS_EACH: Final = 1000
"""API tokens, or links, of one user."""
MAX_SESSIONS_EACH: Final = 100
"""Sessions of one user; for a new one the oldest ends."""
MAX_NAME_LENGTH: Final = 128
"""Characters of the name of a token."""
UPLOAD_LINK: Final = "upload"
"""Type of a link by which an outsider uploads to the inbox, and sees nothing."""
MAX_STUDIES: Final = 100
"""Studies of one link."""


class Allowance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Record of what the holder of an issued token may do."""

    roles: tuple[str, ...] = ()
    """Names of roles; of a session, and of the maker of a link, beside those that the user has by the configuration."""
    permissions: tuple[str, ...] = ()
    """Permissions of a link."""
    studies: tuple[str, ...] = ()
    """Study Instance UIDs of a link."""
    resources: tuple[str, ...] = ()
    """Orthanc's identifiers of these studies."""
    link: str = ""
    """The type of a link, in the words of Orthanc's authorization plugin."""
    tenant: str = ""
    """The tenant to which belongs what is uploaded with a link; empty for none."""
    password: str = ""
    """Mark of the user's password, with which a token of a user of the configuration ends; '' for other users."""
    by_issuer: bool = False
    """Whether the user has signed in at the issuer of `[tokens]`."""


class IssuedToken(msgspec.Struct, frozen=True):
    """One issued token, without its secret. Times are seconds since 1970, 0 for never."""

    id: str
    kind: TokenKind
    name: str
    user: str
    """Who has made it."""
    parent: str
    """The link by which a session began; '' for none."""
    allows: Allowance
    uses_left: int | None
    """How often it can be used; None for any number of times."""
    created_at: float
    ends_at: float
    used_at: float
    instances_left: int | None = None
    """How many instances a link may still bring; None for any number, as of `bytes_left`."""
    bytes_left: int | None = None


def is_issued(secret: str) -> bool:
    """Whether a secret has the form of an issued token."""
    return secret.startswith(MARK)


def password_mark(stored: str) -> str:
    """A mark of a password hash of the configuration, which changes with it."""
    return hashlib.sha256(stored.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class IssuedTokens:
    """The issued tokens of a gateway. Every revocation moves `revocations`, which all workers watch."""

    def __init__(
        self,
        database: Database,
        revocations: SharedCounter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._clock = clock
        self.revocations = revocations or SharedCounter()

    async def issue(
        self,
        kind: TokenKind,
        name: str,
        user: str,
        allows: Allowance,
        *,
        seconds: float,
        uses: int | None = None,
        parent: str = "",
        room: tuple[int, int] | None = None,
    ) -> tuple[str, str]:
        """Issue a token for so many seconds; its id and its secret, which nobody can show again. `room` are the
        instances and bytes that a link to upload may bring.

        Raises: BadRequest if the user has too many.
        """
        token_id, secret = secrets.token_hex(8), MARK + secrets.token_urlsafe(32)
        now, content = self._clock(), msgspec.json.encode(allows).decode()

        def script() -> Script[None]:
            yield queries.REMOVE_ENDED, (now,)
            if kind == "session":
                yield queries.REMOVE_OLDEST, (kind, user, MAX_SESSIONS_EACH - 1)
            else:
                rows = yield queries.COUNT_TOKENS, (kind, user)
                if rows[0][0] >= MAX_TOKENS_EACH:
                    raise BadRequest(f"{user} has {MAX_TOKENS_EACH} tokens of this kind; revoke some")
            fields = (token_id, _digest(secret), kind, name, user, parent, content, uses, now, now + seconds)
            yield queries.ADD_TOKEN, (*fields, *(room or (None, None)))

        await self._database.write(script)
        return token_id, secret

    async def find(self, secret: str) -> IssuedToken | None:
        """The token with this secret, though it may have ended."""
        rows = await self._database.fetch(queries.FIND_TOKEN, _digest(secret))
        return _issued(rows[0]) if rows else None

    async def count_use(self, secret: str) -> bool:
        """Take one of the uses that a token has left; False if it has none."""

        def script() -> Script[bool]:
            return bool((yield queries.COUNT_USE, (_digest(secret), self._clock())))

        return await self._database.write(script)

    async def note_use(self, token_id: str) -> None:
        """Record that a token has been used now."""

        def script() -> Script[None]:
            yield queries.NOTE_USE, (token_id, self._clock())

        await self._database.write(script)

    async def listed(self, kind: TokenKind, user: str = "") -> list[IssuedToken]:
        """All of a kind that have not ended, of one user or ('') of all, oldest first."""
        return [_issued(row) for row in await self._database.fetch(queries.LIST_TOKENS, kind, user, self._clock())]

    async def revoke(self, kind: TokenKind, token_id: str, user: str = "") -> None:
        """End a token, with the sessions that began by it. Raises: NotFound, also if it is another user's."""

        def script() -> Script[bool]:
            found = yield queries.REMOVE_TOKEN, (token_id, kind, user)
            if found:
                yield queries.REMOVE_CHILDREN, (token_id,)
            return bool(found)

        if not await self._database.write(script):
            raise NotFound(f"there is no such token: {token_id[:40]}")
        self.revocations.add()

    async def end_sessions(self, user: str, but: str = "") -> None:
        """End every session of a user, except for the one with the secret `but`."""

        def script() -> Script[None]:
            yield queries.REMOVE_SESSIONS, (user, _digest(but))

        await self._database.write(script)
        self.revocations.add()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _issued(row: Sequence[Any]) -> IssuedToken:
    token_id, kind, name, user, parent, content, *rest = row
    return IssuedToken(token_id, kind, name, user, parent, msgspec.json.decode(content, type=Allowance), *rest)
