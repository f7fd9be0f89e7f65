"""Examining code streams after they are stored: checks too slow for the intake, one instance after another.

The intake checks the end of the last frame alone. Here every frame is checked for its end marker, and if it
has none (RLE, deflated frames) is decoded. Findings are recorded as the intake records them, and pending deliveries
are held. Progress is in the database, as a position in the change log, so that
nothing is added to the transaction of an instance.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from gateway import telemetry
from gateway.database.database import Database, Row, Script
from gateway.dicom.source import Read
from gateway.errors import DatabaseError, DataSetError, GatewayError, UnsupportedTransferSyntax
from gateway.imaging.decode import decode_frame
from gateway.imaging.pixels import PixelData, locate_pixels
from gateway.index import examined
from gateway.ingest.pixel_length import END, END_MARKED
from gateway.storage.store import Store
from gateway.supervision import lasting

log = logging.getLogger(__name__)

_DECODED: Final = frozenset(("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"))
"""RLE Lossless and Deflated Image Frame: without an end marker, but cheap to decode."""
EXAMINED: Final = END_MARKED | _DECODED
"""Transfer syntaxes whose frames are examined. Others would need a decoder; video has none."""
_MAX_BYTES: Final = 1 << 30
"""Examined bytes of one instance; the rest of a longer one is not examined."""
_MAX_SHARE: Final = 0.1
"""Share of the time of one thread."""
_PAUSE_S: Final = 5.0
"""Seconds between searches for new instances."""
_PART_S: Final = 0.1
"""Seconds between two parts of the change log."""
_NICE: Final = 19
"""Priority of the thread: the lowest."""


class Examination:
    """Examines new instances, until it is closed. One for a gateway, however many its workers.

    `on_incomplete` is run in the transaction that flags an instance, with its public id and what it lacks.
    """

    def __init__(self, database: Database, store: Store, on_incomplete: Callable[[str, str], Script[None]]) -> None:
        self._database = database
        self._store = store
        self._on_incomplete = on_incomplete
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="examine", initializer=_lower_priority)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start examining, until `close`."""
        self._task = asyncio.get_running_loop().create_task(
            lasting("examining code streams", self._work), name="examination"
        )

    async def close(self) -> None:
        """Stop. An interrupted examination is repeated after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.to_thread(self._thread.shutdown)

    async def _work(self) -> None:
        while True:
            try:
                more = await self.step()
            except (GatewayError, OSError) as error:
                log.warning("code streams are not examined for now: %s", error)
                more = False
            await asyncio.sleep(_PART_S if more else _PAUSE_S)

    async def step(self) -> bool:
        """Examine the next part of the change log. Whether there is more behind it. Raises: DatabaseError."""
        part = await examined.next_instances(self._database, EXAMINED)
        if part is None:
            return False
        for row in part.instances:
            began = time.monotonic()
            await self._examine(row)
            await asyncio.sleep((time.monotonic() - began) / _MAX_SHARE)
        await self._database.write(lambda: examined.advance(part.up_to))
        return not part.last

    async def _examine(self, row: Row) -> None:
        key, instance, study, uid, syntax, size, offset = row
        loop = asyncio.get_running_loop()
        try:
            lacking = await loop.run_in_executor(self._thread, self._find_lacking, key, offset, size, syntax)
        except DatabaseError:
            raise
        except (GatewayError, OSError):
            return  # The object has gone, or is broken in another way.
        if not lacking:
            return

        def script() -> Script[bool]:
            if not (yield from examined.flag(key, instance, study, lacking, time.time())):
                return False
            yield from self._on_incomplete(instance, lacking)
            return True

        if await self._database.write(script):
            telemetry.INCOMPLETE.labels("examined").inc()
            log.warning("%s is incomplete: %s", uid, lacking)

    def _find_lacking(self, key: str, offset: int, size: int, syntax: str) -> str:
        stored = self._store.open(key)
        try:
            pixels = locate_pixels(stored.read, offset, size, syntax)
            return frames_lacking(stored.read, pixels) if pixels is not None else ""
        finally:
            stored.close()


def frames_lacking(read: Read, pixels: PixelData) -> str:
    """The defect of the first truncated frame, in words; '' if there is none. Blocks.

    `read` reads the stored object. Raises: DataSetError if frames cannot be told apart.
    """
    budget_bytes = _MAX_BYTES
    for number in range(len(pixels)):
        data = pixels.stored(read, number)
        budget_bytes -= len(data)
        if budget_bytes < 0:
            break
        if pixels.syntax.uid in END_MARKED:
            if END not in data:
                return f"frame {number + 1} is cut short: it has no end marker"
            continue
        try:
            decode_frame(data, pixels.syntax, pixels.image)
        except UnsupportedTransferSyntax:
            break
        except DataSetError as error:
            return f"frame {number + 1} cannot be decoded: {error}"
    return ""


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
