"""The rows that a view of the index shows, table by table, and the conditions of roles on a study.

In all of them `v` is a row of the table; `{schema}.` before a table means all of its rows, without it those seen.
Braces are for `str.format` with the condition of the studies and the reader first, and the schema then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

SHOWN_STUDIES: Final = "SELECT v.* FROM {{schema}}.studies v WHERE {seen}"
STUDIES: Final = """SELECT v.id, v.patient, v.public_id, v.uid, v.flags, v.patient_id, v.patient_birth_date,
    v.patient_sex, v.date, v.time, v.accession_number, v.study_id, v.description, v.institution_name, v.modalities,
    v.series_count, v.instance_count, v.size, v.first_received, v.last_received, v.attributes, v.extras,
    CASE WHEN v.shared = 0 THEN 0
        WHEN EXISTS (SELECT 1 FROM shown_studies o WHERE o.uid = v.uid AND o.id <> v.id) THEN 1 ELSE 0 END AS shared,
    v.source, v.tenant, v.labels FROM shown_studies v"""
"""Every column of a study: only another one that is seen makes its UID one of several patients."""
ROWS: Final = "SELECT v.* FROM {{schema}}.{table} v WHERE {seen}"
NOTHING: Final = "FALSE"
DELIVERY: Final = "delivery"
"""The kind of the jobs of deliveries."""

LABELLED: Final = "(v.labels <> '' AND ({among}))"
WITH_LABEL: Final = "REPLACE(v.labels, {values}, '') <> v.labels"
"""Tells capitals from small letters in every database, which LIKE does not. To look for the labels of 200 studies in
their table took 350 us of a statement of 1040, this 40."""
NOT_LABELLED: Final = f"NOT {LABELLED}"
OF_TENANT: Final = "(v.tenant = {values} AND v.tenant <> '')"
"""The second half lets the database use its index of the studies that belong to a tenant."""
FROM_SOURCES: Final = "v.source IN ({values})"
OF_STUDIES: Final = "(v.uid IN ({values}) OR v.public_id IN ({values}))"
OF_PATIENTS: Final = "v.patient_id IN ({values})"
PATIENTS_LIKE: Final = "v.patient_id LIKE {values} ESCAPE '!'"
RECEIVED_SINCE: Final = "v.last_received >= {values}"

OF_ONE_OF_TENANTS: Final = "v.tenant IN ({values})"
DELIVERY_OF_TENANTS: Final = """EXISTS (SELECT 1 FROM deliveries x JOIN studies y ON y.public_id = x.study
    WHERE x.job = v.id AND y.tenant IN ({values}))"""

_LEVELS: Final = {"patients": "patient", "studies": "study", "series": "series", "instances": "instance"}


def _about(spelled: Callable[[str], str], also: Mapping[str, str] | None = None) -> str:
    """The condition on a row about a resource, by level and public id; `spelled` writes a level as the table does.
    `also` has further conditions on the row `x` of a resource, by its table."""
    cases = " ".join(
        f"WHEN '{spelled(level)}' THEN EXISTS (SELECT 1 FROM {table} x WHERE x.public_id = v.public_id"
        f"{(also or {}).get(table, '')})"
        for table, level in _LEVELS.items()
    )
    return f"CASE v.level {cases} ELSE FALSE END"


_ALL_SEEN: Final = {
    "patients": " AND NOT EXISTS (SELECT 1 FROM {schema}.studies o WHERE o.patient = x.id"
    " AND o.id NOT IN (SELECT y.id FROM studies y WHERE y.patient = x.id))"
}
"""What happens to a patient tells of all studies of the patient."""
_NAMED: Final = _about(str)
_HAPPENED: Final = _about(str.capitalize, _ALL_SEEN)
_OWN_JOB: Final = "v.requester = {reader} AND v.requester <> '' AND ({token} = '' OR v.requester_token = {token})"
_OF_STUDY: Final = "EXISTS (SELECT 1 FROM studies x WHERE x.public_id = v.study)"
BELOW: Final = {
    "patients": "EXISTS (SELECT 1 FROM studies x WHERE x.patient = v.id)",
    "person_names": "EXISTS (SELECT 1 FROM studies x WHERE x.id = v.study)",
    "series": "EXISTS (SELECT 1 FROM studies x WHERE x.id = v.study)",
    "instances": "EXISTS (SELECT 1 FROM series x WHERE x.id = v.series)",
    "resource_labels": _NAMED,
    "resource_metadata": _NAMED,
    "attachments": _NAMED,
    "protected_patients": "EXISTS (SELECT 1 FROM patients x WHERE x.public_id = v.public_id)",
    "changes": _HAPPENED,
    "exports": _HAPPENED,
    "deliveries": _OF_STUDY,
    "incomplete": _OF_STUDY,
    "unstable_resources": _about(str, _ALL_SEEN),
    "commitment_items": "EXISTS (SELECT 1 FROM instances x JOIN {schema}.series y ON y.id = x.series"
    " JOIN {schema}.studies z ON z.id = y.study JOIN {schema}.commitments c ON c.id = v.commitment"
    " WHERE x.uid = v.sop_instance_uid AND c.tenant IN ('', z.tenant))",
    "commitments": "EXISTS (SELECT 1 FROM commitment_items x WHERE x.commitment = v.id)",
    "worklist_items": "{scheduled}",
    "performed_steps": "{scheduled}",
    "remote_queries": "v.requester = {reader} AND v.requester <> ''",
    "jobs": f"({_OWN_JOB} OR v.kind = '{DELIVERY}' AND {{routed}})",
    "job_progress": "EXISTS (SELECT 1 FROM jobs x WHERE x.id = v.job)",
    "audit_log": "EXISTS (SELECT 1 FROM studies x WHERE x.uid = v.study_uid)",
}
"""For each table beside `studies` the condition on a row that is seen; each names only tables before it. Jobs and
remote queries belong to whoever asked for them: to the `{reader}`; of the jobs, if the `{token}` is not empty, those
alone that were asked for by that API token, which has fewer roles than its user. What is a tenant's is `{scheduled}`,
and the jobs of its deliveries are `{routed}`, for those whom a role permits it for all of the tenant. What no role with
conditions gives is not seen."""
