"""One worker among others: what it tells them, and what it knows of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import cast

import pytest

from gateway import telemetry
from gateway.net.associations import OpenAssociations
from gateway.net.session import AssociationStatus
from gateway.processes import board, group
from gateway.processes.board import DICOM, HTTP, Scoreboard
from gateway.processes.group import Group
from gateway.processes.sockets import Sockets


class Open(OpenAssociations):
    """Associations that say whatever is wanted of them."""

    def __init__(self, *statuses: AssociationStatus) -> None:
        super().__init__()
        self.those = list(statuses)

    def statuses(self) -> list[AssociationStatus]:
        return self.those

    def established(self) -> Counter[str]:
        return Counter(each.calling_aet for each in self.those)


def status(number: int, aet: str = "CT", since: float = 0.0, host: str = "::1") -> AssociationStatus:
    return AssociationStatus(number, aet, "GATEWAY", host, since, "Sta6", 0, 0)


@contextmanager
def workers(*open_associations: Open) -> Iterator[list[Group]]:
    """As many workers of one gateway, with these associations."""
    count = len(open_associations)
    descriptor = board.make(count)
    boards = [Scoreboard(os.dup(descriptor), index) for index in range(count)]
    os.close(descriptor)
    nowhere = Sockets(None, None, cast(socket.socket, None))
    try:
        yield [
            Group(number, count, each, nowhere, [], lambda why: None, lambda: None, open_associations=those)
            for number, (each, those) in enumerate(zip(boards, open_associations, strict=True), 1)
        ]
    finally:
        for each in boards:
            each.close()


async def report(*groups: Group) -> None:
    """Have each of them tell the others once."""
    for each in groups:
        reporting = asyncio.ensure_future(each.report_forever())
        await asyncio.sleep(0)
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


def test_no_two_associations_of_different_workers_have_one_number() -> None:
    with workers(Open(), Open(), Open()) as groups:
        numbers = [list(islice(each.numbers_after(0), 4)) for each in groups]
        later = [next(each.numbers_after(last)) for last in (12, 13) for each in groups]
    assert numbers == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]]
    assert later == [13, 14, 15, 16, 17, 18]


def test_one_does_the_jobs_of_all() -> None:
    with workers(Open(), Open()) as groups:
        assert [each.does_jobs for each in groups] == [True, False]


async def test_associations_of_all_by_their_age() -> None:
    with workers(Open(status(1, since=3.0)), Open(status(2, since=1.0), status(5, since=2.0))) as groups:
        await report(*groups)
        for each in groups:
            assert [one.number for one in each.all_associations()] == [2, 5, 1]


async def test_our_own_are_those_of_now() -> None:
    with workers(Open(status(1)), Open(status(2))) as groups:
        await report(*groups)
        cast(Open, groups[0].open_associations).those.clear()
        assert [each.number for each in groups[0].all_associations()] == [2]
        assert {each.number for each in groups[1].all_associations()} == {1, 2}  # As of the last report.


async def test_more_associations_than_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_MAX_REPORTED", 3)
    with workers(Open(*[status(number) for number in range(5)]), Open()) as groups:
        await report(*groups)
        assert len(groups[0].all_associations()) == 5
        assert len(groups[1].all_associations()) == 3


async def test_a_report_that_is_too_long_still_has_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "intake", lambda: (100.0, 2.0))
    monkeypatch.setattr(group, "MAX_REPORT_BYTES", 1000)
    with workers(Open(*[status(number, host="h" * 200) for number in range(10)]), Open()) as groups:
        await report(groups[0])
        assert groups[1].all_associations() == []
        assert groups[1].intake() == (200.0, 4.0)


async def test_intake_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with workers(Open(), Open(), Open()) as groups:
        for number, each in enumerate(groups, 1):
            monkeypatch.setattr(telemetry, "intake", lambda number=number: (10.0 * number, float(number)))
            await report(each)
        monkeypatch.setattr(telemetry, "intake", lambda: (1000.0, 100.0))
        assert groups[0].intake() == (1050.0, 105.0)


async def test_half_a_report_of_one_that_was_killed_is_passed_over() -> None:
    with workers(Open(status(1)), Open(status(2)), Open(status(3))) as groups:
        await report(*groups)
        groups[1].board.report(b'{"bytes": 1, "assoc')
        assert [each.number for each in groups[0].all_associations()] == [1, 3]


async def test_a_change_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_REPORT_EVERY_S", 3600.0)
    ours, told = Open(), asyncio.Event()
    with workers(ours, Open()) as groups:
        put = groups[0].board.report

        def note(data: bytes) -> None:
            put(data)
            if ours.those:
                told.set()

        monkeypatch.setattr(groups[0].board, "report", note)
        reporting = asyncio.ensure_future(groups[0].report_forever())
        await asyncio.sleep(0)
        ours.those.append(status(1))
        groups[0].changed()
        async with asyncio.timeout(10):
            await told.wait()
        assert [each.number for each in groups[1].all_associations()] == [1]
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


def test_seats_are_those_of_all_and_free_once_an_association_has_ended() -> None:
    ours = Open(status(1, "CT"))
    with workers(ours, Open(status(2, "MR"))) as groups:
        groups[0].changed()
        with groups[1].association_slots() as seats:
            assert seats == Counter(CT=1, MR=1)
        ours.those.clear()
        groups[0].changed()
        with groups[1].association_slots() as seats:
            assert seats["CT"] == 0


class TestTurns:
    def test_who_holds_more_than_the_least_waits_for_each_and_no_longer_than_bearable(self) -> None:
        with workers(Open(), Open()) as groups:
            one, two = (each.dicom_turns for each in groups)
            two.note(0)
            for held, seconds in ((0, 0.0), (1, 0.002), (4, 0.008), (1000, 0.05)):
                one.note(held)
                assert one.delay() == pytest.approx(seconds)
            assert two.delay() == 0.0

    def test_web_and_dicom_have_turns_of_their_own(self) -> None:
        with workers(Open(), Open()) as groups:
            groups[0].web_turns.note(9)
            assert groups[1].board.others(HTTP) == [9]
            assert groups[1].board.others(DICOM) == [0]

    def test_a_worker_alone_waits_for_nobody(self) -> None:
        with workers(Open()) as groups:
            turn = groups[0].dicom_turns
            turn.note(50)
            assert turn.delay() == 0.0
