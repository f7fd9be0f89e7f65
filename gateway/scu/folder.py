"""A sink that writes fetched instances into a folder: one DICOM file each, named by its SOP Instance UID.

A file appears whole or not at all. Unlike in the archive, nothing is synced or indexed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from gateway.dicom import part10, uids
from gateway.dimse import status
from gateway.errors import InstanceRefused
from gateway.net.buffers import Block
from gateway.storage.naming import private

_WRITE_AT = 256 * 1024
_THREADS = 4


class FolderSink:
    """Writes into `folder`, creating it if necessary; replaces an instance of the same UID. Close after use."""

    def __init__(self, folder: Path, source_aet: str = "") -> None:
        self.folder = folder
        self.files = 0
        """Instances written so far."""
        self._source_aet = source_aet
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="folder")
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> _File:
        if not uids.is_uid(sop_instance_uid):
            raise InstanceRefused("the Affected SOP Instance UID is not a UID", status.INVALID_SOP_INSTANCE)
        header = part10.file_header(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_aet=self._source_aet,
        )
        return _File(self, self.folder / f"{sop_instance_uid}.dcm", header, self._threads)

    def close(self) -> None:
        """Wait for the writes under way."""
        self._threads.shutdown()


class _File:
    """One file being written. Its chunks are written in order, by one thread at a time."""

    def __init__(self, sink: FolderSink, path: Path, header: bytes, threads: ThreadPoolExecutor) -> None:
        self._sink = sink
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._threads = threads
        self._views: list[bytes | memoryview] = [header]
        self._blocks: list[Block] = []
        self._pending = 0
        self._file: IO[bytes] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._error: OSError | None = None
        self._abandoned = False

    def write(self, data: memoryview, block: Block) -> None:
        if self._error is not None:
            return
        block.retain()
        self._blocks.append(block)
        self._views.append(data)
        self._pending += len(data)
        if self._pending >= _WRITE_AT:
            self.flush()

    def flush(self) -> None:
        if self._writing is None and self._views:
            self._writing = asyncio.ensure_future(self._write_all())

    async def commit(self) -> None:
        while self._views or self._writing is not None:
            self.flush()
            assert self._writing is not None
            await self._writing
        if self._error is None:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._finish)
            except OSError as error:
                self._error = error
        if self._error is not None:
            self._remove()
            raise self._error
        self._sink.files += 1

    def abandon(self) -> None:
        self._abandoned = True
        if self._writing is None:
            self._release_blocks()
            self._remove()

    async def _write_all(self) -> None:
        try:
            while self._views and self._error is None and not self._abandoned:
                views, blocks = self._views, self._blocks
                self._views, self._blocks, self._pending = [], [], 0
                try:
                    await asyncio.get_running_loop().run_in_executor(self._threads, self._append, views)
                except OSError as error:
                    self._error = error
                finally:
                    for block in blocks:
                        block.release()
        finally:
            self._writing = None
            if self._error is not None or self._abandoned:
                self._release_blocks()
            if self._abandoned:
                self._remove()

    def _append(self, views: list[bytes | memoryview]) -> None:
        if self._file is None:
            self._file = os.fdopen(private(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")
        self._file.writelines(views)

    def _finish(self) -> None:
        assert self._file is not None
        self._file.close()
        self._part.replace(self._path)

    def _release_blocks(self) -> None:
        blocks, self._blocks, self._views = self._blocks, [], []
        for block in blocks:
            block.release()

    def _remove(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._part.unlink(missing_ok=True)
