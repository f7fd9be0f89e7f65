"""What jobs have made for whoever asked: one file for each job, named by its number, until it is deleted or too old.

An output that is being written ends in `.part`. It takes its name once its bytes are synced, so that whatever has a
name is whole. Everything blocks.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import NoSuchObject, OutOfSpace, StorageError
from gateway.storage.disk import LOCAL
from gateway.storage.erasure import erase_file
from gateway.storage.failures import storage_error
from gateway.storage.layout import Layout

_PART: Final = ".part"
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Output:
    """The whole output of a job."""

    job: int
    size: int
    """Bytes."""
    made_at: float
    """Seconds since 1970."""


class OutputFolder:
    """The outputs of one data folder, which its processes share."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def create(self, job: int) -> OutputWriter:
        """Begin the output of a job; what an attempt before has left is replaced. Raises: OutOfSpace; StorageError."""
        try:
            self._layout.outputs.mkdir(exist_ok=True)
            return OutputWriter(self._layout.output(job))
        except OSError as error:
            raise storage_error(error, "making the output of a job") from error

    def find(self, job: int, since: float = 0.0) -> Output:
        """The output of a job. Raises: NoSuchObject where there is none, or none that is as new as `since`."""
        try:
            status = self._layout.output(job).stat()
        except FileNotFoundError:
            raise NoSuchObject(f"job {job} has no output") from None
        except OSError as error:
            raise StorageError(f"cannot read the output of job {job}: {error.strerror}") from error
        if status.st_mtime < since:
            raise NoSuchObject(f"the output of job {job} has been deleted")
        return Output(job, status.st_size, status.st_mtime)

    def read(self, output: Output, start: int, stop: int) -> Generator[bytes, None, None]:
        """Yield the bytes of an output from `start` up to `stop`.

        Raises: StorageError where it was replaced since it was found, or is deleted.
        """
        try:
            with self._layout.output(output.job).open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if (status.st_size, status.st_mtime) != (output.size, output.made_at):
                    raise StorageError(f"the output of job {output.job} has been replaced")
                file.seek(start)
                while start < stop and (piece := file.read(min(_PIECE, stop - start))):
                    if os.fstat(file.fileno()).st_size != output.size:
                        raise StorageError(f"the output of job {output.job} has been deleted")
                    start += len(piece)
                    yield piece
        except OSError as error:
            raise StorageError(f"cannot read the output of job {output.job}: {error.strerror}") from error

    def remove(self, job: int) -> bool:
        """Delete the output of a job. False where there is none."""
        path = self._layout.output(job)
        try:
            if not path.exists():
                return False
            erase_file(LOCAL, str(path))
        except OSError as error:
            raise StorageError(f"cannot delete the output of job {job}: {error.strerror}") from error
        return True

    def jobs(self) -> list[int]:
        """The numbers of all jobs that have an output, whole or in parts."""
        return sorted({int(path.name.partition(".")[0]) for path, _ in self._files()})

    def expire(self, before: float) -> None:
        """Delete what was written before that time (seconds since 1970), and parts that nobody has gone on with."""
        for path, status in self._files():
            if status.st_mtime < before:
                erase_file(LOCAL, str(path))

    def make_room(self, room: int) -> None:
        """Delete the oldest whole outputs until all files together have `room` bytes at most.

        Raises: OutOfSpace where those that are being written have more.
        """
        files = self._files()
        total = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda each: each[1].st_mtime):
            if total <= room:
                return
            if path.suffix != _PART:
                erase_file(LOCAL, str(path))
                total -= status.st_size
        if total > room:
            raise OutOfSpace(f"the outputs of jobs may have {room} bytes together (jobs.max_output_bytes)")

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        return list(self._found())

    def _found(self) -> Iterator[tuple[Path, os.stat_result]]:
        try:
            paths = list(self._layout.outputs.iterdir())
        except FileNotFoundError:
            return
        for path in paths:
            if path.name.partition(".")[0].isdecimal():
                try:
                    yield path, path.stat()
                except FileNotFoundError:
                    continue


class OutputWriter:
    """The output of one job while it is written: `append`, then `finish`, or `abandon`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + _PART)
        self._file = self._part.open("wb")
        self.size = 0

    def append(self, data: bytes) -> None:
        """Write at the end. Raises: OutOfSpace; StorageError."""
        try:
            self._file.write(data)
        except OSError as error:
            raise storage_error(error, "writing the output of a job") from error
        self.size += len(data)

    def finish(self) -> None:
        """Sync what is written and give it its name. Raises: OutOfSpace; StorageError."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise storage_error(error, "writing the output of a job") from error

    def abandon(self) -> None:
        """Delete what is written, unless it is finished."""
        if not self._file.closed:
            erase_file(LOCAL, str(self._part))
            try:
                self._file.close()
            except OSError:  # What was in its buffer does not fit the disk: nobody wants it any more.
                pass
