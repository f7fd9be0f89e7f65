"""Requests over HTTP: what an answer means for the system as a whole, and whose time runs out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from aiohttp import web

from gateway.config.destinations import PeerDestination
from gateway.remote import http
from gateway.remote.destination import DestinationUnavailable
from gateway.remote.http import Body, HttpClient, Reply, RequestBroken, RequestUnanswered
from tests.support.web_servers import WebServer, web_server


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class Answering(HttpClient):
    """A client that gets these answers, without asking anybody."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__("it", PeerDestination(url="http://nowhere.invalid/dicom/"))
        self.replies = list(replies)
        self.asked: list[tuple[str, str]] = []

    async def _once(self, method: str, path: str, *_: Any) -> tuple[str, Reply]:
        self.asked.append((method, path))
        return "shown", self.replies.pop(0)


async def ask(client: HttpClient, **options: Any) -> Reply:
    return await client.request("GET", "/x", headers={}, **options)


class TestReply:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "it answers 500"),
            (b"no\r\n  room\tleft", "it answers 500: no room left"),
            (b"<html>no</html>", "it answers 500"),
            (b"a\x00\x1b[31mb\xff", "it answers 500: a[31mb\N{REPLACEMENT CHARACTER}"),
            (b"x" * 5000, "it answers 500: " + "x" * 200),
        ],
    )
    def test_is_put_in_few_printable_words(self, body: bytes, words: str) -> None:
        assert reply(500, body).words == words


class TestStatus:
    @pytest.mark.parametrize("status", [200, 202, 400, 409, 413, 500])
    async def test_is_for_the_kind_of_destination_to_judge(self, status: int) -> None:
        assert (await ask(Answering(reply(status)))).status == status

    @pytest.mark.parametrize("status", [401, 403, 404, 405, 406, 407, 421])
    async def test_that_lets_us_in_nowhere(self, status: int) -> None:
        with pytest.raises(DestinationUnavailable, match=f"it: it answers {status}; look at its url and auth"):
            await ask(Answering(reply(status)))

    @pytest.mark.parametrize(("status", "passes"), [(404, True), (405, True), (403, False), (401, False)])
    async def test_that_something_is_missing_may_be_expected(self, status: int, passes: bool) -> None:
        client = Answering(reply(status))
        if passes:
            assert (await ask(client, missing=True)).status == status
        else:
            with pytest.raises(DestinationUnavailable):
                await ask(client, missing=True)

    @pytest.mark.parametrize("status", [429, 503, 507])
    @pytest.mark.parametrize(
        ("stated", "seconds"),
        [
            ("17", 17.0),
            (" 0 ", 0.0),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("\N{ARABIC-INDIC DIGIT THREE}", None),
            ("12345678", None),
            ("Sat, 28 Nov 2026 21:00:00 GMT", None),
        ],
    )
    async def test_that_asks_for_patience(self, status: int, stated: str, seconds: float | None) -> None:
        with pytest.raises(DestinationUnavailable) as raised:
            await ask(Answering(reply(status, Retry_After=stated)))
        assert raised.value.retry_after == seconds

    @pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 399])
    async def test_that_sends_us_elsewhere(self, status: int) -> None:
        with pytest.raises(DestinationUnavailable, match="'http://there', which is not followed"):
            await ask(Answering(reply(status, Location="http://there")))


class TestCredentials:
    @pytest.mark.parametrize(("others", "count"), [(True, 2), (False, 1)])
    async def test_that_are_not_taken_are_made_once_more_where_that_may_help(
        self, monkeypatch: pytest.MonkeyPatch, others: bool, count: int
    ) -> None:
        client = Answering(reply(401), reply(200))
        rejected: list[str] = []

        def there_are_others(shown: str) -> bool:
            rejected.append(shown)
            return others

        monkeypatch.setattr(client._credentials, "rejected", there_are_others, raising=False)
        if others:
            assert (await ask(client)).status == 200
        else:
            with pytest.raises(DestinationUnavailable):
                await ask(client)
        assert len(client.asked) == count
        assert rejected == ["shown"]


class TestCheck:
    @pytest.mark.parametrize("status", [200, 400, 404, 405])
    async def test_it_is_well_where_it_answers_sensibly(self, status: int) -> None:
        client = Answering(reply(status))
        await client.check("/studies")
        assert client.asked == [("GET", "/studies")]

    @pytest.mark.parametrize("status", [401, 500, 502, 503])
    async def test_it_is_not_otherwise(self, status: int) -> None:
        with pytest.raises(DestinationUnavailable):
            await Answering(reply(status)).check("/studies")


async def pieces(*made: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for piece in made:
        if isinstance(piece, Exception):
            raise piece
        yield piece


class TestBody:
    async def test_is_made_anew_for_each_request(self) -> None:
        body = Body(lambda: pieces(b"a", b"b"))
        for _ in range(2):
            async with http._Clock(5) as clock, body.open(clock) as found:
                assert [piece async for piece in found] == [b"a", b"b"]
        assert body.error is None

    async def test_remembers_what_kept_it_from_its_end(self) -> None:
        made = [pieces(b"a", OSError("the disk")), pieces(b"a")]
        body = Body(lambda: made.pop(0))

        async def read() -> list[bytes]:
            async with http._Clock(5) as clock, body.open(clock) as found:
                return [piece async for piece in found]

        with pytest.raises(OSError, match="the disk"):
            await read()
        assert isinstance(body.error, OSError)
        assert await read() == [b"a"]
        assert body.error is None

    async def test_what_makes_it_is_closed_in_the_middle_too(self) -> None:
        closed: list[bool] = []

        async def make() -> AsyncGenerator[bytes, None]:
            try:
                yield b"a"
                yield b"b"
            finally:
                closed.append(True)

        async with http._Clock(5) as clock, Body(make).open(clock) as found:
            await anext(found)
        assert closed == [True]

    async def test_its_making_is_on_nobodys_time(self) -> None:
        """The other side's time runs only while it is to take something or to answer."""
        running: list[bool] = []

        async def make() -> AsyncGenerator[bytes, None]:
            for piece in (b"a", b"b"):
                running.append(clock._timeout.when() is not None)
                yield piece

        async with http._Clock(5) as clock:
            clock.start()
            async with Body(make).open(clock) as found:
                async for _ in found:
                    assert clock._timeout.when() is not None
                assert running == [False, False]
                assert clock._timeout.when() is not None  # Now it is to answer.


class TestClock:
    async def test_ends_what_takes_too_long(self) -> None:
        async def work() -> None:
            async with http._Clock(0.0) as clock:
                clock.start()
                await asyncio.get_running_loop().create_future()

        with pytest.raises(TimeoutError):
            await work()

    async def test_does_nothing_once_it_is_over(self) -> None:
        async with http._Clock(5) as clock:
            pass
        clock.start()
        clock.stop()


Serving = Callable[[web.Request], Any]


class TestOverAConnection:
    async def ask(self, server: WebServer, serve: Serving, **section: Any) -> Reply:
        server.before = serve
        client = HttpClient("it", PeerDestination(url=server.url + "/", **section))
        try:
            return await client.request("POST", "/studies", body=b"data", headers={"X-Test": "1"})
        finally:
            await client.close()

    async def test_as_it_came(self) -> None:
        async def serve(request: web.Request) -> web.Response:
            assert request.headers["X-Test"] == "1"
            return web.Response(status=409, body=await request.read(), headers={"X-Answer": "2"})

        async with web_server() as server:
            found = await self.ask(server, serve)
        assert (found.status, found.body, found.headers["X-Answer"]) == (409, b"data", "2")

    async def test_more_than_is_read_of_an_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "_MAX_ANSWER_BYTES", 1000)

        async def serve(request: web.Request) -> web.Response:
            return web.Response(body=bytes(1001))

        async with web_server() as server:
            with pytest.raises(RequestBroken, match="it answers more than 1000 bytes"):
                await self.ask(server, serve)

    async def test_nothing_for_too_long(self) -> None:
        async def serve(request: web.Request) -> web.Response:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async with web_server() as server:
            with pytest.raises(RequestUnanswered, match=r"it: no answer for 0\.1 s"):
                await self.ask(server, serve, timeout=0.1)

    async def test_nobody_is_there(self) -> None:
        async with web_server() as server:
            url = server.url
        client = HttpClient("it", PeerDestination(url=url))
        with pytest.raises(DestinationUnavailable, match="it: no connection: "):
            await ask(client)
        await client.close()
