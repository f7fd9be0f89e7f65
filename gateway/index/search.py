"""Searching studies, series and instances: one statement per page, and its rows as DICOM JSON attributes.

QIDO-RS (PS3.18 §10.6) and C-FIND share it. Relational: keys of the levels above may be given at any level, those of
levels below with `below`. How a value becomes a condition is in `matching.py`; which attributes are returned unasked
is in `attributes.py`. A page begins at an offset or, as C-FIND has it, after a place in the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import msgspec

from gateway.database.database import Query, Row
from gateway.errors import BadRequest
from gateway.index import attributes as tags
from gateway.index import matching
from gateway.index.attributes import Level
from gateway.index.queries import (
    BELOW,
    BELOW_BY_UID,
    INSTANCES_OF_ROW,
    OF_PATIENTS,
    ORDER,
    PATIENT_COUNTS,
    POSITION,
    SEARCH,
    SEARCH_FROM_STUDIES,
    SOP_CLASSES,
    TOTAL,
)

_MOST: Final = 2**62
_DEPTH: Final[dict[Level, int]] = {"patient": -1, "study": 0, "series": 1, "instance": 2}

_KEYS: Final[dict[int, tuple[Level, str, matching.Matcher]]] = {
    tags.STUDY_DATE: ("study", "t.date", matching.date),
    tags.STUDY_TIME: ("study", "t.time", matching.time),
    tags.ACCESSION_NUMBER: ("study", "t.accession_number", matching.text),
    tags.MODALITIES_IN_STUDY: ("study", "t.modalities", matching.listed),
    tags.SOP_CLASSES_IN_STUDY: ("study", "", matching.sop_class),
    tags.REFERRING_PHYSICIAN_NAME: ("study", "", matching.name(tags.REFERRING_PHYSICIAN_NAME)),
    tags.PATIENT_NAME: ("patient", "", matching.name(tags.PATIENT_NAME)),
    tags.PATIENT_ID: ("patient", "t.patient_id", matching.text),
    tags.PATIENT_BIRTH_DATE: ("patient", "t.patient_birth_date", matching.date),
    tags.PATIENT_SEX: ("patient", "t.patient_sex", matching.code),
    tags.STUDY_INSTANCE_UID: ("study", "t.uid", matching.uid),
    tags.STUDY_ID: ("study", "t.study_id", matching.text),
    tags.STUDY_DESCRIPTION: ("study", "t.description", matching.text),
    tags.INSTITUTION_NAME: ("study", "t.institution_name", matching.text),
    tags.NUMBER_OF_STUDY_RELATED_SERIES: ("study", "t.series_count", matching.integer),
    tags.NUMBER_OF_STUDY_RELATED_INSTANCES: ("study", "t.instance_count", matching.integer),
    tags.NUMBER_OF_SERIES_RELATED_INSTANCES: ("series", "s.instance_count", matching.integer),
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
_FUZZY: Final = {tag: matching.fuzzy_name(tag) for tag in (tags.PATIENT_NAME, tags.REFERRING_PHYSICIAN_NAME)}
_PAIRS: Final = (
    (tags.STUDY_DATE, tags.STUDY_TIME),
    (tags.SERIES_DATE, tags.SERIES_TIME),
    (tags.PERFORMED_STEP_START_DATE, tags.PERFORMED_STEP_START_TIME),
)
_PATIENT_COUNTS: Final = (
    tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
    tags.NUMBER_OF_PATIENT_RELATED_SERIES,
    tags.NUMBER_OF_PATIENT_RELATED_INSTANCES,
)
_NAMES_ONE: Final = re.compile(r"[si]\.uid (=|IN) |s\.id IN ")
"""A condition that names series or instances by UIDs, theirs or of what is below: the index on these finds them."""
Position = tuple[str | int, ...]


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
    after: Position | None = None
    """Only what follows this place in the order."""
    below: bool = False
    """Filters of lower levels count too: something below must match those of each level."""
    fuzzy: bool = False
    """Person names match by what they sound like (PS3.4 §C.2.2.2.1)."""
    combined: bool = False
    """A date and the time beside it are matched as one range (PS3.4 §C.2.2.2.5)."""
    empty: bool = False
    """Two quotation marks match what is absent or has no value (PS3.4 §C.2.2.2.7)."""


@dataclass(slots=True)
class Match:
    """One patient, study, series or instance. `attributes` maps 'ggggeeee' to the JSON of the attribute, in tag order.

    UIDs of levels below the search are ''. Retrieve URLs are the web's to add.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    attributes: dict[str, msgspec.Raw]
    position: Position
    """Its place in the order; ends with the number of its row."""

    @property
    def row(self) -> int:
        return int(self.position[-1])


def unsupported(filters: Iterable[tuple[int, str]], level: Level = "instance") -> list[int]:
    """Tags of filters that a search at this level does not know, and so leaves out."""
    return [tag for tag, _ in filters if tag not in _KEYS or _DEPTH[_KEYS[tag][0]] > _DEPTH[level]]


def search(wanted: Search) -> tuple[Query, Sequence[str | int | float]]:
    """The statement and its parameters. Filters that are not supported are left out.

    Raises BadRequest for a value that makes no sense for its attribute.
    """
    parameters = matching.Parameters()
    conditions = _conditions(wanted, parameters)
    order = _order(wanted)
    if wanted.after is not None:
        columns, sign = POSITION[order]
        values = ", ".join([parameters.add(value) for value in wanted.after])
        conditions.append(f"({columns}) {sign} ({values})")
    sql = " ".join(
        [
            _head(wanted, conditions).format(columns=_columns(wanted)),
            _where(conditions),
            ORDER[order],
            f"LIMIT {parameters.add(min(wanted.limit, _MOST))}",
            f"OFFSET {parameters.add(min(wanted.offset, _MOST))}" if wanted.offset else "",
        ]
    )
    return Query(f"search: {wanted.level}", sql), parameters.values


def total(wanted: Search, most: int) -> tuple[Query, Sequence[str | int | float]]:
    """The statement that counts the instances of all matches, page or not; right up to `most`, more than it above."""
    parameters = matching.Parameters()
    conditions = _conditions(wanted, parameters)
    head = _head(wanted, conditions).format(columns=f"{INSTANCES_OF_ROW[wanted.level]} AS n")
    sql = TOTAL.format(search=f"{head} {_where(conditions)}", limit=parameters.add(most + 1))
    return Query(f"total: instances of a search for a {wanted.level}", sql), parameters.values


def _head(wanted: Search, conditions: Sequence[str]) -> str:
    """From where it starts: from the UIDs that are given of what is searched for, or else from the studies."""
    given = any(_NAMES_ONE.match(condition) for condition in conditions)
    return (SEARCH if given else SEARCH_FROM_STUDIES)[wanted.level]


def _where(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _conditions(wanted: Search, parameters: matching.Parameters) -> list[str]:
    """What each row must be, given the tables of its level."""
    depth = max(_DEPTH[wanted.level], 0)
    found: dict[int, list[str]] = {0: [], 1: [], 2: []}
    if wanted.study_uid is not None:
        found[0].append(f"t.uid = {parameters.add(wanted.study_uid)}")
    if wanted.series_uid is not None and depth >= 1:
        found[1].append(f"s.uid = {parameters.add(wanted.series_uid)}")
    filters = dict(wanted.filters)
    if wanted.combined:
        for day, time in _PAIRS:
            level, column, _match = _KEYS[day]
            if day in filters and time in filters and _counts(wanted, level):
                both = matching.moment(column, _KEYS[time][1], filters[day], filters[time], parameters)
                if both is not None:
                    found[_DEPTH[level]] += both
                    del filters[day], filters[time]
    for tag, value in filters.items():
        key = _KEYS.get(tag)
        if key is None or not _counts(wanted, key[0]):
            continue
        level, column, match = key
        if wanted.empty and value.strip() == matching.EMPTY:
            found[max(_DEPTH[level], 0)].append(matching.empty(tag, column, match))
            continue
        if wanted.fuzzy:
            match = _FUZZY.get(tag, match)
        try:
            condition = match(column, value.encode("utf-8", "replace").decode(), parameters)
        except BadRequest as error:
            raise BadRequest(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {error}") from None
        if condition is not None:
            found[max(_DEPTH[level], 0)].append(condition)
    conditions = [condition for at in range(depth + 1) for condition in found[at]]
    conditions += [
        (BELOW_BY_UID if any(map(_NAMES_ONE.match, found[at])) else BELOW)[_LEVELS[depth], _LEVELS[at]].format(
            conditions=" AND ".join(found[at])
        )
        for at in range(depth + 1, 3)
        if found[at]
    ]
    if wanted.level == "patient" and conditions:
        return [OF_PATIENTS.format(conditions=" AND ".join(conditions))]
    return conditions


def _counts(wanted: Search, level: Level) -> bool:
    """Whether filters of that level have a say."""
    return wanted.below or _DEPTH[level] <= _DEPTH[wanted.level]


def _order(wanted: Search) -> str:
    return wanted.level if wanted.study_uid is None else _OF_A_STUDY[wanted.level]


_LEVELS: Final = ("study", "series", "instance")
_OF_A_STUDY: Final = {
    "patient": "patient",
    "study": "study",
    "series": "series of a study",
    "instance": "instances of a study",
}


def _with_study(wanted: Search) -> bool:
    """PS3.18 §10.6.3.3.2: study attributes where the target is all series or all instances."""
    return wanted.level == "study" or wanted.study_uid is None


def _with_series(wanted: Search) -> bool:
    return wanted.level == "series" or (wanted.level == "instance" and wanted.series_uid is None)


def _columns(wanted: Search) -> str:
    """Always the same eighteen, so that `decode` need not know which: '' for what is not wanted; then the place."""
    depth = _DEPTH[wanted.level]
    asked = _asked(wanted)
    extras = bool(asked)
    place = POSITION[_order(wanted)][0]
    patient = "t.patient" if depth >= 0 else "p.id"
    counts = [
        sql.format(patient=patient) if asked != "all" and tag in asked else "0"
        for tag, sql in zip(_PATIENT_COUNTS, PATIENT_COUNTS, strict=True)
    ]
    if depth < 0:
        return ", ".join(
            [*["''"] * 3, "p.attributes", *["''"] * 2, "0", "0", "''", "''", "0", *["''"] * 4, *counts, place]
        )
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
        SOP_CLASSES if asked != "all" and tags.SOP_CLASSES_IN_STUDY in asked else "''",
        *counts,
        place,
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
    shape = (_with_study(wanted), _with_series(wanted), _DEPTH[wanted.level], names)
    matches = []
    for row in rows:
        values = tuple(row[:18])
        length = sum([len(value) for value in values if isinstance(value, str)])
        made = _kept_attributes if length <= _KEPT_LENGTH else _attributes
        study_uid, series_uid, sop_uid = values[:3]
        matches.append(Match(study_uid, series_uid, sop_uid, dict(made(values, *shape)), tuple(row[18:])))
    return matches


def _attributes(
    row: Row, study: bool, series: bool, depth: int, names: frozenset[str] | Literal["all"]
) -> dict[str, msgspec.Raw]:
    """Those of one row, without its place in the order. The same row always comes to the same."""
    study_uid, series_uid, _sop_uid, t_always, t_extras, modalities, series_count, instances = row[:8]
    s_always, s_extras, in_series, i_always, i_extras, transfer_syntax_uid, sop_classes = row[8:15]
    always, maybe = [i_always], [t_extras, s_extras, i_extras]
    (always if study else maybe).append(t_always)
    (always if series else maybe).append(s_always)
    found = _members(always)
    for tag, value in _members(maybe).items():
        if names == "all" or tag in names:
            found.setdefault(tag, value)
    made = {"00080056": _ONLINE}
    if depth >= 0:
        made["0020000D"] = _one_uid(study_uid)
    if depth >= 0 and (study or names == "all" or "00080061" in names):
        made["00080061"] = _raw("CS", *sorted(filter(None, modalities.split("\\"))))
    if depth >= 0 and (study or names == "all" or "00201206" in names):
        made["00201206"] = _count(series_count)
    if depth >= 0 and (study or names == "all" or "00201208" in names):
        made["00201208"] = _count(instances)
    if depth >= 1:
        made["0020000E"] = _one_uid(series_uid)
        if series or names == "all" or "00201209" in names:
            made["00201209"] = _count(in_series)
    if sop_classes:
        made["00080062"] = _raw("UI", *sop_classes.split("\\"))
    for number, count in zip(_PATIENT_COUNTS, row[15:18], strict=True):
        if names != "all" and f"{number:08X}" in names:
            made[f"{number:08X}"] = _count(count)
    if depth == 2:
        made["00083002"] = _raw("UI", transfer_syntax_uid)
    found.update(made)
    if not all(map(str.isascii, (*always, *maybe))):
        found["00080005"] = _UTF8
    return dict(sorted(found.items()))


_KEPT_LENGTH: Final = 8 << 10
"""Characters of a row that is made once: with as many rows as are kept, some 20 MB at most."""
_kept_attributes = lru_cache(1024)(_attributes)
# The same studies are listed again and again, and making one from its row is two thirds of a search's time.

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _members(fragments: Iterable[str]) -> dict[str, msgspec.Raw]:
    joined = ",".join([fragment for fragment in fragments if fragment])
    return _decode_members(f"{{{joined}}}") if joined else {}


def _raw(vr: str, *values: str) -> msgspec.Raw:
    return msgspec.Raw(_encode({"vr": vr, "Value": values}) if values else _encode({"vr": vr}))


def _one_uid(uid: str) -> msgspec.Raw:
    """A Study or Series Instance UID, which the index takes only with nothing but digits and periods."""
    return msgspec.Raw(b'{"vr":"UI","Value":["%b"]}' % uid.encode())


def _count(number: int) -> msgspec.Raw:
    return msgspec.Raw(b'{"vr":"IS","Value":[%d]}' % number)


_UTF8: Final = _raw("CS", "ISO_IR 192")
_ONLINE: Final = _raw("CS", "ONLINE")
