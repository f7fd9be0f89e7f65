"""After a crash: what became of the instances that were on their way in.

Looks at `incoming/` alone, and there only at folders whose worker is gone, with the keepers that it had. A file with a
row was committed: its place in the store is made sure of. One without was never acknowledged: both its names go.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Sequence

from gateway.database.database import Database
from gateway.errors import GatewayError
from gateway.index import store as index
from gateway.jobs.table import abandon_jobs
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import abandoned, incoming_keys, remove_if_empty
from gateway.storage.layout import Layout

log = logging.getLogger(__name__)

_AT_ONCE = 500
_AGAIN = (1.0, 5.0, 30.0)
"""Seconds from one look to the next, after the start. A keeper may outlive its gateway, and hold the folder, for as
long as a sync takes: a gateway that is started again at once does not get that folder at its first look.
"""


@dataclasses.dataclass(slots=True)
class Recovered:
    """Instances that were finished, and remains that were deleted."""

    finished: int = 0
    deleted: int = 0


async def recover(layout: Layout, store: FileStore, database: Database) -> Recovered:
    """Adopt every abandoned incoming folder, and let the jobs of its worker be taken up at once.

    Safe to run beside working gateways, and to be killed at any point.
    """
    result = Recovered()
    found = await asyncio.to_thread(lambda: list(abandoned(layout)))
    try:
        for folder, _ in found:
            keys = await asyncio.to_thread(incoming_keys, folder)
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                present = await index.keys_present(database, part)
                result.deleted += await asyncio.to_thread(_sort_out, store, folder, part, present)
                result.finished += len(present)
            owner = os.path.basename(folder)
            await database.write(lambda owner=owner: abandon_jobs(owner))  # type: ignore[misc]
            await asyncio.to_thread(remove_if_empty, folder)
    finally:
        for _, lock in found:
            os.close(lock)
    if result.finished or result.deleted:
        log.info(
            "recovery: %d instances were finished, %d that had never been acknowledged were deleted",
            result.finished,
            result.deleted,
        )
    return result


async def recover_late(layout: Layout, store: FileStore, database: Database, closing: asyncio.Event) -> None:
    """Look again for abandoned folders, some times, until `closing` is set."""
    for pause in _AGAIN:
        try:
            async with asyncio.timeout(pause):
                await closing.wait()
                return
        except TimeoutError:
            pass
        try:
            await recover(layout, store, database)
        except (OSError, GatewayError) as error:
            log.warning("what a crash left is left to the next start: %s", error)


def _sort_out(store: FileStore, folder: str, keys: Sequence[str], present: set[str]) -> int:
    """Finish those that are present, delete the others. How many of these had any data."""
    placed = {store.place(f"{folder}/{key}", key) for key in keys if key in present}
    if placed:
        store.sync(placed)
    begun = 0
    for key in keys:
        if key not in present:
            begun += os.stat(f"{folder}/{key}").st_size > 0  # The others were in stock.
            store.remove(key)
        os.unlink(f"{folder}/{key}")
    return begun
