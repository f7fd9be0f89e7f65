"""Pages of patients. `p` is a patient, `t` a study of that patient."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query

OF_STUDIES: Final = "p.id IN (SELECT t.patient FROM studies t WHERE {conditions})"
"""Patients with a study that matches."""
HAS_LABEL: Final = (
    "p.public_id IN (SELECT l.public_id FROM resource_labels l WHERE l.level = 'patient' AND l.label = {label})"
)
BEYOND: Final = "p.id {sign} {row}"
_COLUMNS: Final = """p.public_id, p.patient_id, p.attributes,
    (SELECT COUNT(*) FROM studies o WHERE o.patient = p.id),
    COALESCE((SELECT SUM(o.instance_count) FROM studies o WHERE o.patient = p.id), 0),
    COALESCE((SELECT SUM(o.size) FROM studies o WHERE o.patient = p.id), 0),
    COALESCE((SELECT MAX(o.last_received) FROM studies o WHERE o.patient = p.id), 0), p.id"""


def page(conditions: str, *, descending: bool, limit: str) -> Query:
    """A page of patients, in the order in which they came or the other way round."""
    direction = "DESC" if descending else "ASC"
    return Query(
        "patient_list: a page of patients",
        f"SELECT {_COLUMNS} FROM patients p WHERE {conditions} ORDER BY p.id {direction} LIMIT {limit}",
    )
