"""Searching studies, series and instances: one statement per page, and its rows as DICOM JSON attributes.

QIDO-RS (PS3.18 §10.6) and C-FIND share it. Relational: keys of the levels above may be given at any level. How a
value becomes a condition is in `matching.py`; which attributes are returned unasked is in `attributes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from gateway.database.database import Query, Row
from gateway.errors import BadRequest
from gateway.index import attributes as tags
from gateway.index import matching
from gateway.index.attributes import Level
from gateway.index.queries import ORDER, SEARCH

_MOST: Final = 2**62
_DEPTH: Final[dict[Level, int]] = {"study": 0, "series": 1, "instance": 2}

_KEYS: Final[dict[int, tuple[Level, str, matching.Matcher]]] = {
    tags.STUDY_DATE: ("study", "t.date", matching.date),
    tags.STUDY_TIME: ("study", "t.time", matching.time),
    tags.ACCESSION_NUMBER: ("study", "t.accession_number", matching.text),
    tags.MODALITIES_IN_STUDY: ("study", "t.modalities", matching.listed),
    tags.REFERRING_PHYSICIAN_NAME: ("study", "", matching.name(tags.REFERRING_PHYSICIAN_NAME)),
    tags.PATIENT_NAME: ("study", "", matching.name(tags.PATIENT_NAME)),
    tags.PATIENT_ID: ("study", "t.patient_id", matching.text),
    tags.PATIENT_BIRTH_DATE: ("study", "t.patient_birth_date", matching.date),
    tags.PATIENT_SEX: ("study", "t.patient_sex", matching.code),
    tags.STUDY_INSTANCE_UID: ("study", "t.uid", matching.uid),
    tags.STUDY_ID: ("study", "t.study_id", matching.text),
    tags.STUDY_DESCRIPTION: ("study", "t.description", matching.text),
    tags.INSTITUTION_NAME: ("study", "t.institution_name", matching.text),
    tags.MODALITY: ("series", "s.modality", matching.code),
    tags.SERIES_INSTANCE_UID: ("series", "s.uid", matching.uid),
    tags.SERIES_NUMBER: ("series", "s.number", matching.integer),
    tags.SERIES_DESCRIPTION: ("series", "s.description", matching.text),
    tags.SERIES_DATE: ("series", "s.date", matching.date),
    tags.SERIES_TIME: ("series", "s.time", matching.time),
    tags.PERFORMED_STEP_START_DATE: ("series", "s.performed_date", matching.date),
    tags.PERFORMED_STEP_START_TIME: ("series", "s.performed_time", matching.time),
    tags.SCHEDULED_STEP_ID: ("series", "s.scheduled_step_ids", matching.listed),
    tags.REQUESTED_PROCEDURE_ID: ("series", "s.requested_procedure_ids", matching.listed),
    tags.BODY_PART_EXAMINED: ("series", "s.body_part", matching.code),
    tags.PROTOCOL_NAME: ("series", "s.protocol_name", matching.text),
    tags.MANUFACTURER: ("series", "s.manufacturer", matching.text),
    tags.STATION_NAME: ("series", "s.station_name", matching.text),
    tags.SOP_CLASS_UID: ("instance", "i.sop_class_uid", matching.uid),
    tags.SOP_INSTANCE_UID: ("instance", "i.uid", matching.uid),
    tags.INSTANCE_NUMBER: ("instance", "i.number", matching.integer),
}
"""Tag to level, column and kind of matching. Attributes of items of the Request Attributes Sequence stand under
their own tags: (0040,0009) and (0040,1001)."""


@dataclass(frozen=True, slots=True)
class Search:
    """One page of a search. `filters` are (tag, value); `study_uid` and `series_uid` come from the path of the
    resource; `include` names further attributes to return, or 'all' that the index has of this level and those above.
    """

    level: Level
    filters: Sequence[tuple[int, str]] = ()
    study_uid: str | None = None
    series_uid: str | None = None
    limit: int = 100
    offset: int = 0
    include: frozenset[int] | Literal["all"] = field(default_factory=frozenset)


@dataclass(slots=True)
class Match:
    """One study, series or instance. `attributes` maps 'ggggeeee' to the JSON of the attribute, in tag order.

    UIDs of levels below the search are ''. Retrieve URLs are the web's to add.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    attributes: dict[str, msgspec.Raw]


def unsupported(filters: Iterable[tuple[int, str]], level: Level = "instance") -> list[int]:
    """Tags of filters that a search at this level does not know, and so leaves out."""
    return [tag for tag, _ in filters if tag not in _KEYS or _DEPTH[_KEYS[tag][0]] > _DEPTH[level]]


def search(wanted: Search) -> tuple[Query, Sequence[str | int | float]]:
    """The statement and its parameters. Filters that are not supported are left out.

    Raises BadRequest for a value that makes no sense for its attribute.
    """
    parameters = matching.Parameters()
    depth = _DEPTH[wanted.level]
    conditions = []
    if wanted.study_uid is not None:
        conditions.append(f"t.uid = {parameters.add(wanted.study_uid)}")
    if wanted.series_uid is not None and depth >= 1:
        conditions.append(f"s.uid = {parameters.add(wanted.series_uid)}")
    for tag, value in wanted.filters:
        key = _KEYS.get(tag)
        if key is None or _DEPTH[key[0]] > depth:
            continue
        _level, column, match = key
        try:
            condition = match(column, value.encode("utf-8", "replace").decode(), parameters)
        except BadRequest as error:
            raise BadRequest(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {error}") from None
        if condition is not None:
            conditions.append(condition)
    order = wanted.level if wanted.study_uid is None or depth == 0 else _OF_A_STUDY[wanted.level]
    sql = " ".join(
        [
            SEARCH[wanted.level].format(columns=_columns(wanted)),
            f"WHERE {' AND '.join(conditions)}" if conditions else "",
            ORDER[order],
            f"LIMIT {parameters.add(min(wanted.limit, _MOST))} OFFSET {parameters.add(min(wanted.offset, _MOST))}",
        ]
    )
    return Query(f"search: {wanted.level}", sql), parameters.values


_OF_A_STUDY: Final = {"study": "study", "series": "series of a study", "instance": "instances of a study"}


def _with_study(wanted: Search) -> bool:
    """PS3.18 §10.6.3.3.2: study attributes where the target is all series or all instances."""
    return wanted.level == "study" or wanted.study_uid is None


def _with_series(wanted: Search) -> bool:
    return wanted.level == "series" or (wanted.level == "instance" and wanted.series_uid is None)


def _columns(wanted: Search) -> str:
    """Always the same fourteen, so that `decode` need not know which: '' for what is not wanted."""
    depth = _DEPTH[wanted.level]
    extras = bool(_asked(wanted))
    study, series = _with_study(wanted), _with_series(wanted)
    columns = [
        "t.uid",
        "s.uid" if depth >= 1 else "''",
        "i.uid" if depth == 2 else "''",
        "t.attributes" if study or extras else "''",
        "t.extras" if extras else "''",
        "t.modalities",
        "t.series_count",
        "t.instance_count",
        "s.attributes" if depth >= 1 and (series or extras) else "''",
        "s.extras" if depth >= 1 and extras else "''",
        "s.instance_count" if depth >= 1 else "0",
        "i.attributes" if depth == 2 else "''",
        "i.extras" if depth == 2 and extras else "''",
        "i.transfer_syntax_uid" if depth == 2 else "''",
    ]
    return ", ".join(columns)


def _asked(wanted: Search) -> frozenset[int] | Literal["all"]:
    """What is returned beside the defaults: `include` and the attributes that are matched (§10.6.3.3)."""
    if wanted.include == "all":
        return "all"
    return frozenset(wanted.include) | {tag for tag, _ in wanted.filters}


def decode(wanted: Search, rows: Iterable[Row]) -> list[Match]:
    """The rows of `search(wanted)` as matches."""
    asked = _asked(wanted)
    names = asked if asked == "all" else frozenset(f"{tag:08X}" for tag in asked)
    study, series = _with_study(wanted), _with_series(wanted)
    depth = _DEPTH[wanted.level]
    matches = []
    for row in rows:
        study_uid, series_uid, sop_uid, t_always, t_extras, modalities, series_count, instances = row[:8]
        s_always, s_extras, in_series, i_always, i_extras, transfer_syntax_uid = row[8:]
        always, maybe = [i_always], [t_extras, s_extras, i_extras]
        (always if study else maybe).append(t_always)
        (always if series else maybe).append(s_always)
        found = _members(always)
        for tag, value in _members(maybe).items():
            if names == "all" or tag in names:
                found.setdefault(tag, value)
        made = {"0020000D": _raw("UI", study_uid), "00080056": _raw("CS", "ONLINE")}
        if study or names == "all" or "00080061" in names:
            made["00080061"] = _raw("CS", *sorted(filter(None, modalities.split("\\"))))
        if study or names == "all" or "00201206" in names:
            made["00201206"] = _raw("IS", series_count)
        if study or names == "all" or "00201208" in names:
            made["00201208"] = _raw("IS", instances)
        if depth >= 1:
            made["0020000E"] = _raw("UI", series_uid)
            if series or names == "all" or "00201209" in names:
                made["00201209"] = _raw("IS", in_series)
        if depth == 2:
            made["00083002"] = _raw("UI", transfer_syntax_uid)
        found.update(made)
        if not all(map(str.isascii, (*always, *maybe))):
            found["00080005"] = _UTF8
        matches.append(Match(study_uid, series_uid, sop_uid, dict(sorted(found.items()))))
    return matches


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _members(fragments: Iterable[str]) -> dict[str, msgspec.Raw]:
    joined = ",".join([fragment for fragment in fragments if fragment])
    return _decode_members(f"{{{joined}}}") if joined else {}


def _raw(vr: str, *values: str | int) -> msgspec.Raw:
    return msgspec.Raw(_encode({"vr": vr, "Value": values}) if values else _encode({"vr": vr}))


_UTF8: Final = _raw("CS", "ISO_IR 192")
