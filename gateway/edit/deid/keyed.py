"""What is made with the key of a change set: UIDs, pseudonyms, days. The same key and value give the same, always.

Without the key nobody can tell which value one was made from, nor try values until one fits.
"""

from __future__ import annotations

import hmac
import uuid
from typing import Final

from gateway.errors import ConfigurationError

SHORTEST: Final = 16
"""Bytes that a key must have."""
LENGTH: Final = 12
"""Letters of a pseudonym: 60 bits."""
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Of base 32, without those that look like others (I, L, O, U)."""


class Keyed:
    """Functions of one key. ConfigurationError for one that can be guessed."""

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST:
            raise ConfigurationError(
                f"a key of {len(key)} bytes: de-identification needs {SHORTEST} or more, at random"
            )
        self._key = key

    def uid(self, original: str) -> str:
        """A UID out of a UUID (PS3.5 B.2), of the version for one's own schemes (RFC 9562 §5.8)."""
        digest = bytearray(self._digest("uid", original)[:16])
        digest[6] = 0x80 | digest[6] & 0x0F
        digest[8] = 0x80 | digest[8] & 0x3F
        return f"2.25.{uuid.UUID(bytes=bytes(digest)).int}"

    def pseudonym(self, kind: str, original: str) -> str:
        """LENGTH letters and digits, fit for every VR of text. `kind` is the keyword of what it stands for."""
        number = int.from_bytes(self._digest(kind, original)[:8], "big")
        return "".join([_LETTERS[number >> 5 * place & 31] for place in range(LENGTH)])

    def days(self, patient: str, most: int) -> int:
        """1 to `most`."""
        return 1 + int.from_bytes(self._digest("days", patient)[:8], "big") % most

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{original}".encode(), "sha256")
