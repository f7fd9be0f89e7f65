"""Searching studies, series and instances: one statement per page, and its rows as DICOM JSON attributes.

QIDO-RS (PS3.18 §10.6) and C-FIND share it. Relational: keys of higher levels are allowed at any level, those of
lower levels with `below`. How a value becomes a condition is in `matching.py`; the attributes returned by default
are in `attributes.py`. A page begins at an offset or, for C-FIND, after a position in the order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import msgspec

from gateway.database.database import Query, Row
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.index import attributes as tags
from gateway.index import matching
from gateway.index.places import COUNTS_OF_PATIENT, DEPTH, KEYS
from gateway.index.queries.columns import CLASHING_PATIENT, OF_ONE_PATIENT
from gateway.index.queries.resources import ALIAS
from gateway.index.queries.search import (
    BELOW,
    BELOW_BY_UID,
    FROM_STUDIES,
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

_MAX_LIMIT: Final = 2**62
_FUZZY: Final = {tag: matching.fuzzy_name(tag) for tag in (tags.PATIENT_NAME, tags.REFERRING_PHYSICIAN_NAME)}
_PAIRS: Final = (
    (tags.STUDY_DATE, tags.STUDY_TIME),
    (tags.SERIES_DATE, tags.SERIES_TIME),
    (tags.PERFORMED_STEP_START_DATE, tags.PERFORMED_STEP_START_TIME),
)
_NAMES_ONE: Final = re.compile(r"[si]\.(uid|public_id) (=|IN) |[si]\.id IN ")
"""A condition that names series or instances by identifiers, theirs or of what is below: the index on these finds
them."""
Position = tuple[str | int, ...]
Statement = tuple[Query, Sequence[str | int | float]]
"""A statement and its parameters."""
Narrowing = Callable[[matching.Parameters], str]
"""Makes a further condition on the rows of the level of a search; `narrowing.py` has them."""


@dataclass(frozen=True, slots=True)
class Search:
    """One page of a search. `filters` are (tag, value); `study_uid` and `series_uid` come from the path of the
    resource; `include` names further attributes to return, or 'all' in the index of this level and those above.
    """

    level: Level
    filters: Sequence[tuple[int, str]] = ()
    study_uid: str | None = None
    series_uid: str | None = None
    patient: str = ""
    """Public id of the only patient whose objects count; '' for any."""
    limit: int = 100
    offset: int = 0
    include: frozenset[int] | Literal["all"] = field(default_factory=frozenset)
    after: Position | None = None
    """Only rows after this position in the order."""
    below: bool = False
    """Whether filters of lower levels apply too: at each of these levels something below must match."""
    fuzzy: bool = False
    """Whether person names match by sound (PS3.4 §C.2.2.2.1)."""
    combined: bool = False
    """Whether a date and the time beside it are matched as one range (PS3.4 §C.2.2.2.5)."""
    empty: bool = False
    """Whether two quotation marks match absent and empty values (PS3.4 §C.2.2.2.7)."""
    any_case: bool = False
    """Whether capitals and small letters are the same everywhere."""
    narrowings: tuple[Narrowing, ...] = ()
    """Conditions that each match meets besides its attributes."""


@dataclass(slots=True)
class Match:
    """One matching patient, study, series or instance. `attributes` maps 'ggggeeee' to its JSON, in tag order.

    UIDs of levels below the search are ''. Retrieve URLs are added by the web.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    attributes: dict[str, msgspec.Raw]
    position: Position
    """Position in the order; ends with the number of its row."""
    clashing_patient: str = ""
    """Public id of its patient if another patient has a study with the same UID; '' otherwise."""

    @property
    def row(self) -> int:
        return int(self.position[-1])


def search(wanted: Search) -> Statement:
    """The statement of a search and its parameters. Unsupported filters are left out.

    Raises: BadRequest for a value that is invalid for its attribute.
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
            _rows(wanted, _columns(wanted), conditions),
            ORDER[order],
            f"LIMIT {parameters.add(min(wanted.limit, _MAX_LIMIT))}",
            f"OFFSET {parameters.add(min(wanted.offset, _MAX_LIMIT))}" if wanted.offset else "",
        ]
    )
    return Query(f"search: {wanted.level}", sql), parameters.values


def total(wanted: Search, most: int) -> Statement:
    """The statement that counts the instances of all matches, page or not; exact up to `most`, more than it above."""
    parameters = matching.Parameters()
    conditions = _conditions(wanted, parameters)
    rows = _rows(wanted, f"{INSTANCES_OF_ROW[wanted.level]} AS n", conditions)
    sql = TOTAL.format(search=rows, limit=parameters.add(most + 1))
    return Query(f"total: instances of a search for a {wanted.level}", sql), parameters.values


def rows_found(wanted: Search, order: str = "", parameters: matching.Parameters | None = None) -> Statement:
    """The statement for row numbers and public ids of a page of matches, and its parameters.

    `order` is what the matches are ordered by, with the parameters that it has; without it they come in the order of
    rows, and those of the page are the ones after row number `after`. Raises as `search`.
    """
    parameters = parameters or matching.Parameters()
    row = f"{ALIAS[wanted.level]}.id"
    conditions = _conditions(wanted, parameters)
    in_order_of_rows = not conditions and not order
    if wanted.after is not None:
        conditions.append(f"{row} > {parameters.add(wanted.after[-1])}")
    columns = f"{row}, {ALIAS[wanted.level]}.public_id"
    sql = (
        f"{_rows(wanted, columns, conditions, by_row=in_order_of_rows)} ORDER BY {order + ', ' if order else ''}{row} "
        f"LIMIT {parameters.add(min(wanted.limit, _MAX_LIMIT))} OFFSET {parameters.add(min(wanted.offset, _MAX_LIMIT))}"
    )
    return Query(f"rows_found: of level {wanted.level}", sql), parameters.values


def count_found(wanted: Search) -> Statement:
    """The statement that counts all matches, page or not."""
    parameters = matching.Parameters()
    sql = _rows(wanted, "COUNT(*)", _conditions(wanted, parameters))
    return Query(f"count_found: of level {wanted.level}", sql), parameters.values


def _rows(wanted: Search, columns: str, conditions: Sequence[str], *, by_row: bool = False) -> str:
    """The statement up to its order: driven by identifiers if any are given for the searched rows, else by studies;
    `by_row`: by the rows themselves."""
    if by_row or any(_NAMES_ONE.match(condition) for condition in conditions):
        head = SEARCH[wanted.level]
    else:
        head = SEARCH_FROM_STUDIES[wanted.level]
        conditions = [*FROM_STUDIES[wanted.level], *conditions]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return head.format(columns=columns) + where


def _conditions(wanted: Search, parameters: matching.Parameters) -> list[str]:
    """The conditions on each row, given the tables of its level."""
    depth = max(DEPTH[wanted.level], 0)
    by_depth: dict[int, list[str]] = {0: [], 1: [], 2: []}
    if wanted.patient:
        by_depth[0].append(OF_ONE_PATIENT.format(patient=parameters.add(wanted.patient)))
    if wanted.study_uid is not None:
        by_depth[0].append(f"t.uid = {parameters.add(wanted.study_uid)}")
    if wanted.series_uid is not None and depth >= 1:
        by_depth[1].append(f"s.uid = {parameters.add(wanted.series_uid)}")
    filters = dict(wanted.filters)
    if wanted.combined:
        for day, time in _PAIRS:
            level, column, _match = KEYS[day]
            if day in filters and time in filters and _counts(wanted, level):
                both = matching.moment(column, KEYS[time][1], filters[day], filters[time], parameters)
                if both is not None:
                    by_depth[DEPTH[level]] += both
                    del filters[day], filters[time]
    for tag, value in filters.items():
        key = KEYS.get(tag)
        if key is None or not _counts(wanted, key[0]):
            continue
        level, column, match = key
        if wanted.empty and value.strip() == matching.EMPTY:
            by_depth[max(DEPTH[level], 0)].append(matching.empty(tag, column, match))
            continue
        if wanted.fuzzy:
            match = _FUZZY.get(tag, match)
        if wanted.any_case:
            match = matching.any_case(match)
        try:
            condition = match(column, value.encode("utf-8", "replace").decode(), parameters)
        except BadRequest as error:
            raise BadRequest(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {error}") from None
        if condition is not None:
            by_depth[max(DEPTH[level], 0)].append(condition)
    conditions = [condition for at in range(depth + 1) for condition in by_depth[at]]
    conditions += [
        (BELOW_BY_UID if any(map(_NAMES_ONE.match, by_depth[at])) else BELOW)[LEVELS[depth + 1], LEVELS[at + 1]].format(
            conditions=" AND ".join(by_depth[at])
        )
        for at in range(depth + 1, 3)
        if by_depth[at]
    ]
    if wanted.level == "patient" and conditions:
        conditions = [OF_PATIENTS.format(conditions=" AND ".join(conditions))]
    return conditions + [narrowing(parameters) for narrowing in wanted.narrowings]


def _counts(wanted: Search, level: Level) -> bool:
    """Whether filters of that level apply."""
    return wanted.below or DEPTH[level] <= DEPTH[wanted.level]


def _order(wanted: Search) -> str:
    return wanted.level if wanted.study_uid is None else _OF_A_STUDY[wanted.level]


_OF_A_STUDY: Final = {
    "patient": "patient",
    "study": "study",
    "series": "series of a study",
    "instance": "instances of a study",
}


def _with_study(wanted: Search) -> bool:
    """Whether study attributes are returned: for studies, all series and all instances (PS3.18 §10.6.3.3.2)."""
    return wanted.level == "study" or wanted.study_uid is None


def _with_series(wanted: Search) -> bool:
    return wanted.level == "series" or (wanted.level == "instance" and wanted.series_uid is None)


def _columns(wanted: Search) -> str:
    """The columns, always the same nineteen for `decode`: '' for an unwanted one; then the position."""
    depth = DEPTH[wanted.level]
    requested = _requested(wanted)
    extras = bool(requested)
    place = POSITION[_order(wanted)][0]
    patient = "t.patient" if depth >= 0 else "p.id"
    counts = [
        sql.format(patient=patient) if requested != "all" and tag in requested else "0"
        for tag, sql in zip(COUNTS_OF_PATIENT, PATIENT_COUNTS, strict=True)
    ]
    if depth < 0:
        return ", ".join(
            [*["''"] * 3, "p.attributes", *["''"] * 2, "0", "0", "''", "''", "0", *["''"] * 4, *counts, "''", place]
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
        SOP_CLASSES if requested != "all" and tags.SOP_CLASSES_IN_STUDY in requested else "''",
        *counts,
        CLASHING_PATIENT,
        place,
    ]
    return ", ".join(columns)


def _requested(wanted: Search) -> frozenset[int] | Literal["all"]:
    """The attributes returned beside the defaults: `include` and the attributes that are matched (§10.6.3.3)."""
    if wanted.include == "all":
        return "all"
    return frozenset(wanted.include) | {tag for tag, _ in wanted.filters}


def decode(wanted: Search, rows: Iterable[Row]) -> list[Match]:
    """The rows of `search(wanted)` as matches."""
    requested = _requested(wanted)
    names = requested if requested == "all" else frozenset(f"{tag:08X}" for tag in requested)
    shape = (_with_study(wanted), _with_series(wanted), DEPTH[wanted.level], names)
    matches = []
    for row in rows:
        values = tuple(row[:18])
        length = sum([len(value) for value in values if isinstance(value, str)])
        make = _cached_attributes if length <= _MAX_CACHED_LENGTH else _attributes
        study_uid, series_uid, sop_uid = values[:3]
        matches.append(Match(study_uid, series_uid, sop_uid, dict(make(values, *shape)), tuple(row[19:]), row[18]))
    return matches


def _attributes(
    row: Row, study: bool, series: bool, depth: int, names: frozenset[str] | Literal["all"]
) -> dict[str, msgspec.Raw]:
    """The attributes of one row, without its position: a pure function of the row, for the cache."""
    study_uid, series_uid, _sop_uid, t_always, t_extras, modalities, series_count, instances = row[:8]
    s_always, s_extras, in_series, i_always, i_extras, transfer_syntax_uid, sop_classes = row[8:15]
    always, maybe = [i_always], [t_extras, s_extras, i_extras]
    (always if study else maybe).append(t_always)
    (always if series else maybe).append(s_always)
    members = _members(always)
    for tag, value in _members(maybe).items():
        if names == "all" or tag in names:
            members.setdefault(tag, value)
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
    for number, count in zip(COUNTS_OF_PATIENT, row[15:18], strict=True):
        if names != "all" and f"{number:08X}" in names:
            made[f"{number:08X}"] = _count(count)
    if depth == 2:
        made["00083002"] = _raw("UI", transfer_syntax_uid)
    members.update(made)
    if not all(map(str.isascii, (*always, *maybe))):
        members["00080005"] = _UTF8
    return dict(sorted(members.items()))


_MAX_CACHED_LENGTH: Final = 8 << 10
"""Characters of a row whose attributes are cached: with all rows of the cache, some 20 MB at most."""
_cached_attributes = lru_cache(1024)(_attributes)
# The same studies are listed again and again, and making one from its row is two thirds of a search's time.

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _members(fragments: Iterable[str]) -> dict[str, msgspec.Raw]:
    joined = ",".join([fragment for fragment in fragments if fragment])
    return _decode_members(f"{{{joined}}}") if joined else {}


def _raw(vr: str, *values: str) -> msgspec.Raw:
    return msgspec.Raw(_encode({"vr": vr, "Value": values}) if values else _encode({"vr": vr}))


def _one_uid(uid: str) -> msgspec.Raw:
    """A Study or Series Instance UID, in which the index allows nothing but digits and periods."""
    return msgspec.Raw(b'{"vr":"UI","Value":["%b"]}' % uid.encode())


def _count(number: int) -> msgspec.Raw:
    return msgspec.Raw(b'{"vr":"IS","Value":[%d]}' % number)


_UTF8: Final = _raw("CS", "ISO_IR 192")
_ONLINE: Final = _raw("CS", "ONLINE")
