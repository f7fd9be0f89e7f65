"""A server reached by address: of any make, on this machine or another. It gets work, and is not started here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from loadtest.peers.peer import Peer, Start, Wiring
from loadtest.target import Web, parse_node

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")


def by_address(text: str) -> tuple[str, Start]:
    """Parse `NAME=HOST:PORT,AET`, with `,URL` of its DICOMweb service if it has one. Raises ValueError."""
    name, _, rest = text.partition("=")
    node, _, rest = rest.partition(",")
    aet, _, url = rest.partition(",")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not NAME=HOST:PORT,AET[,URL], with a name in small letters")
    aet, host, port = parse_node(f"{aet}@{node}")
    if url:
        Web.parse(url)

    @contextlib.contextmanager
    def reach(folder: Path, wiring: Wiring) -> Iterator[Peer]:
        yield Peer(name, aet, port, 0, None, host=host, web=url)

    return name, reach
