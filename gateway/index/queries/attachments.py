"""Files that users attach to resources."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query, numbered
from gateway.dicom.levels import LEVELS, Level
from gateway.index.queries.annotations import BELOW
from gateway.index.queries.resources import TABLE

_COLUMNS: Final = "name, key, data_offset, size, md5, revision"
ATTACHMENTS = Query(
    "attachments: of a resource, by name",
    f"SELECT {_COLUMNS} FROM attachments WHERE level = $1 AND public_id = $2 ORDER BY name",
)
ONE_ATTACHMENT = Query(
    "one_attachment: of a resource, by its name",
    f"SELECT {_COLUMNS} FROM attachments WHERE level = $1 AND public_id = $2 AND name = $3",
)


def attached_to(level: Level, count: int) -> Query:
    """The attachments of resources with these row numbers, each behind its row number, by name."""
    columns = ", ".join([f"a.{name}" for name in _COLUMNS.split(", ")])
    return Query(
        f"attached_to: attachments of some resources of level {level}",
        f"SELECT r.id, {columns} FROM {TABLE[level]} r JOIN attachments a ON a.level = '{level}' AND a.public_id = "
        f"r.public_id WHERE r.id IN ({numbered(count)}) ORDER BY a.name",
    )


COUNT_ATTACHMENTS = Query(
    "count_attachments: of a resource", "SELECT COUNT(*) FROM attachments WHERE level = $1 AND public_id = $2"
)
SET_ATTACHMENT = Query(
    "set_attachment: of a resource",
    f"""
    INSERT INTO attachments (level, public_id, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (level, public_id, name) DO UPDATE SET key = excluded.key, data_offset = excluded.data_offset,
        size = excluded.size, md5 = excluded.md5, revision = excluded.revision
    """,
)
REMOVE_ATTACHMENT = Query(
    "remove_attachment: of a resource, by its name",
    "DELETE FROM attachments WHERE level = $1 AND public_id = $2 AND name = $3",
)
LIST_ATTACHED_FILES = Query(
    "list_attached_files: a page of storage keys of attachments, with the sizes of their files",
    "SELECT key, data_offset + size FROM attachments WHERE key > $1 ORDER BY key LIMIT $2",
)
_DISCARD: Final = (
    "INSERT INTO garbage (key, at) SELECT key, CAST({at} AS DOUBLE PRECISION) FROM attachments WHERE {condition} "
    "ON CONFLICT (key) DO NOTHING"
)


def _below(each: Level, level: Level) -> str:
    return f"level = '{each}' AND public_id IN (SELECT public_id FROM {TABLE[each]} WHERE {BELOW[each][level]})"


DISCARD_ATTACHED_BELOW = {
    level: tuple(
        Query(
            f"discard_attached: files attached to level {each} below a {level}, which is going, from $2 on",
            _DISCARD.format(at="$2", condition=_below(each, level)),
        )
        for each in LEVELS[max(at, 1) :]
    )
    for at, level in enumerate(LEVELS)
}
"""A patient's own go when its row does: `DISCARD_ATTACHED`."""
DISCARD_ATTACHED = Query(
    "discard_attached: files attached to a resource, which is going, from $3 on",
    _DISCARD.format(at="$3", condition="level = $1 AND public_id = $2"),
)
