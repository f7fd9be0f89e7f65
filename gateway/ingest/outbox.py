"""The outbox as seen by the ingest: the deliveries to commit with an instance, and notice of the commit.

`forwarding/` implements it. The ingest is below that room, and knows neither rules nor destinations.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from gateway.database.database import Script
from gateway.dicom.encode import DataSet
from gateway.index.record import InstanceRecord
from gateway.index.store import FileLocation, Origin, Stored
from gateway.ingest.header_scan import WantedTags

REPLAYED: Final = "replayed"
"""Type and queue of the jobs that write the consequences of a replayed instance again, after a power cut has undone its
transaction: `public_id` and `version` of the instance, and `noted`, which its frame has noted of them."""


class Consequences(Protocol):
    """The consequences of one instance, as data: another process may commit it, so they are pickled. Those of several
    instances are equal if nothing differs but the instances."""

    @property
    def noted(self) -> dict[str, Any] | None:
        """The note of them in the frame of a new instance, as JSON, from which they can be written again; None where
        they cannot be, and the transaction has to be flushed."""
        ...

    def script(self, record: InstanceRecord, placement: FileLocation, origin: Origin, stored: Stored) -> Script[None]:
        """The statements to run in the transaction of the instance, after its rows are written."""
        ...


class Outbox(Protocol):
    """Decides the consequences of an instance."""

    @property
    def wanted_tags(self) -> WantedTags:
        """The attributes to pick of each header for that decision."""
        ...

    def follow(
        self, record: InstanceRecord, placement: FileLocation, origin: Origin, attributes: DataSet
    ) -> Consequences:
        """The consequences of an instance that is about to be stored."""
        ...

    def committed(self) -> None:
        """Called when an instance and its consequences are committed."""
        ...
