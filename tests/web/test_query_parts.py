"""Searches of one system over the page: rows arrive as the answers do, and who goes away has the system cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dimse import messages, status
from gateway.scu.find import STUDY_ROOT
from gateway.web.pages.query_parts import PART, gathered
from tests.support.nodes import IMPLICIT, Message, asked_node
from tests.support.web import archive

NAME = 0x00100010


async def test_gathered() -> None:
    more = asyncio.Event()

    async def source() -> AsyncGenerator[int, None]:
        for number in range(4):
            yield number
        await more.wait()
        yield 4

    lists = gathered(source())
    async with asyncio.timeout(20):
        assert await anext(lists) == [0], "the first at once"
        assert await anext(lists) == [1, 2, 3], "though the next is not there yet"
        more.set()
        assert [each async for each in lists] == [[4]]


async def test_an_error_comes_after_what_came_before_it() -> None:
    async def source() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("gone")

    lists = gathered(source())
    assert await anext(lists) == [1]
    with pytest.raises(ValueError, match="gone"):
        await anext(lists)


async def test_closing_early_ends_what_the_source_waits_for() -> None:
    ended = asyncio.Event()

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lists = gathered(source())
    async with asyncio.timeout(20):
        assert await anext(lists) == [1]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(lists), 0.05)
        await lists.aclose()
        assert ended.is_set()


async def test_rows_as_they_arrive_and_cancelling(tmp_path: Path) -> None:
    sent = asyncio.Event()

    async def answer(message: Message) -> None:
        data = encode_data_set({NAME: Attribute("PN", ["Doe^Jane"])}, message.context.transfer_syntax)
        message.send(messages.c_find_response(message.command, status.PENDING), data)
        sent.set()
        await peer.cancelled.wait()
        message.respond(status.CANCEL)

    async with asked_node({STUDY_ROOT: [IMPLICIT]}) as peer, archive(tmp_path) as here:
        peer.answer = answer
        place = {"AET": peer.node.aet, "Host": peer.node.host, "Port": peer.node.port}
        await here.client.put("/modalities/slow", json=place)
        request = await here.client.get("/ui/query/results?source=modality:slow")
        part = await request.content.readuntil(PART.strip())
        assert "Doe, Jane" in part.decode()
        assert 'class="said"' not in part.decode(), "it is not over"
        assert not peer.cancelled.is_set()
        request.close()
        await peer.cancelled.wait()
