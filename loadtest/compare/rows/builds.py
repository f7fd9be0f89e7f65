"""Rows by which one build of the gateway is compared with another: processor time, forwarding, access rules."""

from __future__ import annotations

from loadtest.compare import access, cpu, forwarding
from loadtest.compare.row import STORESCP, WEB, Row
from loadtest.compare.table import Goal
from loadtest.peers import GATEWAY, OTHER_BUILD

BUILDS = (
    Row(
        "cpu",
        "CPU of all processes for an instance, 8 associations, 512 KB",
        "ms",
        cpu.per_instance("512KB", 8),
        1000,
        (GATEWAY, "orthanc-tuned", *STORESCP),
        (Goal(1.82, OTHER_BUILD),),
        needs="start",
        less_is_better=True,
    ),
    Row(
        "cpu-small",
        "CPU of all processes for an instance, 8 associations, 8 KB",
        "ms",
        cpu.per_instance("8KB", 8),
        4000,
        (GATEWAY, "orthanc-tuned", *STORESCP),
        (Goal(2, OTHER_BUILD),),
        needs="start",
        less_is_better=True,
    ),
    Row(
        "forward",
        "8 associations in, one DICOM destination out, 512 KB",
        "deliveries/s",
        forwarding.deliveries("512KB", 8),
        800,
        WEB,
        (Goal(2.5, OTHER_BUILD),),
        needs="start",
        warm_up=False,
    ),
    Row(
        "forward-share",
        "8 associations in, one DICOM destination out, 512 KB: rate over that of intake alone",
        "of it",
        forwarding.share_of_intake("512KB", 8),
        800,
        WEB,
        (Goal(0.6),),
        needs="start",
        warm_up=False,
    ),
)
ACCESS = (
    Row(
        "frame-labels",
        "WADO-RS frame, 512 KB, 8 clients: CPU without a condition on labels over that with one",
        "of it",
        access.kept("frames", instances=20, at_once=8),
        2000,
        (GATEWAY,),
        (Goal(0.97),),
        needs="start",
        warm_up=False,
    ),
    Row(
        "qido-labels",
        "QIDO-RS of 25 studies, 8 clients: CPU without a condition on labels over that with one",
        "of it",
        access.kept("qido", instances=1, at_once=8, studies=25),
        2500,
        (GATEWAY,),
        (Goal(0.97),),
        needs="start",
        warm_up=False,
    ),
)
