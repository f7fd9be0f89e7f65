"""The fragments of a search that `search.py` and `matching.py` assemble."""

from __future__ import annotations

from gateway.database.database import Query

SEARCH = {
    "patient": "SELECT {columns} FROM patients p",
    "study": "SELECT {columns} FROM studies t",
    "series": "SELECT {columns} FROM series s JOIN studies t ON t.id = s.study",
    "instance": "SELECT {columns} FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study",
}
SEARCH_FROM_STUDIES = {
    **SEARCH,
    "series": "SELECT {columns} FROM studies t CROSS JOIN series s",
    "instance": "SELECT {columns} FROM studies t CROSS JOIN series s CROSS JOIN instances i",
}
"""The statements of SEARCH study by study, in the order of the index on their dates: a page is complete as soon as it
is full, and if little matches, studies are scanned and never instances. `FROM_STUDIES` has the conditions that join
their rows, which only SQLite accepts behind a CROSS JOIN."""
FROM_STUDIES: dict[str, tuple[str, ...]] = {
    "patient": (),
    "study": (),
    "series": ("s.study = t.id",),
    "instance": ("s.study = t.id", "i.series = s.id"),
}
ORDER = {
    "patient": "ORDER BY p.id DESC",
    "study": "ORDER BY t.date DESC, t.id DESC",
    "series": "ORDER BY t.date DESC, t.id DESC, s.id DESC",
    "instance": "ORDER BY t.date DESC, t.id DESC, s.id DESC, i.id DESC",
    "series of a study": "ORDER BY s.number, s.id",
    "instances of a study": "ORDER BY s.number, s.id, i.number, i.id",
}
POSITION = {
    "patient": ("p.id", "<"),
    "study": ("t.date, t.id", "<"),
    "series": ("t.date, t.id, s.id", "<"),
    "instance": ("t.date, t.id, s.id, i.id", "<"),
    "series of a study": ("s.number, s.id", ">"),
    "instances of a study": ("s.number, s.id, i.number, i.id", ">"),
}
"""By order: the columns of a row's position, and the comparison of later rows with it."""
OF_PATIENTS = "p.id IN (SELECT t.patient FROM studies t WHERE {conditions})"
"""Patients with a study that matches."""
BELOW_BY_UID = {
    ("study", "series"): "t.id IN (SELECT s.study FROM series s WHERE {conditions})",
    ("study", "instance"): "t.id IN (SELECT s.study FROM instances i JOIN series s ON s.id = i.series "
    "WHERE {conditions})",
    ("series", "instance"): "s.id IN (SELECT i.series FROM instances i WHERE {conditions})",
}
"""By the level of a search and a lower level: rows with a matching row below, if a UID is among the conditions, and
few rows match."""
BELOW = {
    ("study", "series"): "EXISTS (SELECT 1 FROM series s WHERE s.study = t.id AND {conditions})",
    ("study", "instance"): "EXISTS (SELECT 1 FROM series s JOIN instances i ON i.series = s.id "
    "WHERE s.study = t.id AND {conditions})",
    ("series", "instance"): "EXISTS (SELECT 1 FROM instances i WHERE i.series = s.id AND {conditions})",
}
"""As BELOW_BY_UID where many rows may match: from above, the first match ends the search."""
SOP_CLASSES = (
    "COALESCE((SELECT group_concat(c.uid, '\\') FROM (SELECT DISTINCT ci.sop_class_uid AS uid FROM series cs "
    "JOIN instances ci ON ci.series = cs.id WHERE cs.study = t.id) c), '')"
)
OF_SOP_CLASS = (
    "EXISTS (SELECT 1 FROM series cs JOIN instances ci ON ci.series = cs.id WHERE cs.study = t.id AND {condition})"
)
PATIENT_COUNTS = (
    "(SELECT COUNT(*) FROM studies o WHERE o.patient = {patient})",
    "(SELECT SUM(o.series_count) FROM studies o WHERE o.patient = {patient})",
    "(SELECT SUM(o.instance_count) FROM studies o WHERE o.patient = {patient})",
)
INSTANCES_OF_ROW = {
    "patient": "(SELECT SUM(o.instance_count) FROM studies o WHERE o.patient = p.id)",
    "study": "t.instance_count",
    "series": "s.instance_count",
    "instance": "1",
}
TOTAL = "SELECT COALESCE(SUM(x.n), 0) FROM ({search} LIMIT {limit}) x"
_UNDER = "SELECT i.id, i.key, i.data_set_offset, i.size, i.transfer_syntax_uid FROM instances i"
_UNDER_ORDER = "AND i.id > $2 ORDER BY i.id LIMIT $3"
INSTANCES_UNDER = {
    level: Query(f"instances_under: a page of the instances of a {level}, by row number", sql)
    for level, sql in {
        "patient": f"{_UNDER} JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study "
        f"WHERE t.patient = $1 {_UNDER_ORDER}",
        "study": f"{_UNDER} JOIN series s ON s.id = i.series WHERE s.study = $1 {_UNDER_ORDER}",
        "series": f"{_UNDER} WHERE i.series = $1 {_UNDER_ORDER}",
        "instance": f"{_UNDER} WHERE i.id = $1 {_UNDER_ORDER}",
    }.items()
}
NAMED = "t.id IN (SELECT n.study FROM person_names n WHERE n.tag = {tag} AND ({condition}))"
"""Studies with a person name; `condition` is about n.name."""
NOT_NAMED = "t.id NOT IN (SELECT n.study FROM person_names n WHERE n.tag = {tag})"
LABELLED = "SELECT l.public_id FROM resource_labels l WHERE l.level = '{level}'{among}"
WITH_METADATA = (
    "EXISTS (SELECT 1 FROM resource_metadata m WHERE m.level = '{level}' AND m.public_id = {public_id} "
    "AND m.name = {name} AND ({condition}))"
)
METADATA_VALUE = (
    "COALESCE((SELECT m.value FROM resource_metadata m WHERE m.level = '{level}' AND m.public_id = {public_id} "
    "AND m.name = {name}), '')"
)
NAME_OF_STUDY = "COALESCE((SELECT MIN(n.name) FROM person_names n WHERE n.study = t.id AND n.tag = {tag}), '')"
OF_STUDIES_OF_PATIENT = "(SELECT MIN({column}) FROM studies t WHERE t.patient = p.id)"
