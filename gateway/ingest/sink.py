"""A sink (`scu.get.Sink`) that stores retrieved instances through the one ingest."""

from __future__ import annotations

import time

from gateway.database.view import tenant_of_task
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.instance_writer import InstanceWriter


class IngestSink:
    """Ingests instances that `aet` at `host` sends in response to a request of ours as `our_aet`. They belong to the
    tenant for which the task works that makes the sink."""

    def __init__(self, ingest: Ingest, *, aet: str, host: str, our_aet: str) -> None:
        self._ingest = ingest
        self._aet, self._host, self._our_aet = aet, host, our_aet
        self._tenant = tenant_of_task()

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> InstanceWriter:
        """Begin an instance. Raises: OutOfSpace; StorageFailed."""
        origin = Origin(
            calling_aet=self._aet,
            called_aet=self._our_aet,
            peer=self._host,
            received_at=time.time(),
            via="dimse",
            tenant=self._tenant,
        )
        return self._ingest.begin(
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            origin=origin,
        )
