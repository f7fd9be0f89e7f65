"""The statements that read the change log. Its entries are written by the scripts that make the changes."""

from __future__ import annotations

from gateway.database.database import Query

CHANGES_AFTER = Query(
    "changes_after: entries of the change log after a number, in order",
    "SELECT seq, kind, level, public_id, study_uid, at FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2",
)
LAST_CHANGE = Query("last_change: the highest number in the change log", "SELECT COALESCE(MAX(seq), 0) FROM changes")
