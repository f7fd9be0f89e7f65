"""The view of the index that roles give: whole studies with all that belongs to them, or nothing of a study.

A study is seen if one of the roles shows it; a patient is, with a study that is seen. So every count in a row that is
seen is right, and nothing shows that there is more. Of jobs and remote queries each reader sees their own. That all
tables with data of patients are in the view is held by a test.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.config.roles import Role
from gateway.database.database import numbered
from gateway.database.view import View
from gateway.index.queries import visibility as queries
from gateway.index.values import like

_DAY_S: Final = 86400
_STEP_S: Final = 300
"""Seconds for which a view that depends on the time stays the same, so that it is prepared once."""


class _Origin(msgspec.Struct, frozen=True):
    """What a view is made of."""

    holders: tuple[tuple[Role, ...], ...]
    reader: str
    token: str = ""


def visible(*holders: Sequence[Role], reader: str = "", token: str = "", now: float | None = None) -> View | None:
    """The view of a holder of roles, None if one of them shows everything; of several holders together, such as a
    modality and its user, what each of them sees. `reader` is whose jobs are seen, with a `token` those alone that were
    asked for by it; `now` in seconds since 1970."""
    limited = _limited(tuple([tuple(roles) for roles in holders]))
    if not limited:
        return None
    return _visible(_Origin(limited, reader, token), int((time.time() if now is None else now) // _STEP_S))


def visible_again(origin: str) -> View | None:
    """The view with an `origin`, as it is now; None, which sees everything, where that is empty."""
    if not origin:
        return None
    made_of = msgspec.json.decode(origin, type=_Origin)
    return visible(*made_of.holders, reader=made_of.reader, token=made_of.token)


def shows_no_more(origin: str, view: View | None) -> bool:
    """Whether the view with an `origin`, as `visible_again` has it, shows nothing but what `view` shows, as far as the
    conditions of their roles say."""
    if view is None:
        return True
    if not origin:
        return False
    earlier, now = (msgspec.json.decode(each, type=_Origin).holders for each in (origin, view.origin))
    return all(any(_shown_by(roles, holder) for roles in earlier) for holder in now)


def _shown_by(roles: Sequence[Role], holder: Sequence[Role]) -> bool:
    """Whether each of the roles has the conditions of one that a holder has."""
    conditions = {msgspec.structs.replace(role, permissions=()) for role in holder}
    return all(msgspec.structs.replace(role, permissions=()) in conditions for role in roles)


@lru_cache(1024)
def _limited(holders: tuple[tuple[Role, ...], ...]) -> tuple[tuple[Role, ...], ...]:
    """The holders whose roles all have conditions, each once."""
    return tuple(dict.fromkeys(roles for roles in holders if all(role.has_conditions for role in roles)))


@lru_cache(256)
def _visible(made_of: _Origin, step: int) -> View:
    parameters: list[Any] = []
    shown = []
    for roles in made_of.holders:
        ways = [" AND ".join(_conditions(role, parameters, step * _STEP_S)) for role in roles]
        shown.append(f"({' OR '.join(ways) or queries.NOTHING})")
    parameters.extend((made_of.reader, made_of.token))
    given = {
        "reader": f"${len(parameters) - 1}",
        "token": f"${len(parameters)}",
        "scheduled": _of_whole_tenants(made_of.holders, "worklists", queries.OF_ONE_OF_TENANTS, parameters),
        "routed": _of_whole_tenants(made_of.holders, "route", queries.DELIVERY_OF_TENANTS, parameters),
    }
    rows = {
        "shown_studies": queries.SHOWN_STUDIES.format(seen=" AND ".join(shown)),
        "studies": queries.STUDIES,
        **{
            table: queries.ROWS.format(table=table, seen=seen.format(**given, schema="{schema}"))
            for table, seen in queries.BELOW.items()
        },
    }
    tenant = next((role.tenant for roles in made_of.holders for role in roles if role.tenant), "")
    return View(rows, parameters, origin=msgspec.json.encode(made_of).decode(), tenant=tenant)


def _of_whole_tenants(holders: Sequence[Sequence[Role]], permission: str, template: str, parameters: list[Any]) -> str:
    """The condition on a row `v` that is of a tenant as a whole: of one for which all the holders have a permission."""
    given = [{role.tenant for role in roles if role.grants_all_of_tenant(permission)} for roles in holders]
    tenants = sorted(set.intersection(*given))
    return _filled(template, tenants, parameters) if tenants else queries.NOTHING


def _filled(template: str, values: Sequence[Any], parameters: list[Any]) -> str:
    """The condition of a template, with the values as further parameters."""
    first = len(parameters) + 1
    parameters.extend(values)
    return template.format(values=numbered(len(values), first))


def _conditions(role: Role, parameters: list[Any], now: float) -> list[str]:
    """The conditions of a role on a study `v`."""

    conditions = [
        _filled(template, values, parameters)
        for template, values in (
            (queries.OF_TENANT, (role.tenant,) if role.tenant else ()),
            (queries.FROM_SOURCES, role.sources),
            (queries.OF_STUDIES, role.studies),
        )
        if values
    ]
    for template, labels in ((queries.LABELLED, role.labels), (queries.NOT_LABELLED, role.without_labels)):
        if labels:
            # No label has the slash in it that separates them: what has is none, and is in no study.
            written = [f"/{label.replace('/', '//')}/" for label in labels]
            among = " OR ".join([_filled(queries.WITH_LABEL, (each,), parameters) for each in written])
            conditions.append(template.format(among=among))
    if role.patients:
        plain = [each for each in role.patients if "*" not in each]
        ways = [_filled(queries.OF_PATIENTS, plain, parameters)] if plain else []
        patterns = [like(each).replace("*", "%") for each in role.patients if "*" in each]
        ways += [_filled(queries.PATIENTS_LIKE, (pattern,), parameters) for pattern in patterns]
        conditions.append(f"({' OR '.join(ways)})")
    if role.days is not None:
        conditions.append(_filled(queries.RECEIVED_SINCE, (now - role.days * _DAY_S,), parameters))
    return conditions
