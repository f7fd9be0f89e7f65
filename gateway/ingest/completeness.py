"""Whether the index has what the store holds, checked before anything is recovered.

An index that is empty, restored from an older copy or another archive's has less than the store: recovery would take
instances that it lacks for never acknowledged ones. The newest files decide, since any replacement of the index is
older than they are. Incoming files count as known: they may not be committed yet, and recovery
deletes none that may be.
"""

from __future__ import annotations

import asyncio
import itertools

from gateway.database.database import Database
from gateway.index.store import keys_known
from gateway.storage.filesystem import FileStore
from gateway.storage.layout import Layout
from gateway.storage.workers import all_incoming_keys

_SAMPLE_SIZE = 500
"""Files that are looked up in the index: the newest keys of the store, and those of the folder changed last."""


async def unknown_files(layout: Layout, store: FileStore, database: Database) -> list[str]:
    """Keys among the newest of the store that are unknown to the index; an empty list if all is well.

    The order of the reads makes this safe beside working gateways: a file that had its name in the store before
    the read of `incoming/` either is there still, or was committed or deleted before the read of the index.
    """
    sample = await asyncio.to_thread(_sample, store)
    incoming = await asyncio.to_thread(all_incoming_keys, layout)
    candidates = [key for key in sample if key not in incoming]
    known = await keys_known(database, candidates)
    missing = [key for key in candidates if key not in known]
    return [key for key in missing if await asyncio.to_thread(store.exists, key)]


def _sample(store: FileStore) -> list[str]:
    return list(
        dict.fromkeys(
            [*itertools.islice(store.newest_keys(), _SAMPLE_SIZE // 2), *store.last_changed(_SAMPLE_SIZE // 2)]
        )
    )
