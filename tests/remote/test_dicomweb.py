"""STOW-RS as a client: what servers answer, requests that fail as a whole, servers that are not what they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.remote.destination import Answer, Destination, DestinationUnavailable
from gateway.remote.kinds import open_destination
from tests.contracts.destinations import item, settings_of
from tests.support.web_servers import WebServer, answer, answer_xml, failed, referenced, web_server

SEVEN = "1.2.3.4.7"


@asynccontextmanager
async def sending(**section: Any) -> AsyncIterator[tuple[WebServer, Destination]]:
    async with web_server() as server:
        settings = settings_of(**{"kind": "dicomweb", "url": server.url, "connections": 1, **section})
        destination = open_destination("it", settings.destinations["it"], lambda: settings)
        try:
            yield server, destination
        finally:
            await destination.close()


async def send(destination: Destination, count: int = 8) -> list[Any]:
    uids = [f"1.2.3.4.{number}" for number in range(count)]
    return await asyncio.gather(*[destination.send(item(uid)) for uid in uids], return_exceptions=True)


async def test_what_waits_goes_in_batches() -> None:
    async with sending(batch=3) as (server, destination):
        await send(destination, 8)
        assert [len(uids) for uids in server.requests] == [3, 3, 2]
        assert server.most_at_once == 1


async def test_two_with_the_same_uid_are_not_in_one_request() -> None:
    async with sending() as (server, destination):
        await asyncio.gather(*[destination.send(item("1.2.3", rows=rows)) for rows in (8, 16)])
        assert server.requests == [["1.2.3"], ["1.2.3"]]


async def test_a_server_that_refuses_before_it_has_read() -> None:
    """A refusal before the body has been read, of one that is larger than what fits into the socket."""
    async with sending() as (server, destination):

        async def refuse(request: web.Request) -> web.StreamResponse:
            return web.Response(status=403, text="not you", headers={"Connection": "close"})

        server.before = refuse
        (error,) = await asyncio.gather(
            destination.send(item("1.2.3", rows=2048, columns=2048)), return_exceptions=True
        )
        assert isinstance(error, DestinationUnavailable) or (isinstance(error, Answer) and error.outcome == "again")


async def test_a_batch_ends_at_its_size() -> None:
    async with sending(batch_size=1) as (server, destination):
        assert {each.outcome for each in await send(destination, 3)} == {"delivered"}
        assert [len(uids) for uids in server.requests] == [1, 1, 1]


@pytest.mark.parametrize("written", [answer, answer_xml])
@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (0x0111, "delivered"),
        (45070, "delivered"),
        (45071, "again"),
        (0xA700, "again"),
        (0x0122, "refused"),
        (43264, "refused"),
    ],
)
async def test_one_of_several_fails(written: Callable[..., web.Response], reason: int, outcome: str) -> None:
    """PS3.18 §10.5.3 and Annex I; 45070 and 45071 are Azure's."""
    async with sending() as (server, destination):
        server.behave = lambda uids: written(
            202, [referenced(uid, 0xB000) for uid in uids if uid != SEVEN], [failed(SEVEN, reason)]
        )
        answers = await send(destination)
        assert (answers[7].outcome, answers[7].status) == (outcome, reason)
        assert {(each.outcome, each.status) for each in answers[:7]} == {("delivered", 0xB000)}


@pytest.mark.parametrize(("there", "outcome"), [(True, "delivered"), (False, "again")])
async def test_a_conflict_about_what_is_there_is_a_delivery(there: bool, outcome: str) -> None:
    """As Google's Healthcare API: 409, and 272 for what it has already as for what fails."""
    async with sending() as (server, destination):
        if there:
            await destination.send(item("1.2.3.4.0"))
        server.behave = lambda uids: answer(409, [], [failed(uid, 272) for uid in uids])
        assert (await send(destination, 1))[0].outcome == outcome


@pytest.mark.parametrize("status", [400, 413, 415, 500])
async def test_one_that_fails_a_request_is_found(status: int) -> None:
    async with sending() as (server, destination):
        server.behave = lambda uids: web.Response(status=status, text="no") if SEVEN in uids else None
        answers = await send(destination, 16)
        wrong: Answer = answers.pop(7)
        assert (wrong.outcome, wrong.status) == ("again" if status == 500 else "refused", status)
        assert {each.outcome for each in answers} == {"delivered"}
        assert len(server.requests) <= 12


async def test_one_that_ends_the_connection_is_found() -> None:
    async with sending() as (server, destination):

        async def vanish() -> web.StreamResponse:
            raise asyncio.CancelledError

        server.behave = lambda uids: vanish() if SEVEN in uids else None
        answers = await send(destination, 16)
        assert answers.pop(7).outcome == "again"
        assert {each.outcome for each in answers} == {"delivered"}


@pytest.mark.parametrize(
    ("status", "header", "wait"), [(503, "17", 17.0), (429, "soon", None), (403, "", None), (404, "", None)]
)
async def test_the_destination_as_a_whole(status: int, header: str, wait: float | None) -> None:
    async with sending() as (server, destination):
        server.behave = lambda uids: web.Response(status=status, headers={"Retry-After": header})
        answers = await send(destination)
        assert {(type(each), each.retry_after) for each in answers} == {(DestinationUnavailable, wait)}


async def test_no_redirect_is_followed() -> None:
    async with sending(auth="basic", user="us", password="secret") as (server, destination), web_server() as other:
        server.behave = lambda uids: web.Response(status=307, headers={"Location": f"{other.url}/studies"})
        (error,) = await send(destination, 1)
        assert "which is not followed" in str(error)
        assert "secret" not in str(error)
        assert not other.headers


async def test_nobody_there() -> None:
    settings = settings_of(kind="dicomweb", url="http://127.0.0.1:9")
    destination = open_destination("it", settings.destinations["it"], lambda: settings)
    with pytest.raises(DestinationUnavailable, match="it: no connection: connect"):
        await destination.send(item("1.2"))
    await destination.close()


async def test_a_server_that_never_answers() -> None:
    async with sending(timeout=0.2) as (server, destination):

        async def nothing(request: web.Request) -> None:
            await asyncio.Event().wait()

        server.before = nothing
        answers = await send(destination)
        assert {(each.outcome, each.detail) for each in answers} == {("again", "it: no answer for 0.2 s")}
        assert len(server.headers) == 1


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (lambda: web.Response(status=200), "again"),
        (lambda: web.Response(status=202, text="{}"), "again"),
        (lambda: answer(200, [referenced("1.9")], []), "again"),
        (lambda: web.Response(status=200, text="<html>", content_type="text/html"), "again"),
    ],
)
async def test_answers_that_do_not_name_it(response: Callable[[], web.Response], outcome: str) -> None:
    async with sending() as (server, destination):
        server.behave = lambda uids: response()
        assert [each.outcome for each in await send(destination, 1)] == [outcome]


async def test_an_answer_that_names_nothing_is_believed_where_it_is_there() -> None:
    async with sending() as (server, destination):
        await destination.send(item("1.2.3.4.0"))
        server.behave = lambda uids: web.Response(status=200)
        assert [each.outcome for each in await send(destination, 2)] == ["delivered", "again"]


@pytest.mark.parametrize("kind", ["dicomweb", "peer"])
async def test_a_server_that_fails_in_everything_is_no_fault_of_an_instance(kind: str) -> None:
    async with sending(kind=kind) as (server, destination):
        server.down = True
        answers = await send(destination)
        assert {type(each) for each in answers} == {DestinationUnavailable}


async def test_bandwidth_holds_for_all_connections() -> None:
    async with sending(bandwidth=20_000, connections=4, batch=1) as (_server, destination):
        start = asyncio.get_running_loop().time()
        size = sum(each.sent for each in await send(destination, 4))
        assert asyncio.get_running_loop().time() - start >= size / 20_000 * 0.9
