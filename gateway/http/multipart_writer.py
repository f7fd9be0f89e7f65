"""multipart/related bodies (RFC 2387, PS3.18 §8.6.1.2), part by part."""

from __future__ import annotations

import uuid
from typing import Final

MULTIPART: Final = "multipart/related"


class Multipart:
    """One body: `content_type` for its header; `head` before the bytes of each part, and `END` after; then `close`."""

    END: Final = b"\r\n"

    def __init__(self, media_type: str) -> None:
        """`media_type` is that of the parts, without parameters."""
        self.boundary = uuid.uuid4().hex
        self.content_type = f'{MULTIPART}; type="{media_type}"; boundary={self.boundary}'

    def head(self, content_type: str, *, length: int | None = None, location: str = "") -> bytes:
        """The bytes before those of a part. `length` is that of the part if known, `location` a URL."""
        lines = [f"--{self.boundary}", f"Content-Type: {content_type}"]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if location:
            lines.append(f"Content-Location: {location}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def close(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()
