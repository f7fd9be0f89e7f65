"""A reader that is not the limit: the kernel discards a body as it arrives, and copies none of it to this process.

`work/http.py` reads what it gets and counts its parts, on the same processors as the server. Here a socket of Linux is
read with MSG_TRUNC (tcp(7)) until the server closes it, so that nothing but the number of bytes is known.
"""

from __future__ import annotations

import socket
import time
from typing import NamedTuple
from urllib.parse import urlsplit

_ONCE = 4 << 20
"""Bytes that are discarded in one call at most."""
_HEAD = 16 << 10


class Drained(NamedTuple):
    """An answer that was read to its end."""

    bytes: int
    """Bytes after the head, with the framing of chunks and parts."""
    seconds: float
    """From the request, over a connection that was open, to the end."""
    trouble: str
    """What was wrong with the head; empty for nothing."""


def drain(url: str, accept: str, timeout: float) -> Drained:
    """GET an address and discard the body. Raises OSError, TimeoutError."""
    parts = urlsplit(url)
    request = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout) as connection:
        began = time.perf_counter()
        connection.sendall(request.encode())
        head = bytearray()
        while (end := head.find(b"\r\n\r\n")) < 0 and len(head) < _HEAD:
            if not (data := connection.recv(_HEAD)):
                break
            head += data
        status = head.partition(b"\r\n")[0].decode(errors="replace")
        if end < 0 or " 200 " not in f"{status} ":
            return Drained(0, 0.0, status or "the server closed the connection")
        count = len(head) - end - 4
        unused = bytearray(_ONCE)  # The kernel asks for a buffer, and does not write to it.
        while got := connection.recv_into(unused, _ONCE, socket.MSG_TRUNC):
            count += got
        return Drained(count, time.perf_counter() - began, "")
