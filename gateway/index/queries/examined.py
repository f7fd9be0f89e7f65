"""Progress and findings of the examination of code streams."""

from __future__ import annotations

from functools import cache

from gateway.database.database import Query, numbered

FLAG_INCOMPLETE = Query(
    "flag_incomplete: as add_incomplete, for a stored version; no row if it has gone, or was flagged before",
    """
    INSERT INTO incomplete (key, instance, study, lacking, found_at)
    SELECT $1, $2, $3, $4, CAST($5 AS DOUBLE PRECISION) WHERE EXISTS (SELECT 1 FROM instances WHERE key = $1)
    ON CONFLICT (key) DO NOTHING RETURNING key
    """,
)
EXAMINED_SO_FAR = Query(
    "examined_so_far: the change up to which code streams have been examined, and the newest change",
    "SELECT up_to, (SELECT COALESCE(MAX(seq), 0) FROM changes) FROM examined",
)
_NEW_VERSIONS = """
    SELECT i.key, i.public_id, t.public_id, i.uid, i.transfer_syntax_uid, i.size, i.data_set_offset
    FROM changes c JOIN instances i ON i.public_id = c.public_id JOIN series s ON s.id = i.series
    JOIN studies t ON t.id = s.study
    WHERE c.seq > $1 AND c.seq <= $2 AND c.level = 'Instance' AND i.transfer_syntax_uid IN ({}) ORDER BY c.seq
    """


@cache
def new_versions(syntaxes: int) -> Query:
    """The statement that finds the present rows of the instances named in a part of the change log, in one of so many
    transfer syntaxes."""
    return Query("new_versions: of a part of the change log", _NEW_VERSIONS.format(numbered(syntaxes, 3)))


SET_EXAMINED = Query(
    "set_examined: code streams up to this change have been examined", "UPDATE examined SET up_to = $1"
)
