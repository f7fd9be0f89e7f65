"""The directory of a medium, made from the headers of the instances on it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gateway.dicom import dicomdir
from gateway.dicom.decode import read_data_set
from gateway.dicom.dicomdir import FileReference, MediaDirectory
from gateway.dicom.encode import Attribute, DataSet
from gateway.errors import DataSetError
from gateway.index.attributes import SERIES_DESCRIPTION
from gateway.index.locate import Located
from gateway.retrieve.opened import Content
from gateway.retrieve.retrieval import Retrieval
from gateway.retrieve.stored_attributes import MAX_HEADER
from gateway.storage.store import StoredObject

_CHARSET: Final = 0x00080005
_CODES: Final = frozenset({0x00080100, 0x00080102, 0x00080104, 0x00080119, 0x00080120})
"""Attributes of a coded concept (PS3.3 Table 8.8-1) that its record has."""
_MAX_VALUE: Final = 10240
"""Bytes of a value in a record: those of the longest text of limited length (LT)."""
_MAX_ATTRIBUTES: Final = 1000


class MediaRecords:
    """Adds the records of instances to a directory."""

    def __init__(self, retrieval: Retrieval, *, extended: bool) -> None:
        self._retrieval = retrieval
        self._series_keys = (*dicomdir.SERIES_KEYS, *((SERIES_DESCRIPTION,) if extended else ()))
        self.directory = MediaDirectory()

    async def add(self, patient: str, opened: Content, file_id: tuple[str, ...]) -> None:
        """Add an instance whose file is at `file_id`. `patient` is the public id of its patient.

        What of its header cannot be read, or cannot be in a record, has no value there.
        """
        located = opened.located
        keys = dicomdir.KEYS[dicomdir.record_type(located.sop_class_uid)]
        (found,) = await self._retrieval.map([located], self._reader(keys))
        path = (
            (patient, "PATIENT", _present(found, dicomdir.PATIENT_KEYS)),
            (located.study_uid, "STUDY", _present(found, dicomdir.STUDY_KEYS, _uid(0x0020000D, located.study_uid))),
            (located.series_uid, "SERIES", _present(found, self._series_keys, _uid(0x0020000E, located.series_uid))),
        )
        reference = FileReference(file_id, located.sop_class_uid, opened.sop_instance_uid, opened.transfer_syntax_uid)
        try:
            self.directory.add(path, reference, _present(found, keys))
        except DataSetError:
            bare = [(identifier, kind, _encodable(attributes)) for identifier, kind, attributes in path]
            self.directory.add(bare, reference, _encodable(_present(found, keys)))

    def _reader(self, keys: Collection[int]) -> _Read:
        wanted = {_CHARSET, *dicomdir.PATIENT_KEYS, *dicomdir.STUDY_KEYS, *self._series_keys, *keys}
        return _Read(frozenset(wanted), max(wanted))


class _Read:
    """Reads the wanted attributes of a stored instance, up to the last of them. Blocks."""

    def __init__(self, wanted: frozenset[int], last: int) -> None:
        self._wanted = wanted
        self._last = last

    def __call__(self, stored: StoredObject, located: Located) -> DataSet:
        def keep(tag: int, length: int) -> bool:
            if tag in self._wanted or tag in _CODES:
                return length <= _MAX_VALUE or dicomdir.VRS.get(tag) == "SQ"
            return False

        try:
            return read_data_set(
                stored.read,
                located.data_set_offset,
                located.size,
                located.transfer_syntax_uid,
                keep,
                most=_MAX_ATTRIBUTES,
                inflate_limit=MAX_HEADER,
                watch=lambda event, _window: event.tag > self._last,
            )
        except DataSetError:
            return {}


def _uid(tag: int, uid: str) -> DataSet:
    return {tag: Attribute("UI", [uid])}


def _present(found: DataSet, keys: Collection[int], known: DataSet | None = None) -> DataSet:
    """The keys with what is found of them, or no value; sequences that are not there are left out."""
    record: DataSet = {}
    for tag in keys:
        vr = dicomdir.VRS.get(tag, "LO")
        if tag in found and found[tag].vr in (vr, "UN"):
            record[tag] = found[tag] if found[tag].vr == vr else Attribute(vr)
        elif vr != "SQ":
            record[tag] = Attribute(vr)
    return record | (known or {})


def _encodable(attributes: DataSet) -> DataSet:
    """The attributes without the values that cannot be encoded."""
    return {tag: each if each.vr == "UI" else Attribute(each.vr) for tag, each in attributes.items()}
