"""Instances that we have fetched, into the archive: a sink (`scu.get.Sink`) over the one ingest."""

from __future__ import annotations

import asyncio
import time

from gateway.archive.ingest import Ingest, Taken
from gateway.archive.reception import Reception
from gateway.index.store import Origin
from gateway.net.buffers import Block


class ArchiveSink:
    """Takes in what `aet` at `host` sends us because we asked for it as `our_aet`."""

    def __init__(self, ingest: Ingest, *, aet: str, host: str, our_aet: str) -> None:
        self._ingest = ingest
        self._aet, self._host, self._our_aet = aet, host, our_aet

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> _Incoming:
        """Raises OutOfSpace, StorageFailed."""
        origin = Origin(
            calling_aet=self._aet, called_aet=self._our_aet, peer=self._host, received_at=time.time(), via="dimse"
        )
        reception = self._ingest.begin(
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            origin=origin,
        )
        return _Incoming(self._ingest, reception)


class _Incoming:
    def __init__(self, ingest: Ingest, reception: Reception) -> None:
        self._ingest = ingest
        self._reception = reception

    def write(self, data: memoryview, block: Block) -> None:
        self._reception.write(data, block)

    def flush(self) -> None:
        self._reception.flush()

    def end(self) -> asyncio.Task[Taken]:
        return self._ingest.end(self._reception)

    def abandon(self) -> None:
        self._ingest.abandon(self._reception)
