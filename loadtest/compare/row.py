"""One row of a comparison: its work, the servers that can do it, and the gateway's goals.

Goals are ratios to a peer measured in the same round, since times differ between machines. They are reported, never
asserted.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from loadtest.compare.measures import Measure
from loadtest.compare.table import Goal
from loadtest.peers import GATEWAY, OTHER_BUILD, Peer

ORTHANC = ("orthanc", "orthanc-tuned", "orthanc-postgresql", "orthanc-postgresql-tuned")
STORESCP = ("storescp", "storescp-tuned")
DCMQRSCP = ("dcmqrscp", "dcmqrscp-tuned")
INTAKE = (GATEWAY, *ORTHANC, *STORESCP, "sink")
ARCHIVES = (GATEWAY, *ORTHANC, *DCMQRSCP)
WEB = (GATEWAY, *ORTHANC)
Needs = Literal["dicom", "web", "start"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row. `count` is the amount of work of a run, interpreted by the measure; `--scale` multiplies it."""

    name: str
    title: str
    unit: str
    measure: Measure
    count: int
    servers: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    needs: Needs = "dicom"
    """What a server reached by address must have: a DICOM node, a DICOMweb service too; or it cannot do the row, which
    takes a server that was started here: configured, watched, or without its cache."""
    less_is_better: bool = False
    once: bool = False
    """One round is enough, or more would take too long."""
    warm_up: bool = True
    fresh: bool = False
    """The server is restarted for each run, since earlier work would show in the figure."""

    def is_for(self, name: str) -> bool:
        """Whether a server that is started here can do this row; another build counts as the gateway."""
        return (GATEWAY if name == OTHER_BUILD else name) in self.servers

    def is_for_peer(self, peer: Peer) -> bool:
        """Whether a running server can do this row, also one that is reached by address."""
        if peer.pid:
            return self.is_for(peer.name)
        return self.needs == "dicom" or (self.needs == "web" and bool(peer.dicomweb))
