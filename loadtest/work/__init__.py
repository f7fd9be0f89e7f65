"""The kinds of work, one connection of each: `worker` makes one. When operations begin is `pace.py`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loadtest.data import Instance, Source
from loadtest.scenario import DIMSE, WRITES, Work
from loadtest.work import ask, read, retrieve
from loadtest.work.base import Exhausted, Failed, Ground, Worker
from loadtest.work.store import Store, StoreStudies
from loadtest.work.stow import Stow

__all__ = ["Exhausted", "Failed", "Ground", "Worker", "needs", "worker"]

_READERS: dict[str, Callable[[Ground, Work], Worker]] = {
    "echo": ask.Echo,
    "find": ask.Find,
    "move": retrieve.Move,
    "get": retrieve.Get,
    "qido": read.Qido,
    "study": read.RetrieveStudy,
    "metadata": read.RetrieveMetadata,
    "frames": read.RetrieveFrame,
    "rendered": read.RetrieveRendered,
}


def worker(ground: Ground, work: Work, source: Source | None, feed: Iterator[Instance]) -> Worker:
    """One connection that does this work. `source` and `feed` are what it stores, where it does."""
    if work.do in WRITES:
        assert source is not None
        if work.do == "stow":
            return Stow(ground, work, feed)
        if work.each == "study":
            return StoreStudies(ground, source, feed)
        return Store(ground, source, feed, work.window)
    return _READERS[work.do](ground, work)


def needs(work: Work) -> str:
    """What kind of target it takes: `dicom` or `web`."""
    return "dicom" if work.do in DIMSE else "web"
