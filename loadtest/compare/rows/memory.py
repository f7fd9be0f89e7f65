"""Rows of memory, and of a server that fills."""

from __future__ import annotations

from loadtest.compare import memory
from loadtest.compare.row import Row
from loadtest.compare.table import Goal

_BUDGET = 400.0
"""Megabytes that the gateway may use in its default configuration: receive blocks (`storage.buffer_memory`), the memory
of its reading threads, and the program itself."""

MEMORY = (
    Row(
        "swarm",
        "500 associations sending at once: peak memory, none refused",
        "MB",
        memory.storing("512KB", 500, memory.Allowed(_BUDGET)),
        1000,
        ("gateway", "orthanc", "orthanc-tuned"),  # PostgreSQL is no child of the Orthanc that uses it.
        (Goal(_BUDGET, at_least=False),),
        needs="start",
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
        needs="start",
        less_is_better=True,
        once=True,
        warm_up=False,
        fresh=True,
    ),
    Row(
        "slow-readers",
        "1000 clients that hardly read what they asked for: peak memory",
        "MB",
        memory.slow_readers(20, memory.Allowed(_BUDGET)),
        1000,
        ("gateway",),
        (Goal(_BUDGET, at_least=False),),
        needs="start",
        less_is_better=True,
        once=True,
        warm_up=False,
        fresh=True,
    ),
    Row(
        "big-study",
        "a study of 10 000 instances downloaded: peak memory",
        "MB",
        memory.downloading("8KB", memory.Allowed(_BUDGET)),
        10_000,
        ("gateway",),
        (Goal(_BUDGET, at_least=False),),
        needs="start",
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
        needs="start",
        once=True,
        warm_up=False,
        fresh=True,
    ),
)
