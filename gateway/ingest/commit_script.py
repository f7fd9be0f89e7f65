"""The transaction of one instance: its rows in the index, and its deliveries. THE ONLY COMMIT POINT is its end.

It is data without state, so that another process can run it (`commit_messages.py`); when it runs is decided in
`ingest.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.database.database import Script
from gateway.index import store as index
from gateway.index.record import InstanceRecord
from gateway.ingest.outbox import Consequences


@dataclass(slots=True)
class InstanceScript:
    """The script of one instance: the rows of the instance, and of what it entails."""

    record: InstanceRecord
    placement: index.FileLocation
    origin: index.Origin
    consequences: Consequences | None
    replaces: str | None = None
    """As in `store_instance`."""

    def __call__(self) -> Script[index.Stored | index.Duplicate]:
        record, placement, origin = self.record, self.placement, self.origin
        answer = yield from index.store_instance(record, placement, origin, replaces=self.replaces)
        if self.consequences is not None and isinstance(answer, index.Stored):
            yield from self.consequences.script(record, placement, origin, answer)
        return answer
