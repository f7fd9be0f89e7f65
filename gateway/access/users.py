"""HTTP basic authentication (RFC 7617) against the users of the configuration.

Here are parsing the header, the check off the event loop, the cache of verified credentials, and the slowing down
of failures. What a user may do is not here, and neither is HTTP: `web/middlewares.py` answers 401 and 429.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.access import passwords
from gateway.access.slots import FairSlots, NoSlot, client_of
from gateway.config import User
from gateway.errors import ConfigurationError
from gateway.processes.failure_table import FailureTable
from gateway.telemetry import SIGN_IN_FAILURES

log = logging.getLogger(__name__)

_MAX_REMEMBERED = 256
"""Verified credentials that are not hashed again."""
MAX_TRIES = 1024
"""Passwords being checked, or slowed down after a failure. Past it the oldest failure of the
client with the most is answered early."""
MAX_TRIES_EACH = 16
"""Of these, from one client: past it another is refused at once. So other clients get in meanwhile. Each worker has so
many of its own, while the failures that slow them down are counted together."""
_MAX_HASHING = 2
"""Passwords hashed at once, each for some 50 ms; clients take turns."""
_MAX_CREDENTIALS_LENGTH = 1024
"""Characters of a name and password together."""


class TooManyFailures(Exception):
    """Too many wrong passwords are being slowed down; no more are checked."""


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    name: str
    password: str


def check_users(users: Sequence[User]) -> None:
    """Check the users. Raises: ConfigurationError for a password that is not a hash, or a name given twice."""
    seen: set[str] = set()
    for user in users:
        try:
            if user.password or not user.certificate:
                passwords.parse(user.password)
        except ConfigurationError as error:
            raise ConfigurationError(f"http.users: {user.name}: password: {error}") from None
        if user.name in seen or not user.name or ":" in user.name:
            raise ConfigurationError(
                f"http.users: {user.name!r}: a name must be given once, not empty, without a colon"
            )
        seen.add(user.name)


def read_basic(header: str | None) -> BasicCredentials | None:
    """The credentials in an Authorization header, or None if it has none that are readable."""
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 2 * _MAX_CREDENTIALS_LENGTH:
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return BasicCredentials(name, password) if colon else None


class Authenticator:
    """Checks credentials. One for each process; `close()` ends its threads."""

    def __init__(
        self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep, failures: FailureTable | None = None
    ) -> None:
        """`failures` is the table that the processes of a gateway share."""
        self._sleep = sleep
        self._failures = failures or FailureTable()
        self._threads = ThreadPoolExecutor(_MAX_HASHING, thread_name_prefix="password")
        self._hashing = FairSlots(_MAX_HASHING)
        self._secret = os.urandom(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._tries: Counter[str] = Counter()
        self._slowed: dict[str, deque[asyncio.Future[None]]] = {}
        """By client, the failures with a delayed answer, oldest first."""
        self._no_user = passwords.PasswordHash(1 << 14, 8, 1, os.urandom(16), os.urandom(32))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def authenticate(self, header: str | None, users: Sequence[User], peer: str) -> str | None:
        """The name of the user that an Authorization header proves, or None; without credentials, at once."""
        credentials = read_basic(header)
        return await self.verify(credentials, users, peer) if credentials is not None else None

    async def verify(self, credentials: BasicCredentials, users: Sequence[User], peer: str) -> str | None:
        """The name of the user with these credentials, or None.

        A wrong password from `peer` (an address) is answered later with each failure, up to some seconds. Failures
        are counted by client (`client_of`), whatever name they used: no user is locked out by attempts on
        that name from elsewhere. Raises: TooManyFailures.
        """
        if len(credentials.name) + len(credentials.password) > _MAX_CREDENTIALS_LENGTH:
            return None
        stored = next((user.password for user in users if user.name == credentials.name and user.password), None)
        # A digest under a secret of this process: the timing of a look-up reveals nothing useful.
        fields = (credentials.name, credentials.password, stored or "")
        digest = hmac.digest(self._secret, "\0".join(fields).encode("utf-8", "surrogatepass"), hashlib.sha256)
        if stored is not None and digest in self._verified:
            self._verified.move_to_end(digest)
            return credentials.name
        client = client_of(peer)
        with self._trying(client):
            if await self._verify(credentials, stored, client):
                self._verified[digest] = None
                self._failures.forget(client)
                while len(self._verified) > _MAX_REMEMBERED:
                    self._verified.popitem(last=False)
                return credentials.name
            await self._slow_down(client, "wrong user name or password")
        return None

    async def slow_down(self, peer: str, what: str) -> None:
        """Wait as after a wrong password: `peer` has shown `what`, for the log. Raises: TooManyFailures."""
        client = client_of(peer)
        with self._trying(client):
            await self._slow_down(client, what)

    @contextmanager
    def _trying(self, client: str) -> Iterator[None]:
        """Count a try of a client while it lasts. Raises: TooManyFailures."""
        self._make_room(client)
        self._tries[client] += 1
        try:
            yield
        finally:
            self._tries[client] -= 1
            if not self._tries[client]:
                del self._tries[client]

    def _make_room(self, client: str) -> None:
        """Make room for one more try. Raises: TooManyFailures if this client has too many, or no room can be made."""
        if self._tries[client] >= MAX_TRIES_EACH:
            raise TooManyFailures
        if self._tries.total() >= MAX_TRIES:
            if not self._slowed:
                raise TooManyFailures
            most = max(self._slowed, key=lambda each: self._tries[each])
            self._slowed[most][0].cancel()
            self._forget_slowed(most, self._slowed[most][0])

    async def _verify(self, credentials: BasicCredentials, stored: str | None, client: str) -> bool:
        # An unknown name takes as long as a wrong password.
        known, wanted = stored is not None, self._no_user
        if stored is not None:
            try:
                wanted = passwords.parse(stored)
            except ConfigurationError as error:
                log.error("user %s cannot log in: %s", credentials.name, error)
                known = False
        loop = asyncio.get_running_loop()
        try:
            async with self._hashing.slot(client):
                matches = await loop.run_in_executor(self._threads, passwords.verify, credentials.password, wanted)
        except NoSlot:
            raise TooManyFailures from None
        return matches and known

    async def _slow_down(self, client: str, what: str) -> None:
        failures = self._failures.add(client)
        SIGN_IN_FAILURES.inc()
        log.warning("%s from %s, failure %d in a row", what, client, failures)
        pause = asyncio.ensure_future(self._sleep(min(0.1 * 2 ** min(failures, 10), 5.0)))
        self._slowed.setdefault(client, deque()).append(pause)
        try:
            await asyncio.wait([pause])
        finally:
            pause.cancel()
            self._forget_slowed(client, pause)

    def _forget_slowed(self, client: str, pause: asyncio.Future[None]) -> None:
        pauses = self._slowed.get(client)
        if pauses is not None and pause in pauses:
            pauses.remove(pause)
            if not pauses:
                del self._slowed[client]
