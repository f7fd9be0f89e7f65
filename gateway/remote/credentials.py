"""Credentials for a system over HTTP: the value of the Authorization header.

Passwords, given tokens, and access tokens requested from an authorization server (RFC 6749 §4.4, RFC 7523). No error
text contains a secret.
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
from gateway.dicom.json import NOT_JSON
from gateway.errors import ConfigurationError
from gateway.remote.destination import DestinationUnavailable

if TYPE_CHECKING:
    import aiohttp
    from joserfc.jwk import RSAKey

_MAX_SECRET_BYTES: Final = 16 << 10
"""Bytes of a file with a secret, and of an access token."""
_MAX_ANSWER_BYTES: Final = 64 << 10
"""Bytes of a token response."""
_MARGIN: Final = 60.0
"""Seconds before its expiry at which a token is replaced, or a tenth of its lifetime where that is less."""
_LIFETIME: Final = 300.0
"""Seconds of lifetime assumed for a token that states none."""
_FETCH: Final = 20.0
"""Seconds for a token response."""
_ASSERTED: Final = 3600
"""Seconds of validity of an assertion; Google allows no more."""
_GOOGLE: Final = "https://www.googleapis.com/auth/cloud-healthcare"
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Credentials(Protocol):
    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        """The value of Authorization; empty for none. Raises ConfigurationError, DestinationUnavailable."""

    def rejected(self, header: str) -> bool:
        """Handle a 401 to `header`. Returns whether to retry with the header that `header()` now gives."""


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


def check_credentials(name: str, section: DicomwebDestination | PeerDestination) -> None:
    """Raise ConfigurationError when a secret file is empty, or is not the key of a service account. Blocks."""
    place = f"destinations.{name}"
    if section.token_file:
        read_secret(f"{place}.token_file", section.token_file)
    if section.client_secret_file:
        read_secret(f"{place}.client_secret_file", section.client_secret_file)
    if section.key_file:
        _ServiceAccount(place, section, time.time).key()


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
    """A token in a file that another program replaces."""

    def __init__(self, place: str, file: str) -> None:
        self._place, self._file = place, file

    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        return "Bearer " + await asyncio.to_thread(read_secret, f"{self._place}.token_file", self._file)

    def rejected(self, header: str) -> bool:
        return False


class Grant(Protocol):
    """A way of requesting an access token from an authorization server."""

    async def request(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        """The URL, form fields and further headers of the request. Raises ConfigurationError."""


class _Granted:
    """A requested access token, cached until shortly before its expiry."""

    def __init__(self, place: str, grant: Grant, clock: Callable[[], float]) -> None:
        self._place = place
        self._grant = grant
        self._clock = clock
        self._token = ""
        self._good_until = 0.0
        self._requesting = asyncio.Lock()

    async def header(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> str:
        async with self._requesting:  # A waiting task finds the token that the previous one has obtained.
            if not self._token or self._clock() >= self._good_until:
                self._token, seconds = await self._ask(session, context)
                self._good_until = self._clock() + seconds - min(_MARGIN, seconds / 10)
        return f"Bearer {self._token}"

    def rejected(self, header: str) -> bool:
        if header == f"Bearer {self._token}":  # Another task may have replaced the token meanwhile.
            self._token = ""
        return True

    async def _ask(self, session: aiohttp.ClientSession, context: ssl.SSLContext) -> tuple[str, float]:
        url, form, headers = await self._grant.request()
        where = f"{self._place}: no access token from {url}"
        fields = await token_response(session, where, url, form, headers, context)
        token, seconds = fields.get("access_token"), fields.get("expires_in", _LIFETIME)
        if not isinstance(token, str) or not _is_token(token):
            raise DestinationUnavailable(f"{where}: it answers 200 without one")
        try:
            return token, max(float(seconds), 1.0)
        except (TypeError, ValueError):
            return token, _LIFETIME


async def token_response(
    session: aiohttp.ClientSession,
    where: str,
    url: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    context: ssl.SSLContext | bool = True,
) -> dict[str, Any]:
    """The members of a token response (RFC 6749 §5.1), within `_FETCH` seconds. No redirect is followed.

    Raises: DestinationUnavailable, whose text begins with `where`, for any other response or none.
    """
    import aiohttp

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
                if len(data) > _MAX_ANSWER_BYTES:
                    answer.close()
                    raise DestinationUnavailable(f"{where}: it answers more than {_MAX_ANSWER_BYTES} bytes")
            status = answer.status
    except (aiohttp.ClientError, OSError) as error:
        raise DestinationUnavailable(f"{where}: {error or 'no answer in time'}") from None
    try:
        fields = msgspec.json.decode(bytes(data), type=dict[str, Any])
    except NOT_JSON:
        fields = {}
    if status != 200:
        # RFC 6749 §5.2. Only the error fields are shown: the rest of the response may hold secrets.
        why = " ".join(str(fields[key])[:200] for key in ("error", "error_description") if key in fields)
        raise DestinationUnavailable(f"{where}: it answers {status}{': ' + why if why else ''}")
    return fields


class _ClientCredentials:
    """Client credentials (RFC 6749 §4.4), with the client's password as in §2.3.1."""

    def __init__(self, place: str, section: DicomwebDestination | PeerDestination) -> None:
        self._place, self._section = place, section

    async def request(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        section = self._section
        secret = section.client_secret
        if section.client_secret_file:
            place = f"{self._place}.client_secret_file"
            secret = await asyncio.to_thread(read_secret, place, section.client_secret_file)
        form = {"grant_type": "client_credentials", "scope": section.scope, "audience": section.audience}
        header = basic(quote_plus(section.client_id), quote_plus(secret))
        return section.token_url, {key: value for key, value in form.items() if value}, {"Authorization": header}


class _ServiceAccount:
    """A service account of Google (RFC 7523 §2.1): an assertion signed with the key of the account."""

    def __init__(self, place: str, section: DicomwebDestination | PeerDestination, clock: Callable[[], float]) -> None:
        self._place, self._section, self._clock = place, section, clock

    async def request(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        return await asyncio.to_thread(self._asserted)

    def key(self) -> tuple[dict[str, Any], str, str, RSAKey]:
        """The content of the key file: all of it, the account's name, the token URL, the key. Blocks."""
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        place = f"{self._place}.key_file"
        try:
            account = msgspec.json.decode(read_secret(place, self._section.key_file), type=dict[str, Any])
            email, url, pem = (str(account[name]) for name in ("client_email", "token_uri", "private_key"))
            key = RSAKey.import_key(pem)
        except (*NOT_JSON, KeyError, JoseError, ValueError, TypeError):
            raise ConfigurationError(
                f"{place} {self._section.key_file}: not a key of a service account: JSON with client_email, token_uri "
                "and an RSA private_key"
            ) from None
        address = urlsplit(url)
        if address.scheme != "https" and not is_loopback(address.hostname or ""):
            raise ConfigurationError(f"{place}: its token_uri {url} must be https")
        return account, email, url, key

    def _asserted(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        from joserfc import jwt

        account, email, url, key = self.key()
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
    return 0 < len(text) <= _MAX_SECRET_BYTES and text.isascii() and text.isprintable() and " " not in text


def read_secret(place: str, file: str) -> str:
    """Read a secret from a file, without trailing white space. Blocks."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(_MAX_SECRET_BYTES + 1)
        text = data.decode().strip()
    except OSError as error:
        raise ConfigurationError(f"{place} {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{place} {file}: is not text") from None
    if not text or len(data) > _MAX_SECRET_BYTES:
        raise ConfigurationError(f"{place} {file}: {len(data)} bytes cannot be a secret")
    return text
