"""gateway/web/receiving.py: bodies that come slowly or for ever, and slots that no client has to itself."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from gateway.config import Http
from gateway.dicom.part10 import file_header
from gateway.web import receiving
from gateway.web.receiving import CROWDED_RATE, MEASURED_S, Body, BodySlots
from gateway.web.streaming import RateGuard
from tests.support.datasets import CT, EXPLICIT, ct_header, encode
from tests.support.waiting import paced, until
from tests.support.web import House, archive

UPLOAD = b"POST /instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000000\r\n\r\nPK\3\4"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(tmp_path / "data") as made:
        yield made


def a_file() -> bytes:
    head = file_header(sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT)
    return head + encode(ct_header(SOPInstanceUID="1.2.3"), EXPLICIT)


class TestBody:
    """Seconds by a clock of the test's own."""

    @pytest.fixture
    def body(self) -> Body:
        return Body("10.1.1.1", None)

    def send(self, body: Body, size: int, seconds: float, at: float = 0.0) -> float:
        """So many bytes come after so many seconds; the time then."""
        body.wait(at)
        body.take(size, at + seconds)
        return at + seconds

    def test_it_is_known_after_a_while(self, body: Body):
        body.wait(0.0)
        assert not body.is_slow(MEASURED_S - 1)
        assert body.is_slow(MEASURED_S)

    def test_at_the_rate_it_is_not_slow(self, body: Body):
        now = 0.0
        for _ in range(60):
            now = self.send(body, CROWDED_RATE, 1.0, now)
            body.wait(now)
            assert not body.is_slow(now)

    def test_what_came_fast_at_first_does_not_count_for_ever(self, body: Body):
        now = self.send(body, 1 << 30, 1.0)
        for _ in range(21):
            now = self.send(body, 1300, 1.0, now)
        body.wait(now)
        assert body.is_slow(now)

    def test_our_own_slowness_does_not_count(self, body: Body):
        now = self.send(body, 1 << 20, 1.0)
        assert not body.is_slow(now + 3600)
        body.wait(now + 3600)
        assert not body.is_slow(now + 3601)


@contextmanager
def held(gateway: House, count: int) -> Iterator[list[socket.socket]]:
    """So many uploads begin, and go on for ever."""
    with ExitStack() as opened:
        sockets = []
        for _ in range(count):
            assert gateway.client.port is not None
            sockets.append(opened.enter_context(socket.create_connection(("127.0.0.1", gateway.client.port))))
            sockets[-1].sendall(UPLOAD)
            sockets[-1].setblocking(False)
        yield sockets


def is_cut_off(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.case("broken 12 uploads that send just fast enough for ever keep no other out")
async def test_slow_uploads_yield(gateway: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(receiving, "MEASURED_S", 0.3)
    monkeypatch.setattr(receiving, "_LOOK_S", 0.05)
    with held(gateway, gateway.dicomweb.uploads) as slow:
        for _ in range(2):
            answer = await gateway.client.post("/instances", data=a_file())
            assert answer.status == 200, await answer.text()
        gone = [is_cut_off(each) for each in slow]
    assert gone[0], "the oldest goes first"
    assert 2 <= sum(gone) < len(gone), "no more than are needed"


@pytest.mark.case("broken 12 alone a slow upload is not disturbed")
async def test_slow_uploads_alone_stay(gateway: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(receiving, "MEASURED_S", 0.01)
    monkeypatch.setattr(receiving, "_LOOK_S", 0.01)
    with held(gateway, 4) as slow:
        for _ in range(5):
            assert (await gateway.client.post("/instances", data=a_file())).status == 200
        assert not any(is_cut_off(each) for each in slow)


class Request(dict[object, object]):
    """As much of a request as slots look at."""

    def __init__(self, remote: str, **user: str) -> None:
        super().__init__({receiving.USER: user["user"]} if user else {})
        self.remote = remote
        self.transport = None


@pytest.mark.case("broken 12 no client has all slots, however fast it sends")
@pytest.mark.parametrize(("other", "user"), [("10.1.1.2", {}), ("10.1.1.1", {"user": "anna"})])
async def test_one_client_never_has_all(other: str, user: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(receiving, "PATIENCE", 0.01)
    slots = BodySlots(4, "full")
    entered, leave = 0, asyncio.Event()

    async def upload() -> None:
        nonlocal entered
        async with slots.slot(Request("10.1.1.1")):  # type: ignore[arg-type]
            entered += 1
            await leave.wait()

    greedy = [asyncio.create_task(upload()) for _ in range(6)]
    await until(lambda: sum(each.done() for each in greedy) == 3)
    assert entered == 3
    async with slots.slot(Request(other, **user)):  # type: ignore[arg-type]
        pass
    leave.set()
    outcomes = await asyncio.gather(*greedy, return_exceptions=True)
    assert [type(each).__name__ for each in outcomes if each is not None] == ["Busy"] * 3


@pytest.mark.case("broken 25 every body that trickles is let go")
@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/instances", "application/dicom"),
        ("/instances/1/modify", "application/json"),
        ("/studies/1/anonymize", "application/json"),
        ("/worklists/create", "application/json"),
        ("/deliveries/resend", "application/json"),
        ("/ui/routing", "application/x-www-form-urlencoded"),
    ],
)
async def test_bodies_that_trickle(gateway: House, path: str, content_type: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RateGuard.__init__, "__defaults__", (0.3,))
    gateway.http = Http(min_rate=1 << 20)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\nContent-Type: {content_type}\r\n\r\n"
    assert gateway.client.port is not None
    with socket.create_connection(("127.0.0.1", gateway.client.port)) as one:
        one.sendall(head.encode())
        one.setblocking(False)
        async for _ in paced(lambda: is_cut_off(one)):
            with suppress(ConnectionError):
                one.send(b"a")


async def test_a_small_body_is_small(gateway: House):
    answer = await gateway.client.post("/worklists/create", data=io.BytesIO(bytes(receiving.MAX_SMALL + 1)))
    assert answer.status == 413
