"""Who asks: HTTP basic authentication (RFC 7617) against the users of the configuration.

Here live reading the header, the check off the event loop, the memory of what was verified, and the slowing down
of failures. What a user may do is not here, and neither is HTTP: `web/middlewares.py` makes 401 and 429 of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway.access import passwords
from gateway.config import User
from gateway.errors import ConfigurationError

log = logging.getLogger(__name__)

_REMEMBERED = 256
"""Verified credentials that are not hashed again."""
_PEERS = 4096
"""Addresses whose failures are counted."""
_WAITING = 64
"""Failures that are being slowed down at once; past it a failure is refused without a wait."""
_LONGEST = 1024
"""Characters of a name and password together."""


class TooManyFailures(Exception):
    """So many wrong passwords are being slowed down that no more are taken."""


@dataclass(frozen=True, slots=True)
class Credentials:
    name: str
    password: str


def check_users(users: Sequence[User]) -> None:
    """Raise ConfigurationError that names the user whose password is not a hash, or a name given twice."""
    seen: set[str] = set()
    for user in users:
        try:
            passwords.parse(user.password)
        except ConfigurationError as error:
            raise ConfigurationError(f"http.users: {user.name}: password: {error}") from None
        if user.name in seen or not user.name or ":" in user.name:
            raise ConfigurationError(
                f"http.users: {user.name!r}: a name must be given once, not empty, without a colon"
            )
        seen.add(user.name)


def read_basic(header: str | None) -> Credentials | None:
    """The credentials in an Authorization header, or None where it has none that can be read."""
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 2 * _LONGEST:
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return Credentials(name, password) if colon else None


class Authenticator:
    """Checks credentials. One for each process; `close()` ends its threads."""

    def __init__(self, sleep: Callable[[float], asyncio.Future[None]] | None = None) -> None:
        self._sleep = sleep or asyncio.sleep
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="password")
        self._secret = os.urandom(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._failures: OrderedDict[str, int] = OrderedDict()
        self._waiting = 0
        self._nobody = passwords.PasswordHash(1 << 14, 8, 1, os.urandom(16), os.urandom(32))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def authenticate(self, header: str | None, users: Sequence[User], peer: str) -> str | None:
        """The name of the user that an Authorization header proves, or None; without credentials, at once."""
        credentials = read_basic(header)
        return await self.verify(credentials, users, peer) if credentials is not None else None

    async def verify(self, credentials: Credentials, users: Sequence[User], peer: str) -> str | None:
        """The name of the user whose name and password they are, or None.

        A wrong password from `peer` (an address) is answered later with each failure, up to some seconds.
        Raises TooManyFailures.
        """
        if len(credentials.name) + len(credentials.password) > _LONGEST:
            return None
        stored = next((user.password for user in users if user.name == credentials.name), None)
        # A digest under a secret of this process: a look-up's timing says nothing that could be aimed at.
        fields = (credentials.name, credentials.password, stored or "")
        digest = hmac.digest(self._secret, "\0".join(fields).encode("utf-8", "surrogatepass"), hashlib.sha256)
        if stored is not None and digest in self._verified:
            self._verified.move_to_end(digest)
            return credentials.name
        if self._waiting >= _WAITING:
            raise TooManyFailures
        self._waiting += 1
        try:
            if await self._verify(credentials, stored):
                self._verified[digest] = None
                self._failures.pop(peer, None)
                while len(self._verified) > _REMEMBERED:
                    self._verified.popitem(last=False)
                return credentials.name
            await self._slow_down(peer)
        finally:
            self._waiting -= 1
        return None

    async def _verify(self, credentials: Credentials, stored: str | None) -> bool:
        # A name that is not known costs the same time as a wrong password.
        known, wanted = stored is not None, self._nobody
        if stored is not None:
            try:
                wanted = passwords.parse(stored)
            except ConfigurationError as error:
                log.error("user %s cannot log in: %s", credentials.name, error)
                known = False
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._threads, passwords.verify, credentials.password, wanted)
        return matches and known

    async def _slow_down(self, peer: str) -> None:
        failures = self._failures.pop(peer, 0) + 1
        self._failures[peer] = failures
        while len(self._failures) > _PEERS:
            self._failures.popitem(last=False)
        log.warning("wrong user name or password from %s, failure %d in a row", peer, failures)
        await self._sleep(min(0.1 * 2 ** min(failures, 10), 5.0))
