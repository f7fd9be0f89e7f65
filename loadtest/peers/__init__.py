"""Servers to compare with, started on loopback in folders of their own; `process.py` runs the programs."""

from loadtest.peers.process import NotInstalled, NotStarted, environment, find, free_port, is_listening
from loadtest.peers.servers import (
    GATEWAY,
    GATEWAY_BEFORE,
    PEERS,
    Peer,
    dcmqrscp,
    find_orthanc_dicomweb,
    gateway,
    orthanc,
    pynetdicom,
    sink,
    storescp,
)

__all__ = [
    "GATEWAY",
    "GATEWAY_BEFORE",
    "PEERS",
    "NotInstalled",
    "NotStarted",
    "Peer",
    "dcmqrscp",
    "environment",
    "find",
    "find_orthanc_dicomweb",
    "free_port",
    "gateway",
    "is_listening",
    "orthanc",
    "pynetdicom",
    "sink",
    "storescp",
]
