"""JSON Web Tokens (RFC 7519) as proof of who somebody is: signature, issuer, audience, time, user.

Here live the keys of the issuer, from a file or from its URL, and the rules of RFC 8725. How a token came is the
caller's: the user identity of an association (PS3.7 D.3.3.7).
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.config import Tokens
from gateway.errors import ConfigurationError, GatewayError

if TYPE_CHECKING:
    from joserfc.jwk import Key

log = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures that only the issuer can make. Never `none`, and none where we would hold the issuer's secret (HS…)."""
_ASYMMETRIC: Final = frozenset({"RSA", "EC"})
_LEEWAY: Final = 60
"""Seconds that the clocks may differ."""
_LONGEST: Final = 16 << 10
"""Bytes of a token."""
_MOST_KEYS: Final = 64
_LARGEST: Final = 256 << 10
"""Bytes of a file or answer with keys."""
_FETCH: Final = 10.0
"""Seconds for an answer with keys."""
_FRESH: Final = 3600.0
"""Seconds for which fetched keys are used without asking again."""
_PAUSE: Final = 30.0
"""Seconds between two fetches, whatever tokens come."""
_STALE: Final = 86400.0
"""Seconds for which fetched keys are used while they cannot be fetched again."""


class TokenRefused(GatewayError):
    """A token proves nothing. The text says why and never repeats it."""


def is_url(keys: str) -> bool:
    """Whether `tokens.keys` is an address and no file."""
    return keys.startswith(("https://", "http://"))


def check_tokens(tokens: Tokens) -> None:
    """Raise ConfigurationError where keys are to come from a file that has none. Blocks."""
    if tokens.keys and not is_url(tokens.keys):
        _read_file(tokens.keys)


@dataclass(slots=True)
class _Known:
    """Keys from one place."""

    keys: list[Key]
    mark: Any
    """What tells whether the file has changed; nothing for a URL."""
    read: float
    """When they were read."""
    tried: float
    """When they were last asked for."""


@dataclass(slots=True)
class TokenVerifier:
    """Checks tokens and remembers the issuer's keys. One for each process; it holds nothing that must be closed."""

    fetch: Callable[[str], Any] = field(default=lambda url: fetch(url))
    """Awaited for the body of a URL; raises OSError."""
    clock: Callable[[], float] = time.time
    _known: dict[str, _Known] = field(default_factory=dict)
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def verify(self, token: bytes, tokens: Tokens) -> str:
        """The name of the user that a token proves. Raises TokenRefused."""
        from joserfc import jws
        from joserfc.errors import JoseError

        if len(token) > _LONGEST:
            raise TokenRefused(f"its token has {len(token)} bytes, more than {_LONGEST}")
        try:
            header = jws.extract_compact(token).headers()
        except (JoseError, ValueError, TypeError):
            raise TokenRefused("what it shows is no signed JSON Web Token") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise TokenRefused(f"its token is signed with {str(algorithm)[:16]!r}; taken are {', '.join(ALGORITHMS)}")
        payload = self._signed(token, str(algorithm), await self._keys(tokens.keys, key_id))
        if payload is None:
            whose = f"by a key {str(key_id)[:64]!r}" if key_id is not None else "by a key"
            raise TokenRefused(f"its token is signed {whose} that is none of tokens.keys = {tokens.keys!r}")
        return self._claimed(payload, tokens)

    def _signed(self, token: bytes, algorithm: str, keys: list[Key]) -> bytes | None:
        """What was signed, where one of the keys has signed it."""
        from joserfc import jws
        from joserfc.errors import JoseError

        for key in keys:
            try:
                return jws.deserialize_compact(token, key, algorithms=[algorithm]).payload
            except (JoseError, ValueError):  # Another kind of key, or not this one.
                continue
        return None

    def _claimed(self, payload: bytes, tokens: Tokens) -> str:
        from joserfc.errors import ExpiredTokenError, JoseError
        from joserfc.jwt import JWTClaimsRegistry

        rules = JWTClaimsRegistry(
            now=int(self.clock()),
            leeway=_LEEWAY,
            iss={"essential": True, "value": tokens.issuer},
            aud={"essential": True, "value": tokens.audience},
            exp={"essential": True},
        )
        try:
            claims = msgspec.json.decode(payload, type=dict[str, Any])
            rules.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("its token has expired") from None
        except (JoseError, msgspec.DecodeError) as error:
            raise TokenRefused(f"its token is not taken: {error}") from None
        name = claims.get(tokens.user_claim)
        if not isinstance(name, str) or not name or not name.isprintable():  # It goes into the log.
            raise TokenRefused(f"its token names no user in tokens.user_claim = {tokens.user_claim!r}")
        if tokens.users and name not in tokens.users:
            raise TokenRefused(f"its token is of {name[:64]!r}, who is not among tokens.users")
        return name

    async def _keys(self, place: str, key_id: Any) -> list[Key]:
        """Those that may have signed: of that id or without one. Fetched anew where they are old or none fits."""
        if not is_url(place):
            return _fitting((await asyncio.to_thread(self._from_file, place)).keys, key_id)
        known = self._known.get(place)
        fitting = _fitting(known.keys, key_id) if known is not None else []
        if known is not None and fitting and self.clock() - known.read < _FRESH:
            return fitting
        async with self._fetching:  # Whoever waited finds what the one before has fetched.
            known = self._known.get(place)
            if known is None or self.clock() - known.tried >= _PAUSE:
                known = self._known[place] = await self._from_url(place, known)
        return _fitting(known.keys, key_id)

    def _from_file(self, place: str) -> _Known:
        """Blocks. What is wrong with the file now leaves the keys that it had."""
        known = self._known.get(place)
        try:
            mark = _mark(place)
            if known is None or known.mark != mark:
                known = self._known[place] = _Known(_read_file(place), mark, self.clock(), self.clock())
        except ConfigurationError as error:
            if known is None:
                raise TokenRefused(str(error)) from None
            log.warning("keys not replaced: %s", error)
        return known

    async def _from_url(self, place: str, before: _Known | None) -> _Known:
        now = self.clock()
        try:
            return _Known(read_keys(await self.fetch(place)), None, now, now)
        except (OSError, ValueError) as error:
            log.warning("tokens.keys: no keys from %s: %s", place, error or type(error).__name__)
        if before is None or now - before.read >= _STALE:
            return _Known([], None, 0.0, now)
        return _Known(before.keys, None, before.read, now)


async def fetch(url: str) -> bytes:
    """The body behind a URL, at most 256 KiB of it, within ten seconds. Raises OSError."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_FETCH)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status != 200:
                raise OSError(f"it answers {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > _LARGEST:
                    raise OSError(f"it answers more than {_LARGEST} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(str(error) or "no answer in time") from None


def read_keys(data: bytes) -> list[Key]:
    """Public keys from a JWK Set (RFC 7517) or from PEM, those of other kinds left out. Raises ValueError."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    if data.lstrip()[:10] == b"-----BEGIN":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The kind of key is to be found out from what is there.
            try:
                keys = [import_key(data)]
            except (JoseError, ValueError) as error:
                raise ValueError(f"not a public key in PEM: {error}") from None
    else:
        try:
            entries = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
        except msgspec.DecodeError as error:
            raise ValueError(f"neither a JWK Set nor PEM: {error}") from None
        keys = []
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("kty") in _ASYMMETRIC and entry.get("use", "sig") == "sig":
                try:
                    keys.append(import_key(entry))
                except (JoseError, ValueError, TypeError) as error:
                    log.warning("a key %r of the issuer is left out: %s", str(entry.get("kid"))[:64], error)
    keys = [key for key in keys if key.key_type in _ASYMMETRIC][:_MOST_KEYS]
    if not keys:
        raise ValueError("no public key (RSA or EC) that signs is in it")
    return keys


def _fitting(keys: list[Key], key_id: Any) -> list[Key]:
    return [key for key in keys if key_id is None or key.kid is None or key.kid == key_id]


def _mark(place: str) -> Any:
    try:
        status = Path(place).stat()
    except OSError as error:
        raise ConfigurationError(f"tokens.keys {place}: {error.strerror}") from None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read_file(place: str) -> list[Key]:
    try:
        with Path(place).open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        return read_keys(data)
    except OSError as error:
        raise ConfigurationError(f"tokens.keys {place}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"tokens.keys {place}: {error}") from None
