"""Password hashes of the configuration: `scrypt$n$r$p$salt$hash`, salt and hash in base64.

Making, parsing and checking one such string (RFC 7914). Users are in `users.py`. Every function
blocks for tens of milliseconds and takes 16 MiB meanwhile: call it in a thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import NamedTuple

from gateway.errors import ConfigurationError

_N, _R, _P = 1 << 14, 8, 1
_SALT, _LENGTH = 16, 32
_MAX_MEMORY_BYTES = 256 << 20
"""Memory that checking a stored hash may take; a hash that needs more is refused when it is parsed."""


class PasswordHash(NamedTuple):
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes


def hash_password(password: str) -> str:
    """The string for `[[http.users]] password`, with a new salt."""
    salt = os.urandom(_SALT)
    digest = _scrypt(password, PasswordHash(_N, _R, _P, salt, bytes(_LENGTH)))
    return f"scrypt${_N}${_R}${_P}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def parse(encoded: str) -> PasswordHash:
    """Parse a stored hash. Raises: ConfigurationError, which does not repeat the string."""
    parts = encoded.split("$")
    try:
        kind, n, r, p, salt, digest = parts
        parsed = PasswordHash(
            int(n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
        )
    except (ValueError, binascii.Error):
        raise ConfigurationError(_WRONG) from None
    power_of_two = parsed.n > 1 and parsed.n & (parsed.n - 1) == 0
    if kind != "scrypt" or not power_of_two or parsed.r < 1 or not 1 <= parsed.p <= 16:
        raise ConfigurationError(_WRONG)
    if not parsed.salt or not 16 <= len(parsed.digest) <= 64 or _memory(parsed) > _MAX_MEMORY_BYTES:
        raise ConfigurationError(_WRONG)
    return parsed


def verify(password: str, stored: PasswordHash) -> bool:
    """Whether `password` matches the hash; takes equal time either way."""
    return hmac.compare_digest(_scrypt(password, stored), stored.digest)


_WRONG = "not a password hash: expected scrypt$n$r$p$salt$hash as printed by `dicom-gateway hash-password`"


def _memory(stored: PasswordHash) -> int:
    return 128 * stored.r * (stored.n + stored.p + 2)


def _scrypt(password: str, stored: PasswordHash) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=stored.salt,
        n=stored.n,
        r=stored.r,
        p=stored.p,
        maxmem=_memory(stored) + (1 << 20),
        dklen=len(stored.digest),
    )
