"""Values made with the key of a change set: UIDs, pseudonyms, days. Equal key and value always give the same.

Without the key a value cannot be inferred, nor found by trying values.
"""

from __future__ import annotations

import hmac
import uuid
from typing import Final

from gateway.errors import ConfigurationError

SHORTEST: Final = 16
"""Bytes of a key, at least."""
LENGTH: Final = 12
"""Characters of a pseudonym: 60 bits."""
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Base 32 without characters that look like others (I, L, O, U)."""


class Keyed:
    """Functions of one key. Raises ConfigurationError for a key that can be guessed."""

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST:
            raise ConfigurationError(
                f"a key of {len(key)} bytes: de-identification needs {SHORTEST} or more, at random"
            )
        self._key = key

    def uid(self, original: str) -> str:
        """A UID from a UUID (PS3.5 B.2), of the version for custom schemes (RFC 9562 §5.8)."""
        digest = bytearray(self._digest("uid", original)[:16])
        digest[6] = 0x80 | digest[6] & 0x0F
        digest[8] = 0x80 | digest[8] & 0x3F
        return f"2.25.{uuid.UUID(bytes=bytes(digest)).int}"

    def pseudonym(self, kind: str, original: str) -> str:
        """A pseudonym of LENGTH letters and digits, valid in every text VR. `kind` is the keyword of the attribute."""
        number = int.from_bytes(self._digest(kind, original)[:8], "big")
        return "".join([_LETTERS[number >> 5 * place & 31] for place in range(LENGTH)])

    def days(self, patient: str, most: int) -> int:
        """The number of days to shift, 1 to `most`."""
        return 1 + int.from_bytes(self._digest("days", patient)[:8], "big") % most

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{original}".encode(), "sha256")
