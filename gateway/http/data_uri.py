"""Data URIs in base 64 (RFC 2397): files that come inside JSON."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Final

from gateway.errors import BadRequest

_HEAD: Final = re.compile(r"data:([^,;]{0,100})(?:;[^,;]{0,100}){0,4}?;base64,", re.ASCII)


def parse_data_uri(text: str) -> tuple[str, bytes] | None:
    """Media type, in small letters, and content of a data URI; None for any other text.

    Raises BadRequest where its content is not in base 64.
    """
    found = _HEAD.match(text)
    if found is None:
        return None
    try:
        return found[1].strip().lower(), b64decode(text[found.end() :], validate=True)
    except ValueError:
        raise BadRequest("its data URI is not in base64") from None
