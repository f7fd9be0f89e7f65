"""The statements about what came when and from where, which read a bounded number of rows."""

from __future__ import annotations

from gateway.database.database import Query

NEWEST_INSTANCES = Query(
    "newest_instances: of the $3 newest, those received since $1, by interval of $2 seconds and sender",
    """
    SELECT CAST(received_at AS BIGINT) / CAST($2 AS BIGINT), calling_aet, via, COUNT(*), SUM(size)
    FROM (SELECT received_at, calling_aet, via, size FROM instances ORDER BY id DESC LIMIT $3) i
    WHERE received_at >= $1
    GROUP BY CAST(received_at AS BIGINT) / CAST($2 AS BIGINT), calling_aet, via
    """,
)
OLDEST_OF_NEWEST = Query(
    "oldest_of_newest: how many of the $1 newest instances there are, and when the oldest of them was received",
    """
    SELECT COUNT(*), COALESCE(MIN(received_at), 0)
    FROM (SELECT received_at FROM instances ORDER BY id DESC LIMIT $1) i
    """,
)
STUDY_BEHIND = Query(
    "study_behind: when the newest study but $1 last received something",
    "SELECT last_received FROM studies ORDER BY last_received DESC, id DESC LIMIT 1 OFFSET $1",
)
NEWEST_STUDIES = Query(
    "newest_studies: those that received something since $1, at most $3, by interval of $2 seconds and first sender",
    """
    SELECT CAST(t.last_received AS BIGINT) / CAST($2 AS BIGINT), t.calling_aet, t.via, SUM(t.instance_count),
        SUM(t.size)
    FROM (
        SELECT s.last_received, s.instance_count, s.size, COALESCE(i.calling_aet, '') AS calling_aet,
            COALESCE(i.via, '') AS via
        FROM (SELECT id, last_received, instance_count, size FROM studies WHERE last_received >= $1
            ORDER BY last_received DESC, id DESC LIMIT $3) s
        LEFT JOIN instances i ON i.id = (SELECT MIN(n.id) FROM instances n
            WHERE n.series = (SELECT MIN(e.id) FROM series e WHERE e.study = s.id))) t
    GROUP BY CAST(t.last_received AS BIGINT) / CAST($2 AS BIGINT), t.calling_aet, t.via
    """,
)
