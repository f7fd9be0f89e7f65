"""The inbox: instances that outsiders have uploaded, and that wait for a person. `via` says that they came so; a label,
which people may set, that they still wait."""

from __future__ import annotations

from gateway.database.database import Query

_WAITING = """FROM resource_labels l JOIN instances i ON i.public_id = l.public_id JOIN series s ON s.id = i.series
    JOIN studies t ON t.id = s.study WHERE l.label = $1 AND l.level = 'instance' AND i.via = 'inbox'"""
WAITING_STUDIES = Query(
    "waiting_studies: some studies with waiting instances, the earliest first: public id, how many wait, how many the"
    " study has, and when the last came",
    f"""
    SELECT t.public_id, COUNT(*), t.instance_count, MAX(i.received_at) {_WAITING}
    GROUP BY t.id, t.public_id, t.instance_count ORDER BY MIN(i.received_at), t.id LIMIT $2
    """,
)
WAITING_INSTANCES = Query(
    "waiting_instances: public ids of the waiting instances of a study",
    f"SELECT i.public_id {_WAITING} AND t.public_id = $2 ORDER BY i.id",
)
STILL_WAITS = Query(
    "still_waits: a row if an instance that came by the inbox has its label",
    """
    SELECT 1 FROM resource_labels l JOIN instances i ON i.public_id = l.public_id
    WHERE l.level = 'instance' AND l.public_id = $1 AND l.label = $2 AND i.via = 'inbox'
    """,
)
STUDY_IS_NEW = Query(
    "study_is_new: a row if all instances of a study came by the inbox",
    """
    SELECT 1 FROM studies t WHERE t.public_id = $1 AND NOT EXISTS (
        SELECT 1 FROM series s JOIN instances i ON i.series = s.id WHERE s.study = t.id AND i.via <> 'inbox')
    """,
)
