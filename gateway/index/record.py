"""One received instance as rows of the index: identifiers, search columns and JSON fragments of the four levels.

Hot path: every instance passes here, with a `RecordTemplate` of its own or by that of a similar one. The rows
above it, which the instances of a series share, are made once and cached, looked up by the bytes
themselves. Storing the rows is in `store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from gateway.dicom.charset import decode
from gateway.dicom.elements import Element
from gateway.dicom.json import encode_element
from gateway.errors import DataSetError
from gateway.index import attributes as tags
from gateway.index.attributes import INDEX_STOP, INDEX_TAGS
from gateway.index.identity import canonical_patient_id, owned, public_id
from gateway.index.main_tags import NONE, FurtherTags, absent, current
from gateway.index.values import (
    MAX_TEXT,
    NO_NUMBER,
    comparable_date,
    comparable_names,
    comparable_time,
    number,
    sounding,
)

__all__ = ["INDEX_STOP", "INDEX_TAGS", "InstanceRecord", "Parents", "RecordTemplate", "of_tenant"]

Elements = dict[int, Element]

MAX_VALUE_BYTES = 8192
"""Bytes of one value in the index; a longer one is in the file alone."""
_MAX_CACHED_PARENTS = 256
_MAX_CACHED_BYTES = 16384
"""Values that are larger in total are not cached, so that the cache is bounded in bytes."""

_DIGITS_AND_DOTS = b"0123456789."
_PREFIX = {tag: f'"{tag:08X}":' for tag in INDEX_TAGS}
_NAMES = (tags.PATIENT_NAME, tags.REFERRING_PHYSICIAN_NAME)
_EXTRAS_FROM = len(tags.INSTANCE)


class _Layout:
    """Where the attributes of an instance stand in its record, by the further ones that the settings name."""

    def __init__(self, further: FurtherTags) -> None:
        self.further = further
        self.own = (*tags.INSTANCE, *tags.INSTANCE_EXTRAS, *further.added["instance"])
        self.further_from = len(tags.INSTANCE) + len(tags.INSTANCE_EXTRAS)
        self.place = {tag: place for place, tag in enumerate(self.own)}
        self.of_parents = (*tags.PARENT_TAGS, *further.of_parents)
        self.above = frozenset(self.of_parents)


_PLAIN = _Layout(NONE)
_layout = _PLAIN


def _layout_of(further: FurtherTags) -> _Layout:
    global _layout
    if further is _PLAIN.further:
        return _PLAIN
    if _layout.further is not further:
        _layout = _Layout(further)
    return _layout


class Parents(NamedTuple):
    """The rows above an instance. The tuples are in the order of the columns that `store.py` inserts."""

    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    """Patient ID in its canonical form, as used in identifiers."""
    patient_public_id: str
    study_public_id: str
    series_public_id: str
    modality: str
    patient: tuple[str, ...]
    study: tuple[str, ...]
    series: tuple[str | int, ...]
    names: tuple[tuple[int, str], ...]
    """(tag, comparable name), and (minus tag, its sound)."""


@dataclass(slots=True)
class InstanceRecord:
    parents: Parents
    sop_class_uid: str
    sop_instance_uid: str
    public_id: str
    transfer_syntax_uid: str
    number: int
    attributes: str
    extras: str

    @property
    def study_instance_uid(self) -> str:
        return self.parents.study_instance_uid

    @property
    def series_instance_uid(self) -> str:
        return self.parents.series_instance_uid

    @property
    def patient_id(self) -> str:
        return self.parents.patient_id


_parents: dict[tuple[object, ...], Parents] = {}


class RecordTemplate:
    """The record of an instance, and of others that differ from it in the values of a few elements."""

    __slots__ = ("_character_set", "_layout", "_parts", "elements", "record")

    def __init__(self, elements: Elements, transfer_syntax_uid: str, further: FurtherTags | None = None) -> None:
        """Make the record from the elements that `pick` found for INDEX_TAGS and the `further` attributes; without
        these, for those of `main_tags.current`.

        Raises: DataSetError if SOP Class, SOP Instance, Study or Series Instance UID is missing or is no UID (more
        than 64 characters, or others than digits and dots; odd components are accepted, as devices send them).
        """
        self.elements = elements
        sop_class_uid = _uid(elements, tags.SOP_CLASS_UID, "SOP Class UID")
        sop_instance_uid = _uid(elements, tags.SOP_INSTANCE_UID, "SOP Instance UID")
        self._layout = layout = _layout_of(current() if further is None else further)
        parents = _parents_of(elements, transfer_syntax_uid, layout)
        get = elements.get
        self._character_set = character_set = _character_set(elements)
        self._parts = parts = [
            _part(tag, get(tag), character_set, further=place >= layout.further_from)
            for place, tag in enumerate(layout.own)
        ]
        number = _number(get(tags.INSTANCE_NUMBER))
        self.record = _record(transfer_syntax_uid, parents, sop_class_uid, sop_instance_uid, number, parts)

    def with_other(self, changed: Elements) -> InstanceRecord:
        """The record of an instance whose elements are those of the template, except `changed`. Raises as `__init__`.

        Changed elements have the same VRs; Specific Character Set is not among them.
        """
        record, parts, character_set = self.record, self._parts.copy(), self._character_set
        layout = self._layout
        sop_class_uid, sop_instance_uid, number = record.sop_class_uid, record.sop_instance_uid, record.number
        parents = record.parents
        if tags.SOP_CLASS_UID in changed:
            sop_class_uid = _uid(changed, tags.SOP_CLASS_UID, "SOP Class UID")
        if tags.SOP_INSTANCE_UID in changed:
            sop_instance_uid = _uid(changed, tags.SOP_INSTANCE_UID, "SOP Instance UID")
        if tags.INSTANCE_NUMBER in changed:
            number = _number(changed[tags.INSTANCE_NUMBER])
        if not layout.above.isdisjoint(changed):
            parents = _parents_of({**self.elements, **changed}, record.transfer_syntax_uid, layout)
        for tag, element in changed.items():
            if tag in layout.place:
                parts[layout.place[tag]] = _part(tag, element, character_set)
        return _record(record.transfer_syntax_uid, parents, sop_class_uid, sop_instance_uid, number, parts)


def of_tenant(record: InstanceRecord, tenant: str) -> InstanceRecord:
    """The record of the same instance as one that belongs to a tenant, whose patients are no other's."""
    if not tenant:
        return record
    parents = record.parents
    identifiers = (owned(parents.patient_id, tenant), parents.study_instance_uid, parents.series_instance_uid)
    patient, study, series = (public_id(*identifiers[:depth]) for depth in (1, 2, 3))
    parents = parents._replace(
        patient_public_id=patient,
        study_public_id=study,
        series_public_id=series,
        patient=(patient, *parents.patient[1:]),
        study=(study, *parents.study[1:]),
        series=(series, *parents.series[1:]),
    )
    return replace(record, parents=parents, public_id=public_id(*identifiers, record.sop_instance_uid))


def _record(
    transfer_syntax_uid: str, parents: Parents, sop_class_uid: str, sop_instance_uid: str, number: int, parts: list[str]
) -> InstanceRecord:
    return InstanceRecord(
        parents,
        sop_class_uid,
        sop_instance_uid,
        public_id(parents.patient_id, parents.study_instance_uid, parents.series_instance_uid, sop_instance_uid),
        transfer_syntax_uid,
        number,
        _joined(parts[:_EXTRAS_FROM]),
        _joined(parts[_EXTRAS_FROM:]),
    )


def _parents_of(elements: Elements, transfer_syntax_uid: str, layout: _Layout) -> Parents:
    get = elements.get
    values = [None if (element := get(tag)) is None else (element.vr, element.value) for tag in layout.of_parents]
    key = (transfer_syntax_uid, layout, *values)
    parents = _parents.get(key)
    if parents is None:
        parents = _build_parents(elements, layout.further)
        if sum(len(value[1]) for value in values if value is not None) <= _MAX_CACHED_BYTES:
            if len(_parents) >= _MAX_CACHED_PARENTS:
                _parents.clear()
            _parents[key] = parents
    return parents


def _build_parents(elements: Elements, further: FurtherTags) -> Parents:
    added = further.added
    study_uid = _uid(elements, tags.STUDY_INSTANCE_UID, "Study Instance UID")
    series_uid = _uid(elements, tags.SERIES_INSTANCE_UID, "Series Instance UID")
    character_set = _character_set(elements)

    def raw(tag: int) -> str:
        element = elements.get(tag)
        return "" if element is None else _decode(element, character_set)

    def text(tag: int) -> str:
        return raw(tag).replace("\0", "").strip()[:MAX_TEXT]

    def first(tag: int) -> str:
        return text(tag).partition("\\")[0].strip()

    patient_id = canonical_patient_id(raw(tags.PATIENT_ID))
    patient_key = public_id(patient_id)
    study_key = public_id(patient_id, study_uid)
    scheduled, requested = _requests(elements, character_set)
    return Parents(
        study_uid,
        series_uid,
        patient_id,
        patient_key,
        study_key,
        public_id(patient_id, study_uid, series_uid),
        first(tags.MODALITY),
        patient=(
            patient_key,
            text(tags.PATIENT_ID),
            _fragment(elements, (*tags.PATIENT, *tags.PATIENT_EXTRAS), character_set, added["patient"]),
        ),
        study=(
            study_key,
            study_uid,
            text(tags.PATIENT_ID),
            comparable_date(first(tags.PATIENT_BIRTH_DATE)),
            first(tags.PATIENT_SEX),
            comparable_date(first(tags.STUDY_DATE)),
            comparable_time(first(tags.STUDY_TIME)),
            text(tags.ACCESSION_NUMBER),
            text(tags.STUDY_ID),
            text(tags.STUDY_DESCRIPTION),
            text(tags.INSTITUTION_NAME),
            _fragment(elements, tags.STUDY, character_set),
            _fragment(elements, tags.STUDY_EXTRAS, character_set, added["study"]),
        ),
        series=(
            public_id(patient_id, study_uid, series_uid),
            series_uid,
            first(tags.MODALITY),
            number(first(tags.SERIES_NUMBER)),
            text(tags.SERIES_DESCRIPTION),
            comparable_date(first(tags.SERIES_DATE)),
            comparable_time(first(tags.SERIES_TIME)),
            comparable_date(first(tags.PERFORMED_STEP_START_DATE)),
            comparable_time(first(tags.PERFORMED_STEP_START_TIME)),
            scheduled,
            requested,
            first(tags.BODY_PART_EXAMINED),
            text(tags.PROTOCOL_NAME),
            text(tags.MANUFACTURER),
            text(tags.STATION_NAME),
            _fragment(elements, tags.SERIES, character_set),
            _fragment(elements, tags.SERIES_EXTRAS, character_set, added["series"]),
        ),
        names=tuple(
            (key, name)
            for tag in _NAMES
            for key, names in (
                (tag, comparable_names(raw(tag)[:MAX_TEXT])),
                (-tag, list(filter(None, [sounding(raw(tag)[:MAX_TEXT])]))),
            )
            for name in names
        ),
    )


def _uid(elements: Elements, tag: int, name: str) -> str:
    element = elements.get(tag)
    value = b"" if element is None else element.value.strip(b" \0")
    if not value:
        raise DataSetError(f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing")
    if len(value) > 64 or value.translate(None, _DIGITS_AND_DOTS) or value[:1] == b".":
        raise DataSetError(f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is not a UID: {value[:80]!r}")
    return value.decode("ascii")


def _decode(element: Element, character_set: bytes | None) -> str:
    value = element.value
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    return decode(value, character_set, element.vr)


def _number(element: Element | None) -> int:
    if element is None:
        return NO_NUMBER
    try:
        value = int(element.value)
    except ValueError:
        return number(element.value.partition(b"\\")[0].strip(b" \0").decode("ascii", "replace"))
    return value if -NO_NUMBER < value < NO_NUMBER else NO_NUMBER


def _character_set(elements: Elements) -> bytes | None:
    charset = elements.get(tags.SPECIFIC_CHARACTER_SET)
    return None if charset is None else charset.value


def _fragment(
    elements: Elements, wanted: tuple[int, ...], character_set: bytes | None, further: tuple[int, ...] = ()
) -> str:
    """Members of a DICOM JSON object, without its braces and values too long for the index."""
    get = elements.get
    parts = [_part(tag, get(tag), character_set) for tag in wanted]
    return _joined([*parts, *[_part(tag, get(tag), character_set, further=True) for tag in further]])


def _part(tag: int, element: Element | None, character_set: bytes | None, *, further: bool = False) -> str:
    """One member of a DICOM JSON object; '' for none. Of a `further` one it is said that it is absent."""
    if element is not None and len(element.value) <= MAX_VALUE_BYTES:
        try:
            return _prefix(tag) + encode_element(element, character_set).decode()
        except DataSetError:  # A broken sequence is no reason to refuse the instance.
            pass
    if tag in tags.REQUIRED:
        return f'{_PREFIX[tag]}{{"vr":"{tags.REQUIRED[tag]}"}}'
    return _prefix(tag) + absent(tag) if further and element is None else ""


def _prefix(tag: int) -> str:
    return _PREFIX.get(tag) or f'"{tag:08X}":'


def _joined(parts: list[str]) -> str:
    return ",".join(filter(None, parts))


class _Item(msgspec.Struct):
    scheduled: msgspec.Raw = msgspec.field(name="00400009", default=msgspec.Raw(b"{}"))
    requested: msgspec.Raw = msgspec.field(name="00401001", default=msgspec.Raw(b"{}"))


class _Sequence(msgspec.Struct):
    items: list[_Item] = msgspec.field(name="Value", default_factory=list)


class _Text(msgspec.Struct):
    values: list[str | None] = msgspec.field(name="Value", default_factory=list)


def _requests(elements: Elements, character_set: bytes | None) -> tuple[str, str]:
    """Scheduled step and requested procedure IDs of all requests, each between backslashes: `\\A\\B\\`, or ''."""
    element = elements.get(tags.REQUEST_ATTRIBUTES_SEQUENCE)
    if element is None or len(element.value) > MAX_VALUE_BYTES:
        return "", ""
    try:
        items = msgspec.json.decode(encode_element(element, character_set), type=_Sequence).items
        scheduled = [text for item in items for text in msgspec.json.decode(item.scheduled, type=_Text).values if text]
        requested = [text for item in items for text in msgspec.json.decode(item.requested, type=_Text).values if text]
    except (msgspec.DecodeError, DataSetError):
        return "", ""
    return _listed(scheduled), _listed(requested)


def _listed(values: list[str]) -> str:
    return "\\" + "\\".join(values) + "\\" if values else ""
