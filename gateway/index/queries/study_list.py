"""Pages of studies in the order of a column. `t` is a study, and `n` its first name in the order of names.

A page is found by its keys alone, of which the database sorts no more than those, and read then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.database.database import Query, numbered
from gateway.index.queries.columns import CLASHING_PATIENT, PATIENT_OF_STUDY

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "received": ("t.last_received", "t.id"),
    "name": ("n.name", "n.study"),
    "patient-id": ("t.patient_id", "t.date", "t.id"),
    "birth-date": ("t.patient_birth_date", "t.date", "t.id"),
    "date": ("t.date", "t.id"),
    "accession": ("t.accession_number", "t.date", "t.id"),
    "description": ("t.description", "t.date", "t.id"),
    "modality": ("t.modalities", "t.id"),
    "source": ("t.source", "t.id"),
    "series": ("t.series_count", "t.id"),
    "instances": ("t.instance_count", "t.id"),
    "size": ("t.size", "t.id"),
    "labels": ("l.label", "t.id"),
}
"""For each order the columns that make it, of which the row number is the last. The last six have no index of their
own: those on counts would be written with every instance that comes."""
REST_KEYS: Final = ("t.id",)
"""The order of studies without a name, and of those without labels."""
NUMBERS: Final = frozenset(("t.last_received", "t.id", "n.study", "t.series_count", "t.instance_count", "t.size"))
"""Those of the columns that hold numbers; the others hold texts."""
STUDIES: Final = "FROM studies t WHERE {conditions}"
NAMED: Final = """FROM person_names n CROSS JOIN studies t WHERE n.tag = {tag} AND t.id = n.study
    AND n.name = (SELECT MIN(o.name) FROM person_names o WHERE o.study = n.study AND +o.tag = n.tag) AND {conditions}"""
"""Each study once, in the order of the index on names. With the sign before its tag, the first name of a study is
looked for among those of the study, not among all of the tag."""
UNNAMED: Final = """FROM studies t
    WHERE NOT EXISTS (SELECT 1 FROM person_names o WHERE o.study = t.id AND o.tag = {tag}) AND {conditions}"""
LABELLED: Final = """FROM resource_labels l CROSS JOIN studies t WHERE l.level = 'study' AND t.public_id = l.public_id
    AND l.label = (SELECT MIN(o.label) FROM resource_labels o WHERE o.level = 'study' AND o.public_id = l.public_id)
    AND {conditions}"""
"""Each study once, in the order of its first label."""
UNLABELLED: Final = """FROM studies t
    WHERE NOT EXISTS (SELECT 1 FROM resource_labels o WHERE o.level = 'study' AND o.public_id = t.public_id)
    AND {conditions}"""
EVERY: Final = "true"
NOTHING: Final = "false"

HAS_NAME_LIKE: Final = (
    "t.id IN (SELECT n.study FROM person_names n WHERE n.tag = {tag} AND n.name LIKE {pattern} ESCAPE '!')"
)
PATIENT_ID_LIKE: Final = "LOWER(t.patient_id) LIKE {pattern} ESCAPE '!'"
ACCESSION_NUMBER_LIKE: Final = "LOWER(t.accession_number) LIKE {pattern} ESCAPE '!'"
DESCRIPTION_LIKE: Final = "LOWER(t.description) LIKE {pattern} ESCAPE '!'"
HAS_MODALITY: Final = "t.modalities LIKE {pattern} ESCAPE '!'"
FROM_SOURCE: Final = "t.source = {source}"
SINCE: Final = "t.date >= {date}"
UNTIL: Final = "t.date <= {date} AND t.date <> ''"
IS_ONE: Final = "t.public_id = {public_id}"
HAS_LABEL: Final = (
    "t.public_id IN (SELECT l.public_id FROM resource_labels l WHERE l.level = 'study' AND l.label = {label})"
)

_COLUMNS: Final = f"""t.public_id, t.uid, {PATIENT_OF_STUDY}, t.patient_id, t.attributes, t.patient_birth_date,
    t.patient_sex, t.date, t.time, t.accession_number, t.description, t.modalities, t.source, t.series_count,
    t.instance_count, t.size, t.last_received,
    (SELECT COUNT(*) FROM incomplete c WHERE c.study = t.public_id), {CLASHING_PATIENT}"""
COLUMN_COUNT: Final = 19
"""The number of columns before the position of a row."""


def page(source: str, keys: Sequence[str], *, descending: bool, limit: str) -> Query:
    """A page of the rows of a `source`, one of those above, in the order of `keys`."""
    direction = "DESC" if descending else "ASC"
    names = [*[f"k{number}" for number in range(len(keys) - 1)], "id"]
    chosen = ", ".join([f"{key} AS {name}" for key, name in zip(keys, names, strict=True)])
    inner, outer = (
        ", ".join([f"{each} {direction}" for each in columns]) for columns in (keys, [f"x.{name}" for name in names])
    )
    return Query(
        "study_list: a page of studies",
        f"SELECT {_COLUMNS}, {', '.join([f'x.{name}' for name in names])} "
        f"FROM (SELECT {chosen} {source} ORDER BY {inner} LIMIT {limit}) x "
        f"JOIN studies t ON t.id = x.id ORDER BY {outer}",
    )


def count(conditions: str, limit: str) -> Query:
    """The number of studies that fulfil the conditions, of which no more than `limit` are looked for."""
    source = STUDIES.format(conditions=conditions)
    return Query("study_list: how many there are", f"SELECT COUNT(*) FROM (SELECT t.id {source} LIMIT {limit}) x")


def beyond(keys: Sequence[str], values: Sequence[str], *, descending: bool) -> str:
    """The condition on rows after a position in the order, which has the values of the keys."""
    return f"({', '.join(keys)}) {'<' if descending else '>'} ({', '.join(values)})"


SERIES = Query(
    "series_list: of a study, by their numbers",
    "SELECT s.public_id, s.uid, s.modality, s.number, s.description, s.body_part, s.protocol_name, s.date, s.time, "
    "s.instance_count, s.size, s.id FROM studies t JOIN series s ON s.study = t.id "
    "WHERE t.public_id = $1 AND (s.number, s.id) > ($2, $3) ORDER BY s.number, s.id LIMIT $4",
)
RECENT_SOURCES = Query(
    "recent_sources: of the studies that received something last",
    "SELECT DISTINCT x.source FROM (SELECT t.source FROM studies t ORDER BY t.last_received DESC LIMIT $1) x "
    "WHERE x.source <> '' ORDER BY x.source",
)


def labels(count: int) -> Query:
    """The labels of so many studies, by their public ids."""
    return Query(
        "labels_of_studies: of a page",
        "SELECT l.public_id, l.label FROM resource_labels l WHERE l.level = 'study' "
        f"AND l.public_id IN ({numbered(count)}) ORDER BY l.label",
    )
