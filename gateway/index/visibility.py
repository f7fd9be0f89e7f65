"""The view of the index that roles give: whole studies with all that belongs to them, or nothing of a study.

A study is seen if one of the roles shows it; a patient is, with a study that is seen. So every count in a row that is
seen is right, and nothing shows that there is more. That all tables with data of patients are in the view is held by
a test.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.config.roles import Role
from gateway.database.view import View
from gateway.index.values import like

_DAY_S: Final = 86400
_STEP_S: Final = 300
"""Seconds for which a view that depends on the time stays the same, so that it is prepared once."""

_LABELLED: Final = """EXISTS (SELECT 1 FROM {{schema}}.resource_labels l WHERE l.label IN ({labels}) AND (
    (l.level = 'study' AND l.public_id = v.public_id) OR (l.level = 'patient'
    AND l.public_id = (SELECT o.public_id FROM {{schema}}.patients o WHERE o.id = v.patient))))"""


def _known(kind: Mapping[str, str]) -> str:
    """The condition on level and public id of a row `v` about a resource: one that is seen. `kind` has the level's
    spelling of each table."""
    cases = " ".join(
        f"WHEN '{level}' THEN EXISTS (SELECT 1 FROM {table} x WHERE x.public_id = v.public_id)"
        for table, level in kind.items()
    )
    return f"CASE v.level {cases} ELSE FALSE END"


_LEVELS: Final = {"patients": "patient", "studies": "study", "series": "series", "instances": "instance"}
_NAMED: Final = _known(_LEVELS)
_TITLED: Final = _known({table: level.capitalize() for table, level in _LEVELS.items()})
_BELOW: Final = {
    "patients": "EXISTS (SELECT 1 FROM studies x WHERE x.patient = v.id)",
    "series": "EXISTS (SELECT 1 FROM studies x WHERE x.id = v.study)",
    "instances": "EXISTS (SELECT 1 FROM series x WHERE x.id = v.series)",
    "resource_labels": _NAMED,
    "resource_metadata": _NAMED,
    "attachments": _NAMED,
    "protected_patients": "EXISTS (SELECT 1 FROM patients x WHERE x.public_id = v.public_id)",
    "changes": _TITLED,
    "exports": _TITLED,
    "deliveries": "EXISTS (SELECT 1 FROM studies x WHERE x.public_id = v.study)",
    "incomplete": "EXISTS (SELECT 1 FROM studies x WHERE x.public_id = v.study)",
    "unstable_resources": _NAMED,
}
"""For each table beside `studies` the condition on a row `v` that is seen."""


def visible(*holders: Sequence[Role], now: float | None = None) -> View | None:
    """The view of a holder of roles, None if one of them shows everything; of several holders together, such as a
    modality and its user, what each of them sees. `now` in seconds since 1970."""
    now = time.time() if now is None else now
    parameters: list[Any] = []
    shown = []
    for roles in holders:
        ways: list[str] = []
        for role in roles:
            conditions = _conditions(role, parameters, now)
            if not conditions:
                break
            ways.append(" AND ".join(conditions))
        else:
            shown.append(f"({' OR '.join(ways) or 'FALSE'})")
    if not shown:
        return None
    tables = {"studies": " AND ".join(shown), **_BELOW}
    rows = {table: f"SELECT v.* FROM {{schema}}.{table} v WHERE {seen}" for table, seen in tables.items()}
    return View(rows, parameters)


def _conditions(role: Role, parameters: list[Any], now: float) -> list[str]:
    """The conditions of a role on a study `v`."""

    def add(values: Iterable[Any]) -> str:
        places = []
        for value in values:
            parameters.append(value)
            places.append(f"${len(parameters)}")
        return ", ".join(places)

    conditions = []
    if role.labels:
        conditions.append(_LABELLED.format(labels=add(role.labels)))
    if role.without_labels:
        conditions.append(f"NOT {_LABELLED.format(labels=add(role.without_labels))}")
    if role.sources:
        conditions.append(f"v.source IN ({add(role.sources)})")
    if role.studies:
        conditions.append(f"v.uid IN ({add(role.studies)})")
    if role.patients:
        plain = [each for each in role.patients if "*" not in each]
        patterns = [like(each).replace("*", "%") for each in role.patients if "*" in each]
        ways = [f"v.patient_id IN ({add(plain)})"] if plain else []
        ways += [f"v.patient_id LIKE {add([pattern])} ESCAPE '!'" for pattern in patterns]
        conditions.append(f"({' OR '.join(ways)})")
    if role.days is not None:
        since = now - role.days * _DAY_S
        conditions.append(f"v.last_received >= {add([since - since % _STEP_S])}")
    return conditions
