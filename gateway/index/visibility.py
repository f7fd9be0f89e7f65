"""The view of the index that roles give: whole studies with all that belongs to them, or nothing of a study.

A study is seen if one of the roles shows it; a patient is, with a study that is seen. So every count in a row that is
seen is right, and nothing shows that there is more. That all tables with data of patients are in the view is held by
a test.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from gateway.config.roles import Role
from gateway.database.view import View
from gateway.index.queries import visibility as queries
from gateway.index.values import like

_DAY_S: Final = 86400
_STEP_S: Final = 300
"""Seconds for which a view that depends on the time stays the same, so that it is prepared once."""


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
            shown.append(f"({' OR '.join(ways) or queries.NOTHING})")
    if not shown:
        return None
    tables = {"studies": " AND ".join(shown), **queries.BELOW}
    return View({table: queries.ROWS.format(table=table, seen=seen) for table, seen in tables.items()}, parameters)


def _conditions(role: Role, parameters: list[Any], now: float) -> list[str]:
    """The conditions of a role on a study `v`."""

    def condition(template: str, *values: Any) -> str:
        """The condition of a template with the values as parameters."""
        first = len(parameters) + 1
        parameters.extend(values)
        return template.format(values=", ".join([f"${number}" for number in range(first, len(parameters) + 1)]))

    conditions = [
        condition(template, *values)
        for template, values in (
            (queries.LABELLED, role.labels),
            (queries.NOT_LABELLED, role.without_labels),
            (queries.FROM_SOURCES, role.sources),
            (queries.OF_UIDS, role.studies),
        )
        if values
    ]
    if role.patients:
        plain = [each for each in role.patients if "*" not in each]
        ways = [condition(queries.OF_PATIENTS, *plain)] if plain else []
        patterns = [like(each).replace("*", "%") for each in role.patients if "*" in each]
        ways += [condition(queries.PATIENTS_LIKE, pattern) for pattern in patterns]
        conditions.append(f"({' OR '.join(ways)})")
    if role.days is not None:
        since = now - role.days * _DAY_S
        conditions.append(condition(queries.RECEIVED_SINCE, since - since % _STEP_S))
    return conditions
