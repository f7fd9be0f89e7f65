"""Requests and replies between a gateway and a commit process: all that was said arrives, and the framing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import uids
from gateway.errors import DatabaseError
from gateway.forwarding.outbox import OutboxEntry
from gateway.forwarding.table import DeliveryTarget
from gateway.index.record import InstanceRecord
from gateway.index.store import Duplicate, FileLocation, Origin, Stored
from gateway.ingest import commit_messages
from gateway.ingest.commit_batch import CommitReply, NewFrame
from gateway.ingest.commit_messages import (
    CommitRequest,
    RequestDecoder,
    RequestEncoder,
    decode_reply,
    encode_reply,
    framed,
    unframed,
)
from gateway.ingest.commit_script import InstanceScript
from gateway.ingest.header_scan import HeaderScanner
from tests.contracts.database import put
from tests.support.datasets import ct_header, encode

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
NOTHING = OutboxEntry((), {}, False, min)
SOMETHING = NOTHING._replace(targets=(DeliveryTarget("pacs", "", "all", 0, False, "1", False),))


def record(study: int, number: int) -> InstanceRecord:
    header = ct_header(StudyInstanceUID=f"1.2.{study}", SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=number)
    scanner = HeaderScanner(EXPLICIT, 1 << 16)
    scanner.scan([encode(header, EXPLICIT)], complete=True)
    return scanner.record()


def request(
    study: int = 1, number: int = 1, *, entailed: OutboxEntry | None = NOTHING, **changes: Any
) -> CommitRequest:
    """That of an instance in a frame."""
    one = record(study, number)
    placement = FileLocation("", 1000, 300, EXPLICIT, "a half")
    origin = Origin("CT1", "GATEWAY", "10.0.0.1", 5.5, "dimse", "north", "link")
    script = InstanceScript(one, placement, origin, entailed, changes.pop("replaces", None))
    frame = NewFrame(one.public_id, script.replaces, placement, b"notes", True, True)
    return CommitRequest("", False, False, b"head", [(0, 10), (20, 30)], script, frame)._replace(**changes)


def arrived(requests: Sequence[CommitRequest]) -> list[CommitRequest]:
    encoder, decoder = RequestEncoder(), RequestDecoder()
    messages = bytearray(b"".join([framed([encoder.encode(each)]) for each in requests]))
    return [decoder.decode(values) for (values,) in unframed(messages)]


class TestRequests:
    def test_all_of_a_frame(self) -> None:
        sent = request()
        assert arrived([sent]) == [sent]

    def test_the_frame_and_its_script_share_the_placement(self) -> None:
        """Which gets its key when the place of the frame is known."""
        (got,) = arrived([request()])
        assert isinstance(got.script, InstanceScript)
        assert got.frame is not None
        assert got.frame.placement is got.script.placement

    def test_all_of_a_file_and_of_a_new_version(self) -> None:
        sent = [request(key="01", made=True, named=True, frame=None), request(replaces="0-1")]
        assert arrived(sent) == sent

    def test_any_other_script(self) -> None:
        (got,) = arrived([request(script=functools.partial(put, "x"), frame=None)])
        assert isinstance(got.script, functools.partial)
        assert (got.script.func, got.script.args) == (put, ("x",))

    def test_what_the_instances_entail_in_turn(self) -> None:
        sent = [request(number=at, entailed=each) for at, each in enumerate((None, NOTHING, NOTHING, SOMETHING, None))]
        assert arrived(sent) == sent

    def test_the_rows_above_are_sent_once(self) -> None:
        encoder = RequestEncoder()
        first, second = (len(framed(encoder.encode(request(number=number)))) for number in (1, 2))
        assert first > second + 1000
        assert second < 1500

    def test_more_rows_above_than_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commit_messages, "_MAX_PARENTS", 2)
        sent = [request(study) for study in (1, 2, 1, 3, 2, 1, 3, 3, 4)]
        assert arrived(sent) == sent

    def test_one_that_cannot_be_sent_leaves_no_trace(self) -> None:
        encoder, decoder = RequestEncoder(), RequestDecoder()
        broken = request(entailed=NOTHING._replace(clock=lambda: 0.0))
        with pytest.raises(AttributeError):
            encoder.encode(broken)
        for sent in (request(), request(number=2)):
            assert decoder.decode(encoder.encode(sent)) == sent


class TestReplies:
    def test_all_kinds_of_outcomes(self) -> None:
        stored, known = Stored(2, 7, True, 4, True), Duplicate("k", 1, EXPLICIT, 5, 6, "", True)
        error = DatabaseError("no", in_doubt=True)
        reply = CommitReply(
            [(stored, None), (known, None), (None, error), (("any", 1), None)], 0.5, 0.25, "why", ["a", "", "b", ""]
        )
        (values,) = unframed(bytearray(encode_reply(reply)))
        got = decode_reply(values)
        assert got._replace(outcomes=[]) == reply._replace(outcomes=[])
        assert [result for result, _ in got.outcomes] == [stored, known, None, ("any", 1)]
        assert [(type(why), str(why)) for _, why in got.outcomes if why] == [(DatabaseError, "no")]

    def test_none_yet(self) -> None:
        reply = CommitReply([], 0.0, 0.0, "", [])
        (values,) = unframed(bytearray(encode_reply(reply)))
        assert decode_reply(values) == reply


class TestFraming:
    @given(st.lists(st.binary(max_size=300), max_size=6), st.data())
    def test_whole_in_pieces_and_several_in_one(self, messages: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(map(framed, messages))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        assert self._read(stream, cuts) == messages

    def test_byte_by_byte(self) -> None:
        messages = ["one", ["two", 2], b"", None]
        stream = b"".join(map(framed, messages))
        assert self._read(stream, range(len(stream))) == messages

    def _read(self, stream: bytes, cuts: Sequence[int]) -> list[Any]:
        found: list[Any] = []
        buffer = bytearray()
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            buffer += stream[start:end]
            found += unframed(buffer)
        assert not buffer
        return found

    def test_who_stops_in_the_middle_has_taken_what_came_out(self) -> None:
        buffer = bytearray(framed(1) + framed(2))
        assert next(unframed(buffer)) == 1
        assert list(unframed(buffer)) == [2]
