"""The transaction of one instance: its rows in the index, and its deliveries. THE ONLY COMMIT POINT is its end.

It is data without state, so that another process can run it; when it runs is decided in `ingest.py`.
"""

from __future__ import annotations

from gateway.database.database import Script
from gateway.index import store as index
from gateway.index.record import InstanceRecord
from gateway.ingest.outbox import Consequences


def commit_script(
    record: InstanceRecord,
    placement: index.FileLocation,
    origin: index.Origin,
    consequences: Consequences | None,
    replaces: str | None,
) -> Script[index.Stored | index.Duplicate]:
    """The rows of the instance and of what it entails; `replaces` as in `store_instance`."""
    answer = yield from index.store_instance(record, placement, origin, replaces=replaces)
    if consequences is not None and isinstance(answer, index.Stored):
        yield from consequences.script(answer)
    return answer
