"""Rows of intake: C-STORE and STOW-RS."""

from __future__ import annotations

from loadtest.compare import measures
from loadtest.compare.row import DCMQRSCP, WEB, Row
from loadtest.compare.row import INTAKE as _SERVERS
from loadtest.compare.table import Goal

INTAKE = (
    Row(
        "storescu",
        "one unmodified storescu, 200 x 512 KB",
        "s",
        measures.by_storescu("512KB"),
        200,
        (*_SERVERS, *DCMQRSCP, "pynetdicom"),
        (Goal(20, "orthanc"), Goal(4, "orthanc-tuned"), Goal(1, "storescp-tuned")),
        less_is_better=True,
    ),
    Row(
        "store-1",
        "1 association, 512 KB",
        "instances/s",
        measures.intake("512KB", 1),
        200,
        (*_SERVERS, *DCMQRSCP, "pynetdicom"),
        (Goal(5, "orthanc-tuned"), Goal(1, "storescp-tuned")),
    ),
    Row(
        "store-1-async",
        "1 association with 8 operations at once where granted, 512 KB",
        "instances/s",
        measures.intake("512KB", 1, window=8),
        200,
        _SERVERS,
        (Goal(7, "orthanc-tuned"),),
    ),
    Row(
        "store-8",
        "8 associations, 512 KB",
        "instances/s",
        measures.intake("512KB", 8),
        400,
        (*_SERVERS, *DCMQRSCP, "pynetdicom"),
        (Goal(4, "orthanc-tuned"), Goal(1.2, "storescp-tuned")),
    ),
    Row(
        "store-64",
        "64 associations, 512 KB",
        "instances/s",
        measures.intake("512KB", 64),
        640,
        _SERVERS,
        (Goal(4.5, "orthanc-tuned"), Goal(1.2, "storescp-tuned")),
    ),
    Row(
        "small-8",
        "8 associations, 8 KB",
        "instances/s",
        measures.intake("8KB", 8),
        1600,
        (*_SERVERS, *DCMQRSCP, "pynetdicom"),
        (Goal(4.5, "orthanc-tuned"), Goal(0.8, "storescp-tuned")),
    ),
    Row(
        "stow",
        "STOW-RS, 200 x 512 KB in one request",
        "instances/s",
        measures.stow("512KB"),
        200,
        (*WEB, "sink"),
        (Goal(6, "orthanc-tuned"),),
        needs="web",
    ),
)
