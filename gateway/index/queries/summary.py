"""Totals of the archive."""

from __future__ import annotations

from gateway.database.database import Query

STATISTICS = Query(
    "statistics: totals of patients, studies, series, instances and bytes",
    """
    SELECT (SELECT COUNT(*) FROM patients), COUNT(*), COALESCE(SUM(series_count), 0),
        COALESCE(SUM(instance_count), 0), COALESCE(SUM(size), 0)
    FROM studies
    """,
)
STATISTICS_SEEN = Query(
    "statistics_seen: the same totals, for a reader who sees a part. Each patient has a study, so that patients need "
    "not be looked at one by one",
    """
    SELECT COUNT(DISTINCT patient), COUNT(*), COALESCE(SUM(series_count), 0),
        COALESCE(SUM(instance_count), 0), COALESCE(SUM(size), 0)
    FROM studies
    """,
)
NEWEST_STUDY = Query(
    "newest_study: when a study has last received something, 0 without any",
    "SELECT COALESCE(MAX(last_received), 0) FROM studies",
)
ATTACHED_BYTES = Query("attached_bytes: of all attachments", "SELECT COALESCE(SUM(size), 0) FROM attachments")
