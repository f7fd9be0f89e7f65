"""The outbox as seen by the ingest: the deliveries to commit with an instance, and notice of the commit.

`forwarding/` implements it. The ingest is below that room, and knows neither rules nor destinations.
"""

from __future__ import annotations

from typing import Protocol

from gateway.database.database import Script
from gateway.dicom.encode import DataSet
from gateway.index.record import InstanceRecord
from gateway.index.store import FileLocation, Origin, Stored
from gateway.ingest.header_scan import WantedTags


class Consequences(Protocol):
    """The consequences of one instance, as data: another process may commit it, so they are pickled. Those of several
    instances are equal if nothing differs but the instances."""

    @property
    def is_empty(self) -> bool:
        """Whether a new instance entails nothing."""
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
