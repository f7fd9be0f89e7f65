"""Totals, and studies by the time of their last received instance."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.database.database import Query
from gateway.index.queries.columns import CLASHING_PATIENT

STATISTICS = Query(
    "statistics: totals of patients, studies, series, instances and bytes",
    """
    SELECT (SELECT COUNT(*) FROM patients), COUNT(*), COALESCE(SUM(series_count), 0),
        COALESCE(SUM(instance_count), 0), COALESCE(SUM(size), 0)
    FROM studies
    """,
)
NEWEST_STUDY = Query(
    "newest_study: when a study has last received something, 0 without any",
    "SELECT COALESCE(MAX(last_received), 0) FROM studies",
)
ATTACHED_BYTES = Query("attached_bytes: of all attachments", "SELECT COALESCE(SUM(size), 0) FROM attachments")

_RECENT = f"""
    SELECT t.id, t.last_received, t.public_id, t.uid, t.patient_id, t.patient_birth_date, t.patient_sex, t.date,
        t.time, t.accession_number, t.description, t.modalities, t.series_count, t.instance_count, t.size,
        t.attributes, t.flags, (SELECT COUNT(*) FROM incomplete c WHERE c.study = t.public_id), {CLASHING_PATIENT}
    FROM studies t"""
RECENT_ORDER = "ORDER BY t.last_received DESC, t.id DESC"
RECENT_AFTER = "(t.last_received, t.id) < ({last_received}, {id})"
NAMED_LIKE = "t.id IN (SELECT n.study FROM person_names n WHERE n.tag = {tag} AND n.name LIKE {pattern} ESCAPE '!')"


def recent(conditions: Sequence[str], limit: str) -> Query:
    """Studies by the time of their last received instance, newest first."""
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return Query("recent: studies, newest first", f"{_RECENT}{where} {RECENT_ORDER} LIMIT {limit}")
