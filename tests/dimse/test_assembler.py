"""PS3.7 §6.3.1 and PS3.8 Annex E: messages from fragments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dimse import messages
from gateway.dimse.assembler import MAX_COMMAND_LENGTH, Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import Command
from gateway.errors import ProtocolError
from gateway.ul.events import DataFragment
from tests.support.links import CT

ECHO = messages.c_echo_request(1)
STORE = messages.c_store_request(2, CT, "1.2.3")


def fragment(data: bytes, *, command: bool = False, last: bool = True, context: int = 3) -> DataFragment:
    return DataFragment(context, command, last, memoryview(data))


def started(command: Command = STORE) -> Assembler:
    assembler = Assembler({1, 3})
    assert assembler.feed(fragment(command.encode(), command=True)) == MessageStarted(3, command)
    return assembler


def test_a_message_without_a_data_set() -> None:
    assembler = started(ECHO)
    assert assembler.idle
    assert assembler.feed(fragment(ECHO.encode(), command=True, context=1)) == MessageStarted(1, ECHO)


def test_data_sets_are_passed_on_slice_by_slice() -> None:
    assembler = started()
    assert not assembler.idle
    first = fragment(b"abc", last=False)
    passed = assembler.feed(first)
    assert isinstance(passed, DataSetFragment)
    assert passed.data is first.data
    assert assembler.feed(fragment(b"", last=True)) == DataSetFragment(3, memoryview(b""), True)
    assert assembler.idle
    started_again = assembler.feed(fragment(STORE.encode(), command=True, context=1))
    assert started_again == MessageStarted(1, STORE)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), max_size=10))
def test_a_command_in_any_pieces(sizes: list[int]) -> None:
    wire, assembler, at = STORE.encode(), Assembler({3}), 0
    for size in sizes:
        assert assembler.feed(fragment(wire[at : at + size], command=True, last=False)) is None
        at += size
    assert assembler.feed(fragment(wire[at:], command=True)) == MessageStarted(3, STORE)


class TestViolations:
    @pytest.mark.parametrize(
        ("before", "offending", "why"),
        [
            ([], fragment(b"x"), "no command announced"),
            ([], fragment(ECHO.encode(), command=True, context=5), "was not accepted"),
            ([fragment(ECHO.encode(), command=True)], fragment(b"x"), "no command announced"),
            ([fragment(STORE.encode(), command=True)], fragment(ECHO.encode(), command=True), "before the data set"),
            ([fragment(STORE.encode(), command=True)], fragment(b"x", context=1), "changed from 3 to 1"),
            (
                [fragment(STORE.encode(), command=True), fragment(b"x", last=False)],
                fragment(b"x", context=1),
                "changed from 3 to 1 inside a message",
            ),
            ([fragment(b"x", command=True, last=False)], fragment(b"x", command=True, context=1), "inside a command"),
            ([fragment(b"x", command=True, last=False)], fragment(b"x"), "no command announced"),
            ([], fragment(bytes(MAX_COMMAND_LENGTH + 1), command=True), "more than 65536 bytes"),
            (
                [fragment(bytes(MAX_COMMAND_LENGTH), command=True, last=False)],
                fragment(b"x", command=True),
                "more than 65536 bytes",
            ),
            ([], fragment(b"nonsense", command=True), "command set"),
        ],
    )
    def test_protocol_error(self, before: list[DataFragment], offending: DataFragment, why: str) -> None:
        assembler = Assembler({1, 3})
        for one in before:
            assembler.feed(one)
        with pytest.raises(ProtocolError, match=why) as caught:
            assembler.feed(offending)
        assert caught.value.source == 2
