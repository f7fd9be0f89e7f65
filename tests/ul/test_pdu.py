"""PS3.8 §9.3: the seven PDUs, against themselves, against pynetdicom's codec and its encoded samples."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from pynetdicom import pdu as theirs
from pynetdicom.tests import encoded_pdu_items as samples

from gateway.errors import ProtocolError
from gateway.ul import pdu
from tests.support import pdus
from tests.support.links import a_request

THEIRS = {
    1: theirs.A_ASSOCIATE_RQ,
    2: theirs.A_ASSOCIATE_AC,
    3: theirs.A_ASSOCIATE_RJ,
    4: theirs.P_DATA_TF,
    5: theirs.A_RELEASE_RQ,
    6: theirs.A_RELEASE_RP,
    7: theirs.A_ABORT_RQ,
}


@settings(deadline=None)
@given(pdus.any_pdu)
def test_what_is_written_reads_the_same(value: pdu.PDU) -> None:
    wire = value.encode()
    kind, length = pdu.PDU_HEADER.unpack_from(wire)
    assert length == len(wire) - 6
    assert pdu.decode(kind, wire[6:]) == value


@settings(deadline=None)
@given(pdus.any_pdu)
def test_pynetdicom_reads_it_and_writes_the_same_bytes(value: pdu.PDU) -> None:
    wire = value.encode()
    other = THEIRS[wire[0]]()
    other.decode(wire)
    assert other.encode() == wire


@pytest.mark.parametrize(
    "name", sorted(n for n, v in vars(samples).items() if isinstance(v, bytes) and n.startswith(("a_", "p_data")))
)
def test_pynetdicom_samples_read(name: str) -> None:
    wire = getattr(samples, name)
    ours = pdu.decode(wire[0], wire[6:])
    if name in ("a_associate_rq_called", "a_associate_rq_calling"):
        # An AE title of spaces only: whether to take it is the acceptor's policy, not a matter of reading.
        assert isinstance(ours, pdu.AssociateRQ)
        assert "" in (ours.called_aet, ours.calling_aet)
        return
    other = THEIRS[wire[0]]()
    other.decode(wire)
    if isinstance(ours, pdu.AssociateRQ):
        assert [context.id for context in ours.contexts] == [c.context_id for c in other.presentation_context]
        assert ours.user_information.max_length == other.user_information.maximum_length
        assert ours.user_information.implementation_class_uid == other.user_information.implementation_class_uid
        assert (ours.called_aet, ours.calling_aet) == (other.called_ae_title, other.calling_ae_title)
    elif not isinstance(ours, pdu.AssociateAC):
        assert ours.encode() == wire


class TestPS38_9_3_2_AssociateRQ:
    def test_titles_are_padded_with_spaces_and_cut_at_16(self) -> None:
        wire = a_request(called_aet="A", calling_aet="B" * 20).encode()
        assert wire[10:26] == b"A" + b" " * 15
        assert wire[26:42] == b"B" * 16
        assert wire[42:74] == bytes(32)

    @pytest.mark.parametrize("padded", [b"GATEWAY\0\0\0\0\0\0\0\0\0", b"  GATEWAY       ", b"GATEWAY \0 \0     "])
    def test_titles_may_be_padded_with_nul_or_space(self, padded: bytes) -> None:
        wire = a_request().encode()
        assert pdu.AssociateRQ.decode((wire[:10] + padded + wire[26:])[6:]).called_aet == "GATEWAY"

    def test_a_title_that_does_not_print_is_escaped(self) -> None:
        wire = a_request().encode()
        read = pdu.AssociateRQ.decode((wire[:10] + b"A\nB\xff".ljust(16) + wire[26:])[6:])
        assert read.called_aet == "A\\nB\\\\xff"
        assert read.called_aet.isprintable()

    def test_reserved_bytes_are_not_tested(self) -> None:
        wire = bytearray(a_request().encode())
        wire[1] = wire[8] = wire[9] = 0xFF
        wire[42:74] = b"\xaa" * 32
        assert pdu.decode(1, bytes(wire[6:])) == a_request()

    def test_too_short_for_its_fixed_fields(self) -> None:
        with pytest.raises(ProtocolError, match="too short") as caught:
            pdu.AssociateRQ.decode(bytes(67))
        assert caught.value.reason == 6


class TestPS38_9_3_5_PData:
    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "without a PDV"),
            (bytes(5), "inside the header"),
            (struct.pack(">LBB", 1, 1, 0), "does not fit"),
            (struct.pack(">LBB", 3, 1, 0), "does not fit"),
            (struct.pack(">LBB", 2, 1, 0) + b"x", "inside the header"),
        ],
    )
    def test_malformed(self, body: bytes, why: str) -> None:
        with pytest.raises(ProtocolError, match=why) as caught:
            pdu.PData.decode(body)
        assert caught.value.reason == 6


@pytest.mark.parametrize("kind", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5])
def test_the_four_short_pdus_have_four_bytes(kind: int, length: int) -> None:
    with pytest.raises(ProtocolError, match="not 4"):
        pdu.decode(kind, bytes(length))


@pytest.mark.parametrize("kind", [0, 8, 0x16, 0x47, 255])
def test_unknown_type(kind: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        pdu.decode(kind, b"")
    assert (caught.value.source, caught.value.reason) == (2, 1)
