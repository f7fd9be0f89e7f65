"""gateway/web/pages/searches.py: searches that users save, each for the user alone."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.access.saved_searches import MAX_SEARCHES_EACH
from gateway.config import Http, User
from gateway.config.roles import Role
from tests.support.index import data_set
from tests.support.sign_in import ADMIN, READER, by_password, signed_in
from tests.support.web import House, house

ANN, ROB, BEN = by_password("ann"), by_password("rob"), by_password("ben")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    part = User(name="ben", password=ADMIN.password, roles=("part",))
    async with house(tmp_path, Http(users=(ADMIN, READER, part))) as made:
        made.roles = {"part": Role(permissions=("view",), patients=("P2",))}
        await made.add(data_set("1.1"))
        yield made


async def save(gateway: House, name: object, query: object, who: dict[str, str] = ANN, status: int = 204) -> None:
    answer = await gateway.client.put("/ui/searches", json={"Name": name, "Query": query}, headers=who)
    assert answer.status == status, await answer.text()


async def saved(gateway: House, who: dict[str, str] = ANN) -> list[tuple[str, str]]:
    """Query and name of each search on the page."""
    text = await (await gateway.client.get("/ui/", headers=who)).text()
    (place,) = re.findall(r'<span id="saved"[^>]*>(.*?)</span>', text)
    links = re.findall(r'<a href="/ui/\?([^"]*)">([^<]*)</a>', place)
    return [(html.unescape(query), html.unescape(name)) for query, name in links]


async def test_saved_replaced_and_forgotten(gateway: House) -> None:
    assert await saved(gateway) == []
    await save(gateway, "mine", "patient=doe&modality=CT")
    await save(gateway, " <b>", "date=today")
    assert await saved(gateway) == [("patient=doe&modality=CT", "mine"), ("date=today", "<b>")]
    await save(gateway, "mine", "patient=roe")
    assert await saved(gateway) == [("date=today", "<b>"), ("patient=roe", "mine")]
    for status in (204, 404):
        answer = await gateway.client.delete("/ui/searches", params={"name": "<b>"}, headers=ANN)
        assert answer.status == status
    assert await saved(gateway) == [("patient=roe", "mine")]


async def test_each_for_its_user_alone(gateway: House) -> None:
    """For one who sees a part of the archive too."""
    for who, query in ((ANN, "patient=a"), (ROB, "patient=r"), (BEN, "patient=b")):
        await save(gateway, "mine", query, who)
    assert [await saved(gateway, who) for who in (ANN, ROB, BEN)] == [[(f"patient={x}", "mine")] for x in "arb"]
    await gateway.client.delete("/ui/searches", params={"name": "mine"}, headers=ROB)
    assert [await saved(gateway, who) for who in (ANN, ROB)] == [[("patient=a", "mine")], []]


async def test_the_oldest_goes(gateway: House) -> None:
    for number in range(MAX_SEARCHES_EACH + 1):
        await save(gateway, f"s{number}", f"patient={number}")
    found = await saved(gateway)
    assert (len(found), found[0][1], found[-1][1]) == (MAX_SEARCHES_EACH, "s1", f"s{MAX_SEARCHES_EACH}")


@pytest.mark.parametrize(
    ("name", "query"), [("", "a=b"), ("x" * 41, "a=b"), ("a\nb", "a=b"), ("x", ""), ("x", "y" * 2001), (None, "a=b")]
)
async def test_what_is_none(gateway: House, name: object, query: object) -> None:
    await save(gateway, name, query, status=400)
    assert await saved(gateway) == []


async def test_links_and_readers_that_nobody_knows_have_none(gateway: House) -> None:
    (study,) = await (await gateway.client.get("/studies", headers=ANN)).json()
    wanted = {"Resources": [{"Level": "study", "OrthancId": study}]}
    made = await gateway.client.put("/auth/tokens/viewer-instant-link", json=wanted, headers=ANN)
    token = {"Authorization": f"Bearer {(await made.json())['Token']}"}
    await save(gateway, "mine", "patient=a")
    await save(gateway, "theirs", "patient=b", token, status=403)
    gateway.http = Http(allow_anonymous=True)
    await save(gateway, "ours", "patient=b", {}, status=403)
    text = await (await gateway.client.get("/ui/")).text()
    assert "data-searches" not in text
    assert ">mine<" not in text


async def test_a_session_saves_from_our_pages_alone(gateway: House) -> None:
    await signed_in(gateway)
    await save(gateway, "mine", "patient=a", {"Origin": "http://evil.example"}, status=403)
    await save(gateway, "mine", "patient=a", {"Origin": str(gateway.client.make_url("/")).rstrip("/")})
    assert await saved(gateway, {}) == [("patient=a", "mine")]
