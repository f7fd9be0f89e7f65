"""PS3.7 §6.3 and Annex E: command sets, against pydicom's and pynetdicom's encoders."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom import dimse_messages
from pynetdicom.tests import encoded_dimse_msg, encoded_dimse_n_msg

from gateway.dimse import command as c
from gateway.dimse.command import _ORDERED, Command
from gateway.errors import ProtocolError
from tests.support.pdus import aets, uids


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


US = {name: struct.pack("<H", value) for name, value in {"echo": 0x30, "none": 0x101, "one": 1}.items()}
ECHO = element(0x0100, US["echo"]) + element(0x0110, US["one"]) + element(0x0800, US["none"])

shorts = st.integers(0, 0xFFFF)
tags = st.integers(0, 0xFFFFFFFF)
by_vr = {c._UI: uids, c._US: shorts, c._AE: aets, c._LO: aets, c._AT: st.lists(tags, min_size=1, max_size=4)}
commands = st.builds(
    lambda elements: Command(elements.pop("command_field"), elements.pop("command_data_set_type"), **elements),
    st.fixed_dictionaries(
        {
            "command_field": shorts,
            "command_data_set_type": st.sampled_from([c.NO_DATA_SET, c.DATA_SET, 0]),
            "message_id": shorts,
            "message_id_being_responded_to": shorts,
            "status": shorts,
        },
        optional={
            name: by_vr[vr]
            for name, _, vr in _ORDERED
            if name
            not in ("command_field", "command_data_set_type", "message_id", "message_id_being_responded_to", "status")
        },
    ),
)


@settings(deadline=None)
@given(commands)
def test_what_is_written_reads_the_same(command: Command) -> None:
    wire = command.encode()
    assert Command.decode(wire) == command
    assert Command.decode(memoryview(wire)) == command
    assert len(wire) % 2 == 0


@settings(deadline=None)
@given(commands)
def test_pydicom_reads_every_element(command: Command) -> None:
    wire = command.encode()
    data_set = read_dataset(io.BytesIO(wire), is_implicit_VR=True, is_little_endian=True)
    assert data_set[0x00000000].value == len(wire) - 12
    for name, number, vr in _ORDERED:
        value = getattr(command, name)
        if value is None:
            assert number not in data_set
        elif vr == c._AT:
            assert ([data_set[number].value] if len(value) == 1 else list(data_set[number].value)) == value
        else:
            assert data_set[number].value == value


SAMPLES = {
    name: value
    for module in (encoded_dimse_msg, encoded_dimse_n_msg)
    for name, value in vars(module).items()
    if name.endswith("_cmd") and isinstance(value, bytes)
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_pynetdicom_samples_come_out_byte_for_byte(name: str) -> None:
    wire = SAMPLES[name][1:]  # the first byte is the message control header
    assert Command.decode(wire).encode() == wire


def test_there_are_samples() -> None:
    assert len(SAMPLES) > 20


class TestReading:
    def test_absent_and_empty_elements_are_none(self) -> None:
        command = Command.decode(ECHO + element(0x0002, b"") + element(0x0700, b""))
        assert command.affected_sop_class_uid is None
        assert command.priority is None
        assert command.message_id == 1

    def test_padding_by_nul_or_space_and_odd_lengths(self) -> None:
        wire = ECHO + element(0x0002, b"1.2.3\0") + element(0x1000, b"1.2.4 ") + element(0x1001, b"1.2.5")
        command = Command.decode(wire + element(0x0600, b" DEST  \0"))
        assert command.affected_sop_class_uid == "1.2.3"
        assert command.affected_sop_instance_uid == "1.2.4"
        assert command.requested_sop_instance_uid == "1.2.5"
        assert command.move_destination == "DEST"

    def test_unknown_and_retired_elements_are_skipped_in_any_order(self) -> None:
        command = Command.decode(element(0x5110, b"abc") + element(0x0000, b"\1\0\0\0") + ECHO + element(0x0001, b"xx"))
        assert command == Command.decode(ECHO)

    @pytest.mark.parametrize(
        ("wire", "why"),
        [
            (b"", "lacks Command Field"),
            (ECHO[:10], "lacks"),
            (ECHO[:13], "ends inside the element at 10"),
            (ECHO[:-1], "does not fit"),
            (ECHO + b"\0", "ends inside"),
            (ECHO + element(0x0010, b"1", group=8), "does not fit a command set"),
            (ECHO + struct.pack("<HHL", 0, 2, 0xFFFFFFFF), "does not fit"),
            (element(0x0100, b"\1") + ECHO, "has 1 bytes, not 2"),
            (element(0x0110, bytes(4)) + ECHO, "has 4 bytes, not 2"),
            (ECHO + element(0x0901, bytes(6)), "multiple of 4"),
            (element(0x0100, US["echo"]) + element(0x0800, US["none"]), "C-ECHO-RQ lacks Message ID"),
            (
                element(0x0100, b"\x30\x80") + element(0x0800, US["none"]) + element(0x0900, bytes(2)),
                "C-ECHO-RSP lacks",
            ),
            (element(0x0100, b"\x30\x80") + element(0x0800, US["none"]) + element(0x0120, bytes(2)), "lacks"),
        ],
    )
    def test_unreadable(self, wire: bytes, why: str) -> None:
        with pytest.raises(ProtocolError, match=why):
            Command.decode(wire)

    def test_a_cancel_has_no_message_id(self) -> None:
        wire = element(0x0100, b"\xff\x0f") + element(0x0120, US["one"]) + element(0x0800, US["none"])
        assert Command.decode(wire).message_id_being_responded_to == 1


class TestCommand:
    @pytest.mark.parametrize(("value", "announced"), [(0x0101, False), (0x0001, True), (0, True), (0x0102, True)])
    def test_PS37_9_3_1_data_set_type(self, value: int, announced: bool) -> None:
        assert Command(c.C_ECHO_RQ, value).has_data_set is announced

    def test_names(self) -> None:
        assert Command(c.C_STORE_RSP).name == "C-STORE-RSP"
        assert Command(0x7777).name == "command 7777H"
        assert not Command(c.C_STORE_RSP).is_request
        assert Command(c.C_CANCEL_RQ).is_request
        assert repr(Command(c.C_STORE_RQ, c.DATA_SET, message_id=5)) == "<C-STORE-RQ message_id=5, with data set>"

    def test_no_such_element(self) -> None:
        with pytest.raises(TypeError, match="mesage_id"):
            Command(c.C_ECHO_RQ, mesage_id=1)

    def test_equality_does_not_see_none(self) -> None:
        assert Command(c.C_ECHO_RQ, priority=None) == Command(c.C_ECHO_RQ)
        assert Command(c.C_ECHO_RQ) != Command(c.C_STORE_RQ)
        assert Command(c.C_ECHO_RQ) != 5

    def test_a_comment_is_cut_and_made_ascii(self) -> None:
        wire = Command(c.C_ECHO_RSP, message_id_being_responded_to=1, status=0xC000, error_comment="é" * 70).encode()
        assert Command.decode(wire).error_comment == "?" * 64

    @pytest.mark.case("a refusal reason is never cut in the middle of a word")
    def test_a_comment_is_cut_between_words(self) -> None:
        def sent(comment: str) -> str | None:
            return Command.decode(
                Command(c.C_ECHO_RSP, message_id_being_responded_to=1, status=1, error_comment=comment).encode()
            ).error_comment

        assert sent(f"{'a' * 30} {'b' * 30}, {'c' * 30}") == f"{'a' * 30} {'b' * 30}"
        assert sent(f"{'a' * 30} {'b' * 33} c") == f"{'a' * 30} {'b' * 33}"
        assert sent(f"{'a' * 30} {'b' * 34}") == "a" * 30
        assert sent("short") == "short"


def test_PS37_E_1_command_fields_are_those_of_pynetdicom() -> None:
    theirs = {number: name for number, (name, _) in dimse_messages._MESSAGE_TYPES.items()}
    assert {number: name.replace("-", "_") for number, name in c._NAMES.items()} == {
        number: name.replace("-", "_") for number, name in theirs.items()
    }
