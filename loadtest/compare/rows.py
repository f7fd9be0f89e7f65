"""The rows of a comparison: the work, the servers, and the gateway's goals.

The goals are ratios to a peer measured in the same round, since times differ between machines. They are reported, never
asserted. `measures.py` and `memory.py` measure.
"""

from __future__ import annotations

import dataclasses

from loadtest.compare import measures, memory, rest
from loadtest.compare.measures import Measure
from loadtest.compare.table import Goal
from loadtest.peers import GATEWAY, GATEWAY_BEFORE

_ORTHANC = ("orthanc", "orthanc-tuned")
_STORESCP = ("storescp", "storescp-tuned")
_DCMQRSCP = ("dcmqrscp", "dcmqrscp-tuned")
_INTAKE = ("gateway", *_ORTHANC, *_STORESCP, "sink")
_ARCHIVES = ("gateway", *_ORTHANC, *_DCMQRSCP)
_WEB = ("gateway", *_ORTHANC)
BUDGET = 400.0
"""Megabytes that the gateway may use in its default configuration: receive blocks (`storage.buffer_memory`), the memory
of its reading threads, and the program itself."""


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
    less_is_better: bool = False
    once: bool = False
    """One round is enough, or more would take too long."""
    warm_up: bool = True
    fresh: bool = False
    """The server is restarted for each run, since earlier work would show in the figure."""

    def is_for(self, server: str) -> bool:
        """Whether a server can do this row; another release of the gateway counts as the gateway."""
        return (GATEWAY if server == GATEWAY_BEFORE else server) in self.servers


_ROWS = (
    Row(
        "storescu",
        "one unmodified storescu, 200 x 512 KB",
        "s",
        measures.by_storescu("512KB"),
        200,
        (*_INTAKE, *_DCMQRSCP),
        (Goal(20, "orthanc"), Goal(4, "orthanc-tuned")),
        less_is_better=True,
    ),
    Row(
        "store-1",
        "1 association, 512 KB",
        "instances/s",
        measures.intake("512KB", 1),
        200,
        (*_INTAKE, *_DCMQRSCP, "pynetdicom"),
        (Goal(2.5, "orthanc-tuned"),),
    ),
    Row(
        "store-1-async",
        "1 association with 8 operations at once where granted, 512 KB",
        "instances/s",
        measures.intake("512KB", 1, window=8),
        200,
        _INTAKE,
        (Goal(4, "orthanc-tuned"),),
    ),
    Row(
        "store-8",
        "8 associations, 512 KB",
        "instances/s",
        measures.intake("512KB", 8),
        400,
        (*_INTAKE, "pynetdicom"),
        (Goal(3, "orthanc-tuned"), Goal(1, "storescp-tuned")),
    ),
    Row(
        "store-64",
        "64 associations, 512 KB",
        "instances/s",
        measures.intake("512KB", 64),
        640,
        _INTAKE,
        (Goal(3, "orthanc-tuned"), Goal(1.5, "storescp-tuned")),
    ),
    Row(
        "small-8",
        "8 associations, 8 KB",
        "instances/s",
        measures.intake("8KB", 8),
        1600,
        _INTAKE,
        (Goal(3, "orthanc-tuned"),),
    ),
    Row(
        "swarm",
        "500 associations sending at once: peak memory, none refused",
        "MB",
        memory.storing("512KB", 500, memory.Allowed(BUDGET)),
        1000,
        _WEB,
        (Goal(BUDGET, at_least=False),),
        less_is_better=True,
        once=True,
        warm_up=False,
        fresh=True,
    ),
    Row(
        "giants",
        "ten objects of 1 GB at once: growth of memory",
        "MB",
        memory.storing("1GB", 10, memory.Allowed(100, growth=True)),
        10,
        ("gateway",),
        (Goal(100, at_least=False),),
        less_is_better=True,
        once=True,
        warm_up=False,
        fresh=True,
    ),
    Row(
        "stow",
        "STOW-RS, 200 x 512 KB in one request",
        "instances/s",
        measures.stow("512KB"),
        200,
        (*_WEB, "sink"),
        (Goal(5, "orthanc-tuned"),),
    ),
    Row(
        "qido",
        "QIDO-RS studies, 25 rows, 8 clients",
        "answers/s",
        measures.search(80, 8),
        200,
        (*_WEB, "sink"),
        (Goal(20, "orthanc-tuned"),),
    ),
    Row(
        "metadata-cold",
        "WADO-RS metadata, 800 instances, cold",
        "s",
        measures.metadata(cold=True, instances=800),
        1,
        _WEB,
        (Goal(2, "orthanc-tuned"),),
        less_is_better=True,
        warm_up=False,
    ),
    Row(
        "metadata-warm",
        "WADO-RS metadata, 800 instances, warm",
        "s",
        measures.metadata(cold=False, instances=800),
        5,
        _WEB,
        (Goal(10, "orthanc-tuned"),),
        less_is_better=True,
    ),
    Row(
        "study",
        "WADO-RS study, 800 x 512 KB",
        "MB/s",
        measures.read("study", "megabytes_per_second", instances=800),
        1,
        (*_WEB, "sink"),
        (Goal(1.5, "orthanc-tuned"),),
    ),
    Row(
        "frame",
        "WADO-RS frame, 512 KB, 8 clients",
        "answers/s",
        measures.read("frames", "operations_per_second", instances=20, at_once=8),
        400,
        (*_WEB, "sink"),
        (Goal(3, "orthanc-tuned"),),
    ),
    Row(
        "rendered",
        "WADO-RS rendered as JPEG, 512 x 512, 8 clients",
        "answers/s",
        measures.read("rendered", "operations_per_second", instances=20, at_once=8),
        200,
        _WEB,
        (Goal(1.5, "orthanc-tuned"),),
    ),
    Row(
        "find",
        "C-FIND of one study, over and over by one unmodified findscu",
        "answers/s",
        measures.by_findscu,
        100,
        _ARCHIVES,
        (Goal(20, "orthanc"),),
    ),
    Row(
        "move",
        "one unmodified movescu, 200 x 512 KB",
        "s",
        measures.by_movescu,
        200,
        _ARCHIVES,
        (Goal(2, "orthanc-tuned"),),
        less_is_better=True,
        warm_up=False,
    ),
    Row(
        "get",
        "one unmodified getscu, 200 x 512 KB",
        "s",
        measures.by_getscu,
        200,
        _ARCHIVES,
        (Goal(15, "orthanc"),),
        less_is_better=True,
        warm_up=False,
    ),
    Row(
        "rest-archive",
        "REST, the zip of a study of 800 x 512 KB",
        "MB/s",
        rest.archive("512KB"),
        800,
        _WEB,
        (Goal(2, "orthanc-tuned"),),
    ),
    Row(
        "rest-find",
        "REST, /tools/find with a wild card and Expand, 200 000 instances, 4 clients",
        "answers/s",
        rest.calls("/tools/find", operations=40, body=rest.FIND),
        200_000,
        _WEB,
        (Goal(10, "orthanc-tuned"),),
    ),
    Row(
        "rest-changes",
        "REST, 1000 of /changes, 200 000 instances, 4 clients",
        "answers/s",
        rest.calls("/changes?since=0&limit=1000", operations=100),
        200_000,
        _WEB,
        (Goal(10, "orthanc-tuned"),),
    ),
    Row(
        "rest-studies",
        "REST, all of /studies?expand, 200 000 instances, 1 client",
        "answers/s",
        rest.calls("/studies?expand", operations=3, at_once=1),
        200_000,
        _WEB,
        (Goal(10, "orthanc-tuned"),),
    ),
    Row(
        "rest-tags",
        "REST, /instances/{id}/tags, 200 000 instances, 4 clients",
        "answers/s",
        rest.tags(operations=1000),
        200_000,
        _WEB,
        (Goal(5, "orthanc-tuned"),),
    ),
    Row(
        "page-preview",
        "pages, a scroll through a CT of 140 slices of 512 x 512, 4 at once",
        "answers/s",
        rest.previews(at_once=4),
        140,
        _WEB,
        (Goal(5, "orthanc-tuned"),),
    ),
    Row(
        "page-studies",
        "first page of studies: our page whole, Orthanc's 50 of /studies?expand, 200 000 instances, 1 client",
        "answers/s",
        rest.page("/ui/", "/studies?expand&since=0&limit=50", operations=50),
        200_000,
        _WEB,
        (Goal(10, "orthanc-tuned"),),
    ),
    Row(
        "slow-readers",
        "1000 clients that hardly read what they asked for: peak memory",
        "MB",
        memory.slow_readers(20, memory.Allowed(BUDGET)),
        1000,
        ("gateway",),
        (Goal(BUDGET, at_least=False),),
        less_is_better=True,
        once=True,
        warm_up=False,
        fresh=True,
    ),
    Row(
        "big-study",
        "a study of 10 000 instances downloaded: peak memory",
        "MB",
        memory.downloading("8KB", memory.Allowed(BUDGET)),
        10_000,
        ("gateway",),
        (Goal(BUDGET, at_least=False),),
        less_is_better=True,
        once=True,
        warm_up=False,
        fresh=True,
    ),
    Row(
        "growth",
        "intake rate at 200 000 instances over empty",
        "of it",
        memory.rate_with_stock(200_000),
        2000,
        ("gateway",),
        (Goal(0.9),),
        once=True,
        warm_up=False,
        fresh=True,
    ),
)
ROWS = {row.name: row for row in _ROWS}
_REST = ("rest-", "page-")
GROUPS = {
    "table": tuple(
        name for name in ROWS if name not in ("growth", "slow-readers", "big-study") and not name.startswith(_REST)
    ),
    "rest": tuple(name for name in ROWS if name.startswith(_REST)),
    "quick": ("store-1", "store-8", "small-8", "stow", "qido", "frame", "find"),
    "memory": ("swarm", "giants", "slow-readers", "big-study"),
    "all": tuple(ROWS),
}
"""Groups of rows: `table` measures the gateway, `quick` takes few minutes, `growth` and `rest` many: they store 200 000
instances first."""
