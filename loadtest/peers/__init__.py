"""Servers to compare with, started on loopback in folders of their own; `process.py` runs the programs."""

from loadtest.peers.address import by_address
from loadtest.peers.gateway import gateway, other_build
from loadtest.peers.orthanc import orthanc, orthanc_postgresql
from loadtest.peers.peer import ALONE, GATEWAY, OTHER_BUILD, Peer, Start, Wiring
from loadtest.peers.process import NotInstalled, NotStarted, environment, find, free_port, is_listening
from loadtest.peers.servers import PEERS, dcmqrscp, pynetdicom, sink, storescp

__all__ = [
    "ALONE",
    "GATEWAY",
    "OTHER_BUILD",
    "PEERS",
    "NotInstalled",
    "NotStarted",
    "Peer",
    "Start",
    "Wiring",
    "by_address",
    "dcmqrscp",
    "environment",
    "find",
    "free_port",
    "gateway",
    "is_listening",
    "orthanc",
    "orthanc_postgresql",
    "other_build",
    "pynetdicom",
    "sink",
    "storescp",
]
