"""Which resources have received something and are not stable yet, and the entries of the change log on them."""

from __future__ import annotations

from gateway.database.database import Query

WATCHED_SO_FAR = Query(
    "watched_so_far: the change up to which arrivals are noted, and the newest change",
    "SELECT up_to, (SELECT COALESCE(MAX(seq), 0) FROM changes) FROM stability_watch",
)
SET_WATCHED = Query("set_watched: arrivals up to this change are noted", "UPDATE stability_watch SET up_to = $1")
RECEIVING = Query(
    "receiving: series that received the instances of a part of the change log, with study, patient and Study UID. "
    "Other changes of instances have another time than their arrival",
    """
    SELECT DISTINCT s.id, s.public_id, t.public_id, p.public_id, t.uid
    FROM changes c JOIN instances i ON i.public_id = c.public_id AND i.received_at = c.at
    JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study JOIN patients p ON p.id = t.patient
    WHERE c.seq > $1 AND c.seq <= $2 AND c.level = 'Instance' AND c.kind IN ('NewInstance', 'UpdatedAttachment')
    ORDER BY s.id
    """,
)
NOTE_UNSTABLE = Query(
    "note_unstable: a resource has received something",
    """
    INSERT INTO unstable_resources (level, public_id, study_uid, since) VALUES ($1, $2, $3, $4)
    ON CONFLICT (level, public_id) DO UPDATE SET since = excluded.since
    """,
)
STABLE_SINCE = Query(
    "stable_since: resources that received nothing after a time, those below before those above",
    """
    SELECT level, public_id, study_uid FROM unstable_resources WHERE since <= $1
    ORDER BY since, CASE level WHEN 'series' THEN 0 WHEN 'study' THEN 1 ELSE 2 END, public_id LIMIT $2
    """,
)
SINCE_LATER = Query(
    "since_later: whether the clock has been set back behind an arrival",
    "SELECT 1 FROM unstable_resources WHERE since > $1 LIMIT 1",
)
BEGIN_AGAIN = Query(
    "begin_again: the clock has been set back; what arrived after a time counts as arrived then",
    "UPDATE unstable_resources SET since = $1 WHERE since > $1",
)
FORGET_UNSTABLE = Query(
    "forget_unstable: a resource is stable, or has gone",
    "DELETE FROM unstable_resources WHERE level = $1 AND public_id = $2 AND since <= $3 RETURNING level",
)
