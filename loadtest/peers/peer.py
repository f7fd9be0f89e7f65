"""What a running server is to the rest of the generator, and what it is told when it starts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

GATEWAY, OTHER_BUILD = "gateway", "other-build"


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A running server, and where it listens."""

    name: str
    aet: str
    port: int
    pid: int
    """Its process id; 0 for a server reached by address."""
    folder: Path | None
    """The folder in which the server stores what it receives; None for a server reached by address."""
    url: str = ""
    """Base URL of the HTTP service; empty without one."""
    tuned: bool = False
    host: str = "127.0.0.1"
    web: str = ""
    """URL of the DICOMweb service where it is not `dicom-web` below the base URL."""
    source: Path | None = None
    """The checkout from which a gateway runs."""

    @property
    def dicomweb(self) -> str:
        """URL of the DICOMweb service; empty without one."""
        return self.web or (f"{self.url}/dicom-web" if self.url else "")

    @property
    def is_gateway(self) -> bool:
        """Whether this is the gateway, in whichever build."""
        return self.name in (GATEWAY, OTHER_BUILD)


@dataclasses.dataclass(frozen=True, slots=True)
class Wiring:
    """What a server is told of other nodes on this machine."""

    destinations: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """AE titles with ports, to which a C-MOVE may send."""
    forward_to: str = ""
    """The AE title, one of the destinations, to which everything received is sent on; empty for none."""


ALONE = Wiring()
"""A server that knows no other node."""
Start = Callable[[Path, Wiring], contextlib.AbstractContextManager[Peer]]
"""A function that starts a server in a folder."""
