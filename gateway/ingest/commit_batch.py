"""Steps 2 and 3 of the contract of durability in `ingest.py`, for many instances at once: their only implementation.

Runs in a commit process (`commit_process.py`) or a thread of the gateway (`committer.py`). When an instance is
complete, and how a failure is handled, is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gateway.database.database import Script
from gateway.database.transactions import Outcome, Transactions
from gateway.errors import DatabaseError, StorageError, StorageFailed
from gateway.processes.arena import Buffer
from gateway.storage.incoming import IncomingFile, name_durably

MAX_BATCH: Final = 64
"""Instances in one batch."""
MAX_BATCH_BYTES: Final = 16 << 20
"""Bytes to write after which no further instance is added to a batch."""


class Complete(NamedTuple):
    """An instance whose bytes have all arrived."""

    file: IncomingFile
    views: Sequence[Buffer]
    """Its last bytes, which are not in the file yet."""
    script: Callable[[], Script[Any]]
    """Makes the script of its transaction."""


class CommitReply(NamedTuple):
    """The outcomes of a batch."""

    outcomes: list[Outcome]
    """For each instance the result of its script or its error, in the order of the batch."""
    synced: float
    """Seconds to write and sync all of them."""
    committed: float
    """Seconds of the commit."""
    failure: str
    """The reason why nothing more can be committed; '' if there is none."""


def commit_batch(batch: Sequence[Complete], database: Transactions) -> CommitReply:
    """Write, place and sync the files of a batch, then commit the scripts of those that succeeded.

    Instances fail one by one. All files are written before the first is synced: then one commit of the file
    system's journal covers many. Blocks.
    """
    began = time.perf_counter()
    outcomes: list[Outcome] = [(None, None)] * len(batch)

    def each(work: Callable[[Complete], None], which: Sequence[int]) -> list[int]:
        """Call `work` for the instances at these indices; returns the indices of those that succeeded."""
        done = []
        for at in which:
            try:
                work(batch[at])
                done.append(at)
            except StorageError as error:
                batch[at].file.close()
                outcomes[at] = (None, error)
        return done

    written = each(lambda instance: instance.file.append(instance.views), range(len(batch)))
    with contextlib.suppress(StorageFailed):  # An instance without a durable name fails again when it is placed.
        name_durably([batch[at].file for at in written])
    placed = each(lambda instance: instance.file.place(), written)
    for at in placed:
        batch[at].file.begin_sync()
    synced = each(lambda instance: instance.file.sync(), placed)
    between = time.perf_counter()
    if synced:
        for at, outcome in zip(synced, _commit([batch[at].script for at in synced], database), strict=True):
            outcomes[at] = outcome
    return CommitReply(outcomes, between - began, time.perf_counter() - between, database.failure)


def _commit(scripts: Sequence[Callable[[], Script[Any]]], database: Transactions) -> list[Outcome]:
    """Commit the scripts: THE ONLY COMMIT POINT."""
    try:
        with database.turn():
            return database.commit(scripts)
    except DatabaseError as error:
        return [(None, error)] * len(scripts)
