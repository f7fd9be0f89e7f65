"""JSON Web Tokens (RFC 7519) as proof of a user's identity: signature, issuer, audience, time, user.

Here are the keys of the issuer, from a file or from its URL, and the rules of RFC 8725. A token arrives in the
user identity of an association (PS3.7 D.3.3.7), with a request over HTTP, or from the issuer after a sign-in there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.config import Tokens, is_loopback
from gateway.dicom.json import NOT_JSON
from gateway.errors import ConfigurationError, GatewayError

if TYPE_CHECKING:
    from joserfc.jwk import Key

log = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures that only the issuer can make. Never `none`, and none that needs the issuer's secret here (HS…)."""
_ASYMMETRIC: Final = frozenset({"RSA", "EC"})
_LEEWAY_S: Final = 60
"""Seconds by which clocks may differ."""
_MAX_TOKEN_BYTES: Final = 16 << 10
"""Bytes of a token."""
_MAX_KEYS: Final = 64
_MAX_KEYS_BYTES: Final = 256 << 10
"""Bytes of a file or response with keys."""
_FETCH_TIMEOUT_S: Final = 10.0
"""Seconds for a response with keys."""
_FRESH_S: Final = 600.0
"""Seconds for which an issuer's metadata are used without another fetch."""
_FETCH_PAUSE_S: Final = 30.0
"""Seconds between two fetches, whatever tokens arrive; of keys `tokens.keys_seconds` if that is shorter."""
_STALE_S: Final = 86400.0
"""Seconds for which fetched keys are used while fetching fails."""


_MAX_GROUPS: Final = 1000
"""Groups in one token."""
DISCOVERY: Final = "/.well-known/openid-configuration"
"""Path of an issuer's metadata, below its address (OpenID Connect Discovery 1.0 §4)."""


class TokenRefused(GatewayError):
    """A token proves nothing. The text says why, and never repeats the token."""

    def __init__(self, text: str, *, expired: bool = False) -> None:
        super().__init__(text)
        self.expired = expired
        """Whether it was good once, so that nobody need be suspected."""


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """The user that a token proves."""

    name: str
    groups: tuple[str, ...]
    """The groups of `tokens.roles_claim`."""
    ends_at: float
    """Seconds since 1970 at which the token expires."""
    nonce: str
    """Value with which an ID token answers a request."""
    proved_until: float
    """Seconds since 1970 until which the issuer's keys are used without another look."""


def is_url(keys: str) -> bool:
    """Whether `tokens.keys` is an address, not a file."""
    return keys.startswith(("https://", "http://"))


def check_tokens(tokens: Tokens) -> None:
    """Check the keys, if they come from a file. Blocks. Raises: ConfigurationError if it has none."""
    if tokens.keys and not is_url(tokens.keys):
        _read_file(tokens.keys)


@dataclass(slots=True)
class _Known:
    """Keys from one place."""

    keys: list[Key]
    mark: Any
    """A value that changes with the file; None for a URL."""
    read: float
    """When they were read."""
    tried: float
    """When the last fetch was tried."""


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The metadata of one issuer, empty if they could not be had; read and tried as of `_Known`."""

    found: dict[str, Any]
    read: float
    tried: float


@dataclass(slots=True)
class TokenVerifier:
    """Checks tokens and caches the issuer's keys. One for each process; holds nothing that must be closed."""

    fetch: Callable[[str], Any] = field(default=lambda url: fetch(url))
    """Awaited for the body of a URL; raises OSError."""
    clock: Callable[[], float] = time.time
    _known: dict[str, _Known] = field(default_factory=dict)
    _metadata: dict[str, _Metadata] = field(default_factory=dict)
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def verify(self, token: bytes, tokens: Tokens) -> TokenIdentity:
        """The user that a token proves. Raises: TokenRefused."""
        from joserfc import jws
        from joserfc.errors import JoseError

        if len(token) > _MAX_TOKEN_BYTES:
            raise TokenRefused(f"its token has {len(token)} bytes, more than {_MAX_TOKEN_BYTES}")
        try:
            header = jws.extract_compact(token).headers()
        except (JoseError, ValueError, TypeError):
            raise TokenRefused("its credential is not a signed JSON Web Token") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise TokenRefused(f"its token is signed with {str(algorithm)[:16]!r}; allowed are {', '.join(ALGORITHMS)}")
        place = tokens.keys or endpoint(await self.metadata(tokens.issuer), "jwks_uri")
        known = await self._keys(place, key_id, tokens.keys_seconds)
        payload = self._verified(token, str(algorithm), _fitting(known.keys, key_id))
        if payload is None:
            whose = f"by a key {str(key_id)[:64]!r}" if key_id is not None else "by a key"
            raise TokenRefused(f"its token is signed {whose} that is not in tokens.keys = {place!r}")
        proved_until = known.read + tokens.keys_seconds if is_url(place) else math.inf
        return self._claimed(payload, tokens, proved_until)

    def mark(self, tokens: Tokens) -> Any:
        """A value that changes with the file of keys, so that what was proved before counts no more; None for a URL,
        and for a file that is gone."""
        if not tokens.keys or is_url(tokens.keys):
            return None
        with contextlib.suppress(ConfigurationError):
            return _mark(tokens.keys)  # One look at a local file: some microseconds.
        return None

    def _verified(self, token: bytes, algorithm: str, keys: list[Key]) -> bytes | None:
        """The signed payload, or None if none of the keys has signed it."""
        from joserfc import jws
        from joserfc.errors import JoseError

        for key in keys:
            try:
                return jws.deserialize_compact(token, key, algorithms=[algorithm]).payload
            except (JoseError, ValueError):  # another kind of key, or another key
                continue
        return None

    async def metadata(self, issuer: str) -> dict[str, Any]:
        """The metadata of an issuer (OpenID Connect Discovery 1.0 §4.2), fetched at most once in `_FRESH_S`.

        Raises: TokenRefused if it cannot be had, or speaks of another issuer.
        """
        known = self._metadata.get(issuer)
        if known is None or not known.found or self.clock() - known.read >= _FRESH_S:
            async with self._fetching:
                known = self._metadata.get(issuer)
                if known is None or self.clock() - known.tried >= _FETCH_PAUSE_S:
                    known = self._metadata[issuer] = await self._metadata_from(issuer, known)
        if not known.found:
            raise TokenRefused(f"the metadata of tokens.issuer = {issuer!r} cannot be had")
        return known.found

    async def _metadata_from(self, issuer: str, before: _Metadata | None) -> _Metadata:
        now = self.clock()
        try:
            found = msgspec.json.decode(await self.fetch(issuer.rstrip("/") + DISCOVERY), type=dict[str, Any])
            if found.get("issuer") != issuer:
                raise ValueError(f"it is of {str(found.get('issuer'))[:200]!r}")
            return _Metadata(found, now, now)
        except (OSError, ValueError, *NOT_JSON) as error:
            log.warning("tokens.issuer: no metadata of %s: %s", issuer, error or type(error).__name__)
        return _Metadata(before.found, before.read, now) if before is not None else _Metadata({}, 0.0, now)

    def _claimed(self, payload: bytes, tokens: Tokens, proved_until: float) -> TokenIdentity:
        from joserfc.errors import ExpiredTokenError, JoseError
        from joserfc.jwt import JWTClaimsRegistry

        rules = JWTClaimsRegistry(
            now=int(self.clock()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": tokens.issuer},
            aud={"essential": True, "value": tokens.audience},
            exp={"essential": True},
        )
        try:
            claims = msgspec.json.decode(payload, type=dict[str, Any])
            rules.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("its token has expired", expired=True) from None
        except (JoseError, *NOT_JSON) as error:
            raise TokenRefused(f"its token is not valid: {error}") from None
        name = claims.get(tokens.user_claim)
        if not isinstance(name, str) or not name or not name.isprintable():  # The name is logged.
            raise TokenRefused(f"its token names no user in tokens.user_claim = {tokens.user_claim!r}")
        if tokens.users and name not in tokens.users:
            raise TokenRefused(f"its token is of {name[:64]!r}, a user that is not in tokens.users")
        groups = _claim(claims, tokens.roles_claim) if tokens.roles_claim else None
        nonce = str(claims.get("nonce") or "")
        return TokenIdentity(name, _texts(groups), float(claims["exp"]), nonce, proved_until)

    async def _keys(self, place: str, key_id: Any, fresh_s: float) -> _Known:
        """The issuer's keys. They are fetched again if they are older than `fresh_s`, or none has the key id."""
        if not is_url(place):
            return await asyncio.to_thread(self._from_file, place)
        known = self._known.get(place)
        if known is not None and _fitting(known.keys, key_id) and self.clock() - known.read < fresh_s:
            return known
        async with self._fetching:  # Waiters use the keys that the first one has fetched.
            known = self._known.get(place)
            if known is None or self.clock() - known.tried >= min(fresh_s, _FETCH_PAUSE_S):
                known = self._known[place] = await self._from_url(place, known)
        return known

    def _from_file(self, place: str) -> _Known:
        """The keys of a file; blocks. While the file is invalid its last keys stay in use."""
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
        if before is None or now - before.read >= _STALE_S:
            return _Known([], None, 0.0, now)
        return _Known(before.keys, None, before.read, now)


async def fetch(url: str) -> bytes:
    """The body behind a URL, at most 256 KiB, within ten seconds. Raises: OSError."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S)
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
                if len(body) > _MAX_KEYS_BYTES:
                    raise OSError(f"it answers more than {_MAX_KEYS_BYTES} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(str(error) or "no answer in time") from None


def endpoint(metadata: Mapping[str, Any], name: str) -> str:
    """The URL of that name in an issuer's metadata. Raises: TokenRefused if there is none that is safe to call."""
    url = metadata.get(name)
    address = urlsplit(url) if isinstance(url, str) else urlsplit("")
    if address.scheme == "https" or (address.scheme == "http" and is_loopback(address.hostname or "")):
        return str(url)
    raise TokenRefused(f"the metadata of the issuer have no https address as {name}")


def read_keys(data: bytes) -> list[Key]:
    """Public keys from a JWK Set (RFC 7517) or from PEM, without those of other kinds. Raises: ValueError."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    if data.lstrip()[:10] == b"-----BEGIN":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The kind of key is not known in advance.
            try:
                keys = [import_key(data)]
            except (JoseError, ValueError) as error:
                raise ValueError(f"not a public key in PEM: {error}") from None
    else:
        try:
            entries = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
        except NOT_JSON as error:
            raise ValueError(f"neither a JWK Set nor PEM: {error}") from None
        keys = []
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("kty") in _ASYMMETRIC and entry.get("use", "sig") == "sig":
                try:
                    keys.append(import_key(entry))
                except (JoseError, ValueError, TypeError) as error:
                    log.warning("a key %r of the issuer is left out: %s", str(entry.get("kid"))[:64], error)
    keys = [key for key in keys if key.key_type in _ASYMMETRIC][:_MAX_KEYS]
    if not keys:
        raise ValueError("it has no public key (RSA or EC) for signatures")
    return keys


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or the one that its dots lead to; None if there is none."""
    if name in claims:  # A name may have dots itself: `https://hospital.example/groups`.
        return claims[name]
    outer, dot, inner = name.partition(".")
    within = claims.get(outer)
    return _claim(within, inner) if dot and isinstance(within, dict) else None


def _texts(value: Any) -> tuple[str, ...]:
    """The texts of a claim that is one or has several, separated by spaces or in a list."""
    found = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple([each for each in found if isinstance(each, str)][:_MAX_GROUPS])


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
            data = file.read(_MAX_KEYS_BYTES + 1)
        if len(data) > _MAX_KEYS_BYTES:
            raise ValueError(f"more than {_MAX_KEYS_BYTES} bytes")
        return read_keys(data)
    except OSError as error:
        raise ConfigurationError(f"tokens.keys {place}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"tokens.keys {place}: {error}") from None
