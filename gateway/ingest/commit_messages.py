"""Requests to a commit process and its replies, as bytes: what is said about an instance as plain values, pickled.

The rows above an instance, which most instances of a connection share, are sent once and then named by a number. Both
sides are the same program: the gateway, which is trusted, and a process that it has started.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from gateway.database.database import Script
from gateway.index.record import InstanceRecord, Parents
from gateway.index.store import FileLocation, Origin, Stored
from gateway.ingest.commit_batch import CommitReply, NewFrame
from gateway.ingest.commit_script import InstanceScript
from gateway.ingest.outbox import Consequences
from gateway.processes.arena import Span

_LENGTH_BYTES: Final = 4
"""Bytes before each message with its length, big endian."""
_MAX_PARENTS: Final = 256
"""Rows above instances that a connection has numbers for: 4 MiB of the largest ones."""
_OTHER_SCRIPT_FIELDS: Final = 6
"""Fields of a request whose script is not that of an instance."""


class CommitRequest(NamedTuple):
    """A request to commit one instance."""

    key: str
    """The key of its file; '' for a frame."""
    made: bool
    """Whether its file exists."""
    named: bool
    """Whether the name of its file is durable."""
    header: bytes
    """Bytes to write before those of the spans."""
    spans: list[Span]
    script: Callable[[], Script[Any]]
    frame: NewFrame | None = None
    """The frame of an instance; its placement is that of the script."""


class RequestEncoder:
    """Encodes the requests of one connection, all of which have to be sent, in order."""

    def __init__(self) -> None:
        self._parents: dict[Parents, int] = {}
        self._consequences: Consequences | None = None
        self._pickled: bytes | None = None

    def encode(self, request: CommitRequest) -> tuple[Any, ...]:
        """A request as plain values. Raises whatever pickling its script does; then nothing needs to be sent."""
        key, made, named, header, spans, script, frame = request
        if not isinstance(script, InstanceScript):
            return key, made, named, header, spans, pickle.dumps((script, frame), pickle.HIGHEST_PROTOCOL)
        record, placement, origin = script.record, script.placement, script.origin
        if script.consequences != self._consequences:
            self._pickled = pickle.dumps(script.consequences, pickle.HIGHEST_PROTOCOL)
            self._consequences = script.consequences
        number = self._parents.get(record.parents)
        parents: tuple[Any, ...] | None = None
        if number is None:
            if len(self._parents) >= _MAX_PARENTS:
                self._parents.clear()
            number = self._parents[record.parents] = len(self._parents)
            parents = tuple(record.parents)
        return (
            *(key, made, named, header, spans),
            number,
            parents,
            (
                record.sop_class_uid,
                record.sop_instance_uid,
                record.public_id,
                record.transfer_syntax_uid,
                record.number,
                record.attributes,
                record.extras,
            ),
            (
                placement.key,
                placement.size,
                placement.data_set_offset,
                placement.transfer_syntax_uid,
                placement.lacking,
            ),
            (
                origin.calling_aet,
                origin.called_aet,
                origin.peer,
                origin.received_at,
                origin.via,
                origin.tenant,
                origin.link,
            ),
            self._pickled,
            script.replaces,
            None if frame is None else (frame.notes, frame.replayable, frame.read_soon),
        )


class RequestDecoder:
    """Decodes the requests of one connection, in order."""

    def __init__(self) -> None:
        self._parents: dict[int, Parents] = {}
        self._consequences: Consequences | None = None
        self._pickled: bytes | None = None

    def decode(self, values: tuple[Any, ...]) -> CommitRequest:
        """The request that `RequestEncoder.encode` made these values of."""
        if len(values) == _OTHER_SCRIPT_FIELDS:
            return CommitRequest._make((*values[:-1], *pickle.loads(values[-1])))
        *start, number, parents, of_record, of_placement, of_origin, pickled, replaces, of_frame = values
        if parents is not None:
            self._parents[number] = Parents._make(parents)
        if pickled != self._pickled:
            self._consequences = None if pickled is None else pickle.loads(pickled)
            self._pickled = pickled
        record = InstanceRecord(self._parents[number], *of_record)
        placement = FileLocation(*of_placement)
        script = InstanceScript(record, placement, Origin(*of_origin), self._consequences, replaces)
        frame = None if of_frame is None else NewFrame(record.public_id, replaces, placement, *of_frame)
        return CommitRequest._make((*start, script, frame))


def encode_reply(reply: CommitReply) -> bytes:
    """A reply as a message for the sockets; its results and errors can be pickled."""
    outcomes: list[tuple[Any, ...]] = []
    for outcome, key in zip(reply.outcomes, reply.keys, strict=True):
        stored, error = outcome
        if type(stored) is Stored and error is None:
            outcomes.append((key, stored.version, stored.change, stored.new_study, stored.flags, stored.shared))
        else:
            outcomes.append((key, pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)))
    return framed((outcomes, reply.synced, reply.committed, reply.failure, reply.flushed))


def decode_reply(values: tuple[Any, ...]) -> CommitReply:
    """The reply in a message that `encode_reply` made."""
    outcomes, synced, committed, failure, flushed = values
    results = [(Stored(*fields), None) if len(fields) > 1 else pickle.loads(*fields) for _, *fields in outcomes]
    return CommitReply(results, synced, committed, failure, [key for key, *_ in outcomes], flushed)


def framed(message: object) -> bytes:
    """Encode a message for the sockets."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def unframed(data: bytearray) -> Iterator[Any]:
    """Decode the complete messages in `data`, and remove them from it."""
    while len(data) >= _LENGTH_BYTES:
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
        if len(data) < end:
            return
        message = pickle.loads(data[_LENGTH_BYTES:end])
        del data[:end]
        yield message
