"""What we show a system over HTTP so that it knows who we are: the value of Authorization.

Passwords, tokens that somebody gave us, and access tokens that we ask an authorization server for (RFC 6749 §4.4, RFC
7523). No secret is in any text that is made here.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote_plus, urlsplit

import msgspec

from gateway.config import is_loopback
from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.errors import ConfigurationError
from gateway.remote.destination import DestinationUnavailable

if TYPE_CHECKING:
    import aiohttp

_LONGEST: Final = 16 << 10
"""Bytes of a file with a secret, and of an access token."""
_LARGEST: Final = 64 << 10
"""Bytes of an answer with a token."""
_MARGIN: Final = 60.0
"""Seconds before its end from which on a token is replaced, or a tenth of its time where that is less."""
_LIFETIME: Final = 300.0
"""Seconds that a token is taken to last which does not say so."""
_FETCH: Final = 20.0
"""Seconds for an answer with a token."""
_ASSERTED: Final = 3600
"""Seconds that an assertion to Google is good for; it takes no more."""
_GOOGLE: Final = "https://www.googleapis.com/auth/cloud-healthcare"
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Credentials(Protocol):
    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        """The value of Authorization; empty: none. Raises ConfigurationError and DestinationUnavailable."""

    def rejected(self, header: str) -> bool:
        """These were not taken. Whether it is worth trying with those that `header` gives now."""


def credentials_of(
    name: str, section: DicomwebDestination | PeerDestination, clock: Callable[[], float] = time.time
) -> Credentials:
    place = f"destinations.{name}"
    match section.auth:
        case "basic":
            return _Fixed(basic(section.user, section.password))
        case "bearer" if section.token_file:
            return _File(place, section.token_file)
        case "bearer":
            return _Fixed(f"Bearer {section.token}")
        case "oauth2":
            return _Granted(place, _ClientCredentials(place, section), clock)
        case "google":
            return _Granted(place, _ServiceAccount(place, section, clock), clock)
    return _Fixed("")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class _Fixed:
    def __init__(self, value: str) -> None:
        self._value = value

    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        return self._value

    def rejected(self, header: str) -> bool:
        return False


class _File:
    """A token in a file, which somebody replaces."""

    def __init__(self, place: str, file: str) -> None:
        self._place, self._file = place, file

    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        return "Bearer " + await asyncio.to_thread(_read_secret, f"{self._place}.token_file", self._file)

    def rejected(self, header: str) -> bool:
        return False


class Grant(Protocol):
    """How one asks an authorization server for an access token."""

    async def request(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        """Its address, what the form says, further headers. Raises ConfigurationError."""


class _Granted:
    """An access token that we have asked for, kept until shortly before its end."""

    def __init__(self, place: str, grant: Grant, clock: Callable[[], float]) -> None:
        self._place = place
        self._grant = grant
        self._clock = clock
        self._token = ""
        self._good_until = 0.0
        self._asking = asyncio.Lock()

    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        async with self._asking:  # Whoever waited finds the token that the one before has got.
            if not self._token or self._clock() >= self._good_until:
                self._token, seconds = await self._ask(session, context)
                self._good_until = self._clock() + seconds - min(_MARGIN, seconds / 10)
        return f"Bearer {self._token}"

    def rejected(self, header: str) -> bool:
        if header == f"Bearer {self._token}":  # Others may have got a new one meanwhile.
            self._token = ""
        return True

    async def _ask(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> tuple[str, float]:
        import aiohttp

        url, form, headers = await self._grant.request()
        where = f"{self._place}: no access token from {url}"
        try:
            async with (
                asyncio.timeout(_FETCH),
                session.post(
                    url,
                    data=form,
                    headers={"Accept": "application/json", **headers},
                    allow_redirects=False,
                    ssl=context,
                ) as answer,
            ):
                data = bytearray()
                async for piece in answer.content.iter_any():
                    data += piece
                    if len(data) > _LARGEST:
                        answer.close()
                        raise DestinationUnavailable(f"{where}: it answers more than {_LARGEST} bytes")
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            raise DestinationUnavailable(f"{where}: {error or 'no answer in time'}") from None
        try:
            said = msgspec.json.decode(bytes(data), type=dict[str, Any])
        except msgspec.DecodeError:
            said = {}
        token, seconds = said.get("access_token"), said.get("expires_in", _LIFETIME)
        if status != 200 or not isinstance(token, str) or not _is_token(token):
            # RFC 6749 §5.2. What it says of the error is all that is shown: an answer may hold what nobody shall read.
            why = " ".join(str(said[key])[:200] for key in ("error", "error_description") if key in said)
            raise DestinationUnavailable(f"{where}: it answers {status}{': ' + why if why else ''}")
        try:
            return token, max(float(seconds), 1.0)
        except (TypeError, ValueError):
            return token, _LIFETIME


class _ClientCredentials:
    """RFC 6749 §4.4, the client's password as §2.3.1 has it."""

    def __init__(self, place: str, section: DicomwebDestination | PeerDestination) -> None:
        self._place, self._section = place, section

    async def request(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        section = self._section
        secret = section.client_secret
        if section.client_secret_file:
            place = f"{self._place}.client_secret_file"
            secret = await asyncio.to_thread(_read_secret, place, section.client_secret_file)
        form = {"grant_type": "client_credentials", "scope": section.scope, "audience": section.audience}
        header = basic(quote_plus(section.client_id), quote_plus(secret))
        return section.token_url, {key: value for key, value in form.items() if value}, {"Authorization": header}


class _ServiceAccount:
    """RFC 7523 §2.1 as Google wants it: an assertion that the service account's key has signed."""

    def __init__(self, place: str, section: DicomwebDestination | PeerDestination, clock: Callable[[], float]) -> None:
        self._place, self._section, self._clock = place, section, clock

    async def request(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        return await asyncio.to_thread(self._asserted)

    def _asserted(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        place = f"{self._place}.key_file"
        try:
            account = msgspec.json.decode(_read_secret(place, self._section.key_file), type=dict[str, Any])
            email, url, pem = (str(account[name]) for name in ("client_email", "token_uri", "private_key"))
            key = RSAKey.import_key(pem)
        except (msgspec.DecodeError, KeyError, JoseError, ValueError, TypeError):
            raise ConfigurationError(
                f"{place} {self._section.key_file}: not a key of a service account: JSON with client_email, token_uri "
                "and an RSA private_key"
            ) from None
        address = urlsplit(url)
        if address.scheme != "https" and not is_loopback(address.hostname or ""):
            raise ConfigurationError(f"{place}: its token_uri {url} must be https")
        now = int(self._clock())
        claims = {
            "iss": email,
            "scope": self._section.scope or _GOOGLE,
            "aud": url,
            "iat": now,
            "exp": now + _ASSERTED,
        }
        header = {"alg": "RS256", "typ": "JWT"}
        if account.get("private_key_id"):
            header["kid"] = str(account["private_key_id"])
        return url, {"grant_type": _JWT_BEARER, "assertion": jwt.encode(header, claims, key)}, {}


def _is_token(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable() and " " not in text


def _read_secret(place: str, file: str) -> str:
    """What a file holds, without the line end behind it. Blocks."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(_LONGEST + 1)
        text = data.decode().strip()
    except OSError as error:
        raise ConfigurationError(f"{place} {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{place} {file}: is not text") from None
    if not text or len(data) > _LONGEST:
        raise ConfigurationError(f"{place} {file}: {len(data)} bytes are no secret")
    return text
