"""Instances from real files: their data sets byte for byte, in the stored transfer syntax.

With new UIDs, those of study, series and instance are replaced and nothing else; files of one study stay together.
Files are mapped when they are sent, so that any number of them takes no memory.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gateway.dicom import elements, part10, uids
from gateway.errors import DataSetError
from loadtest.data import Identifiers, Instance

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
_TAGS: Final = frozenset((_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID))
_REPLACED: Final = (_SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID)
_MAX_CONTEXTS: Final = 128
_CHUNK: Final = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """One parsed file. `places` are (offset, length) in the data set of the replaceable values."""

    path: Path
    offset: int
    size: int
    sop_class_uid: str
    transfer_syntax_uid: str
    uids: dict[int, str]
    places: dict[int, tuple[int, int]]

    @classmethod
    def read(cls, path: Path) -> File:
        """Read the header of a file. Raises DataSetError for a file that cannot be sent; OSError."""
        with path.open("rb") as file:

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            meta = part10.read_header(read)
            syntax = uids.transfer_syntax(meta.transfer_syntax_uid)
            file.seek(0)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                size = len(mapped) - meta.data_set_offset
                view = memoryview(mapped)[meta.data_set_offset :]
                try:
                    source = elements.inflate(view, 1 << 28) if syntax.deflated else view
                    found, _ = elements.pick(source, syntax.uid, _TAGS, _SERIES_INSTANCE_UID)
                finally:
                    view.release()
        texts = {tag: element.value.rstrip(b"\0 ").decode("ascii", "replace") for tag, element in found.items()}
        if not texts.get(_SOP_CLASS_UID) or not texts.get(_SOP_INSTANCE_UID):
            raise DataSetError("has no SOP Class UID or no SOP Instance UID")
        places = {
            tag: (element.value_start, element.length)
            for tag, element in found.items()
            if tag in _REPLACED and not syntax.deflated
        }
        return cls(path, meta.data_set_offset, size, texts[_SOP_CLASS_UID], syntax.uid, texts, places)

    def chunks(self) -> Iterator[memoryview]:
        """Yield the data set as stored."""
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        view = memoryview(mapped)[self.offset :]  # Unmapped once the last slice has been sent.
        for at in range(0, len(view), _CHUNK):
            yield view[at : at + _CHUNK]

    def chunks_with(self, new: dict[int, bytes]) -> Iterator[bytes | memoryview]:
        """Yield the data set with other UIDs, each with its length before it."""
        syntax = uids.TRANSFER_SYNTAXES[self.transfer_syntax_uid]
        order = ">" if syntax.big_endian else "<"
        form, width = (order + "I", 4) if syntax.implicit else (order + "H", 2)
        whole = iter(self.chunks())
        head = bytes(next(whole))
        for tag, (start, length) in sorted(self.places.items(), reverse=True):
            value = new[tag]
            head = head[: start - width] + struct.pack(form, len(value)) + value + head[start + length :]
        yield head
        yield from whole


class Files:
    """A `Source` of real files: each once, distributed over the associations, or `instances` on each association.

    In the latter case they repeat, as duplicates unless they get `new_uids`. `skipped` lists files that are not DICOM,
    with the reason. Raises DataSetError when no file remains, or too many contexts would be needed.
    """

    def __init__(self, paths: Sequence[Path], instances: int | None = None, *, new_uids: bool = False) -> None:
        self.instances = instances
        self.skipped: list[tuple[Path, str]] = []
        self.files: list[File] = []
        self._identifiers = Identifiers() if new_uids else None
        for path in _expand(paths):
            try:
                file = File.read(path)
                if new_uids and (len(file.places) < 3 or max(map(sum, file.places.values())) > _CHUNK):
                    raise DataSetError("its UIDs cannot be replaced (deflated, or some are missing)")
            except (DataSetError, OSError, ValueError) as error:
                self.skipped.append((path, str(error)))
            else:
                self.files.append(file)
        if not self.files:
            raise DataSetError(f"no DICOM file to send in {', '.join(map(str, paths))}")
        pairs = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in self.files})
        if len(pairs) > _MAX_CONTEXTS:
            raise DataSetError(
                f"{len(pairs)} pairs of SOP class and transfer syntax; an association has {_MAX_CONTEXTS} contexts: "
                "send fewer kinds of files at once"
            )
        self.contexts: Sequence[tuple[str, Sequence[str]]] = [(sop_class, [syntax]) for sop_class, syntax in pairs]

    def total(self, associations: int) -> int:
        return len(self.files) if self.instances is None else self.instances * associations

    def feed(self, association: int, associations: int) -> Iterator[Instance]:
        if self.instances is None:
            turns = range(association, len(self.files), associations)
        else:
            turns = range(association * self.instances, (association + 1) * self.instances)
        new: dict[str, bytes] = {}
        for at, turn in enumerate(turns):
            if at % len(self.files) == 0:
                new = {}  # Each repetition has new studies.
            yield self._instance(self.files[turn % len(self.files)], new)

    def _instance(self, file: File, new: dict[str, bytes]) -> Instance:
        uid, study = file.uids[_SOP_INSTANCE_UID], file.uids.get(_STUDY_INSTANCE_UID, "")
        if self._identifiers is None:
            series = file.uids.get(_SERIES_INSTANCE_UID, "")
            return Instance(file.sop_class_uid, uid, study, file.transfer_syntax_uid, file.size, file.chunks(), series)
        values = {}
        for tag in _REPLACED:
            old = file.uids[tag]
            if tag == _SOP_INSTANCE_UID or old not in new:
                new[old] = self._identifiers.uid()
            values[tag] = new[old]
        size = file.size + sum(len(values[tag]) - length for tag, (_, length) in file.places.items())
        return Instance(
            file.sop_class_uid,
            values[_SOP_INSTANCE_UID].decode(),
            values[_STUDY_INSTANCE_UID].decode(),
            file.transfer_syntax_uid,
            size,
            file.chunks_with(values),
            values[_SERIES_INSTANCE_UID].decode(),
        )


def _expand(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(found for found in path.rglob("*") if found.is_file() and found.name != "DICOMDIR")
        else:
            yield path
