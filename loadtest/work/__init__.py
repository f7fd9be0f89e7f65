"""The kinds of work: `worker` makes one connection of a kind. `pace.py` decides when operations begin."""

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
    "rest": read.Rest,
}


def worker(ground: Ground, work: Work, source: Source | None, feed: Iterator[Instance]) -> Worker:
    """Make a connection that does this work. `source` and `feed` have the instances to store, if it stores."""
    if work.do in WRITES:
        assert source is not None
        if work.do == "stow":
            return Stow(ground, work, feed)
        if work.each == "study":
            return StoreStudies(ground, source, feed)
        return Store(ground, source, feed, work.window)
    return _READERS[work.do](ground, work)


def needs(work: Work) -> str:
    """The service of the target that the work needs: `dicom` or `web`."""
    return "dicom" if work.do in DIMSE else "web"
