"""The statements that read the change log. Its entries are written by the scripts that make the changes."""

from __future__ import annotations

from gateway.database.database import Query

_ENTRIES = "SELECT seq, kind, level, public_id, study_uid, at FROM changes WHERE seq > $1 AND seq <= $2"


def changes_between(kind_count: int, *, backward: bool, new_instances: bool) -> Query:
    """Entries of the change log after a number, up to another; of some kinds, or of all if their count is 0.

    Without `new_instances` the kinds have none, which an index passes over.
    """
    kinds = ", ".join([f"${index}" for index in range(4, 4 + kind_count)])
    wanted = f" AND kind IN ({kinds})" if kind_count else ""
    passed_over = "" if new_instances else " AND kind <> 'NewInstance'"
    order = "DESC" if backward else "ASC"
    return Query(
        f"changes_between: {kind_count or 'all'} kinds, {'the last' if backward else 'the first'}",
        f"{_ENTRIES}{wanted}{passed_over} ORDER BY seq {order} LIMIT $3",
    )


LAST_CHANGE = Query("last_change: the highest number in the change log", "SELECT COALESCE(MAX(seq), 0) FROM changes")
