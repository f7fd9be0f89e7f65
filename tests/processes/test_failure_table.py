"""Failures in a row: counted by client, together by all who share the memory, in a table that never grows."""

from __future__ import annotations

import os
from contextlib import closing

from gateway.processes import board
from gateway.processes.board import Scoreboard
from gateway.processes.failure_table import MAX_CLIENTS, TABLE_BYTES, FailureTable


def test_counted_by_client() -> None:
    table = FailureTable()
    assert [table.add("10.0.0.1") for _ in range(3)] == [1, 2, 3]
    assert table.add("10.0.0.2") == 1
    table.forget("10.0.0.1")
    table.forget("10.0.0.3")  # never seen
    assert table.add("10.0.0.1") == 1
    assert table.add("10.0.0.2") == 2


def test_who_failed_last_the_longest_ago_is_forgotten() -> None:
    """However many clients there are, those that go on failing are known, and most of the room is used."""
    table = FailureTable()
    for number in range(8 * MAX_CLIENTS):
        table.add(f"2001:db8:{number:x}::/64")
        if number % 500 == 0:
            busy = table.add("192.0.2.1")
    assert busy == len(range(0, 8 * MAX_CLIENTS, 500))
    latest = range(8 * MAX_CLIENTS - 1000, 8 * MAX_CLIENTS)
    assert sum(table.add(f"2001:db8:{number:x}::/64") == 2 for number in latest) > 900


def test_where_a_client_stands_is_nobody_elses_to_know() -> None:
    """Two tables have different keys, so that no address can be chosen to push out another."""
    one, two = bytearray(TABLE_BYTES), bytearray(TABLE_BYTES)
    for memory in (one, two):
        FailureTable(memory).add("10.0.0.1")
    assert one != two


def test_workers_count_together() -> None:
    descriptor = board.make(2)
    with closing(Scoreboard(descriptor)) as parent:
        first, second = Scoreboard(os.dup(descriptor), 0), Scoreboard(os.dup(descriptor), 1)
        with closing(first), closing(second):
            assert first.failures.add("10.0.0.1") == 1
            assert second.failures.add("10.0.0.1") == 2
            first.note(board.DICOM, 3)
            parent.clear(0)  # killed: what it counted stays
            assert second.failures.add("10.0.0.1") == 3
            second.failures.forget("10.0.0.1")
            assert first.failures.add("10.0.0.1") == 1
