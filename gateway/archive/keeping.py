"""Steps 2 and 3 of the contract in `ingest.py`, as one thing to ask for: keep this file, commit this script with it.

Here: what is asked, and the way in which a gateway does it in threads of its own, one instance at a time, which needs
nothing else to run. `keepers.py` has it done by other processes, many instances at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from gateway import telemetry
from gateway.database.database import Database, Script
from gateway.errors import StorageError
from gateway.storage.arena import Buffer
from gateway.storage.incoming import IncomingFile


class KeeperLost(StorageError):
    """Who was keeping it has died, or nobody is there to keep it. Trying again helps.

    It was not acknowledged. Once handed over (`IncomingFile.folder`), it may have been committed all the same.
    """


class Keeping(Protocol):
    """Belongs to one event loop."""

    async def keep(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        """Write the last bytes of the file, name it in the store, sync it; then run and commit the script.

        The result of the script. `views` must stay as they are until then. Raises OutOfSpace, StorageError,
        StorageFailed (a sync has failed), KeeperLost, and DatabaseError; what it leaves behind is the caller's to
        remove or to look up.
        """

    async def close(self) -> None:
        """Nothing is being kept any more; end what has done so."""


class Here:
    """In threads of this process."""

    def __init__(self, threads: ThreadPoolExecutor, database: Database) -> None:
        self._threads = threads
        self._database = database
        self._loop = asyncio.get_running_loop()

    async def keep(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        began = self._loop.time()
        await self._loop.run_in_executor(self._threads, file.finish, views)
        synced = self._loop.time()
        telemetry.SYNC_SECONDS.observe(synced - began)
        result = await self._database.write(script)
        telemetry.COMMIT_SECONDS.observe(self._loop.time() - synced)
        return result

    async def close(self) -> None:
        """Threads and database are others' to close."""
