"""The rows that a view of the index shows, table by table, and the conditions of roles on a study.

In all of them `v` is a row of the table; `{schema}.` before a table means all of its rows, without it those seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ROWS: Final = "SELECT v.* FROM {{schema}}.{table} v WHERE {seen}"
NOTHING: Final = "FALSE"

LABELLED: Final = """EXISTS (SELECT 1 FROM {{schema}}.resource_labels l WHERE l.label IN ({values}) AND (
    (l.level = 'study' AND l.public_id = v.public_id) OR (l.level = 'patient'
    AND l.public_id = (SELECT o.public_id FROM {{schema}}.patients o WHERE o.id = v.patient))))"""
NOT_LABELLED: Final = f"NOT {LABELLED}"
FROM_SOURCES: Final = "v.source IN ({values})"
OF_UIDS: Final = "v.uid IN ({values})"
OF_PATIENTS: Final = "v.patient_id IN ({values})"
PATIENTS_LIKE: Final = "v.patient_id LIKE {values} ESCAPE '!'"
RECEIVED_SINCE: Final = "v.last_received >= {values}"

_LEVELS: Final = {"patients": "patient", "studies": "study", "series": "series", "instances": "instance"}


def _about(spelled: Callable[[str], str]) -> str:
    """The condition on a row about a resource, by level and public id; `spelled` writes a level as the table does."""
    cases = " ".join(
        f"WHEN '{spelled(level)}' THEN EXISTS (SELECT 1 FROM {table} x WHERE x.public_id = v.public_id)"
        for table, level in _LEVELS.items()
    )
    return f"CASE v.level {cases} ELSE FALSE END"


_NAMED: Final = _about(str)
_TITLED: Final = _about(str.capitalize)
_OF_STUDY: Final = "EXISTS (SELECT 1 FROM studies x WHERE x.public_id = v.study)"
BELOW: Final = {
    "patients": "EXISTS (SELECT 1 FROM studies x WHERE x.patient = v.id)",
    "series": "EXISTS (SELECT 1 FROM studies x WHERE x.id = v.study)",
    "instances": "EXISTS (SELECT 1 FROM series x WHERE x.id = v.series)",
    "resource_labels": _NAMED,
    "resource_metadata": _NAMED,
    "attachments": _NAMED,
    "protected_patients": "EXISTS (SELECT 1 FROM patients x WHERE x.public_id = v.public_id)",
    "changes": _TITLED,
    "exports": _TITLED,
    "deliveries": _OF_STUDY,
    "incomplete": _OF_STUDY,
    "unstable_resources": _NAMED,
}
"""For each table beside `studies` the condition on a row that is seen; each names only tables before it."""
