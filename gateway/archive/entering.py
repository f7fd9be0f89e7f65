"""The transaction of one instance: its rows in the index, and what follows from them. THE ONLY COMMIT POINT is its end.

It is all data and no state, so that it can be run by another process; `ingest.py` says when.
"""

from __future__ import annotations

from gateway.archive.deliveries.following import Following
from gateway.database.database import Script
from gateway.index import store as index
from gateway.index.record import InstanceRecord


def enter(
    record: InstanceRecord,
    placement: index.Placement,
    origin: index.Origin,
    following: Following | None,
    replaces: str | None,
) -> Script[index.Stored | index.Exists]:
    """The rows of the instance and its deliveries; `replaces` as in `store_instance`."""
    answer = yield from index.store_instance(record, placement, origin, replaces=replaces)
    if following is not None and isinstance(answer, index.Stored):
        yield from following.script(answer)
    return answer
