"""The segments of the store as rows."""

from __future__ import annotations

from gateway.database.database import Query

ADD_SEGMENT = Query(
    "add_segment: one that begins",
    "INSERT INTO segments (name, mark, live, ended, checked_at) VALUES ($1, $2, 0, 0, 0) ON CONFLICT (name) DO NOTHING",
)
ADVANCE_SEGMENT = Query(
    "advance_segment: the rows of what is in it are committed up to $2, $3 bytes more",
    "UPDATE segments SET mark = $2, live = live + $3 WHERE name = $1",
)
END_SEGMENT = Query("end_segment: nothing is added to it any more", "UPDATE segments SET ended = 1 WHERE name = $1")
LIST_SEGMENTS = Query("list_segments: all, oldest first", "SELECT name, mark, live, ended FROM segments ORDER BY name")
ERASED_IN_SEGMENT = Query("erased_in_segment: $2 bytes fewer", "UPDATE segments SET live = live - $2 WHERE name = $1")
SPARSE_SEGMENTS = Query(
    "sparse_segments: those of which a quarter and more than $1 bytes are dead, oldest first",
    "SELECT name FROM segments WHERE ended = 1 AND live > 0 AND live * 4 < mark * 3 AND mark - live > $1 "
    "ORDER BY name LIMIT $2",
)
LIST_SMALL_FILES = Query(
    "list_small_files: instances of up to $2 bytes that are files of their own, with their origins, by key after $1",
    """
    SELECT i.key, i.via, i.received_at, i.calling_aet, i.called_aet, i.peer, COALESCE(c.lacking, '')
    FROM instances i LEFT JOIN incomplete c ON c.key = i.key
    WHERE i.key > $1 AND i.size <= $2 AND SUBSTR(i.key, 17, 1) <> '-' ORDER BY i.key LIMIT $3
    """,
)
MOVE_INSTANCE = Query("move_instance: it is elsewhere now", "UPDATE instances SET key = $2 WHERE key = $1 RETURNING id")
MOVE_INCOMPLETE = Query("move_incomplete: as the instance", "UPDATE incomplete SET key = $2 WHERE key = $1")
MOVE_UNREADABLE = Query(
    "move_unreadable: it is elsewhere now", "UPDATE unreadable_files SET key = $2 WHERE key = $1 RETURNING key"
)
NEXT_UNCHECKED = Query(
    "next_unchecked: the ended segment whose checksums were compared longest ago, before $1",
    "SELECT name FROM segments WHERE ended > 0 AND checked_at < $1 ORDER BY checked_at, name LIMIT 1",
)
SET_CHECKED = Query("set_checked: compared now", "UPDATE segments SET checked_at = $2 WHERE name = $1")
CLEAR_SEGMENTS = Query("clear_segments: all, for a rebuild", "DELETE FROM segments")
DEAD_SEGMENTS = Query(
    "dead_segments: those in which nothing lives any more",
    "SELECT name FROM segments WHERE ended > 0 AND live <= 0 ORDER BY name",
)
EMPTY_SEGMENT = Query("empty_segment: what lived in it has been moved", "UPDATE segments SET ended = 2 WHERE name = $1")
FORGET_SEGMENT = Query("forget_segment: one whose file is about to go", "DELETE FROM segments WHERE name = $1")
SET_SEGMENT = Query(
    "set_segment: a whole one, as its file says",
    """
    INSERT INTO segments (name, mark, live, ended, checked_at) VALUES ($1, $2, $3, 1, 0)
    ON CONFLICT (name) DO UPDATE SET mark = $2, live = $3, ended = 1
    """,
)
