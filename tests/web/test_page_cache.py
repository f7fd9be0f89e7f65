"""The cached page of studies is the one that would be made now, for whoever asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Dicom, Http, User
from gateway.config.roles import Role
from gateway.web.pages import frame, page, page_cache, study_query
from tests.support.index import data_set
from tests.support.sign_in import ADMIN, by_password, signed_in
from tests.support.web import House, house


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates of the pages that were made, not taken from the cache."""
    found: list[str] = []
    really = frame.page_answer

    def counted(request: Any, template: str, values: Any) -> Any:
        found.append(template)
        return really(request, template, values)

    monkeypatch.setattr(page, "page_answer", counted)
    return found


async def read(gateway: House, path: str = "/ui/", **headers: str) -> str:
    answer = await gateway.client.get(path, headers=headers)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return await answer.text()


async def test_made_once_until_something_is_committed(gateway: House, made: list[str]) -> None:
    await gateway.add(data_set("1.1", PatientName="Doe^Jane"))
    first = await read(gateway)
    assert "Doe, Jane" in first
    assert await read(gateway) == first
    assert made == ["studies.html"]
    await read(gateway, "/ui/rows")
    await read(gateway, "/ui/rows")
    assert made == ["studies.html", "rows.html"]
    await gateway.add(data_set("1.2", PatientName="Roe^Max", PatientID="P2"))
    assert "Roe, Max" in await read(gateway)
    assert "Roe, Max" in await read(gateway, "/ui/rows")


async def test_what_is_committed_while_a_page_is_made(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.add(data_set("1.1", PatientName="Doe^Jane"))
    really, reached, go_on = study_query.read_page, asyncio.Event(), asyncio.Event()

    async def slowly(*given: Any, **named: Any) -> Any:
        found = await really(*given, **named)
        reached.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(page, "read_page", slowly)
    early = asyncio.create_task(read(gateway))
    await reached.wait()
    await gateway.add(data_set("1.2", PatientName="Roe^Max", PatientID="P2"))
    go_on.set()
    assert "Roe, Max" not in await early
    assert "Roe, Max" in await read(gateway)


async def test_each_address_language_choice_and_proxy_has_its_own(gateway: House) -> None:
    await gateway.add(data_set("1.1", PatientName="Doe^Jane"))
    columns = {"Cookie": "dicom-gateway-columns=patient.size"}
    asked: list[tuple[str, dict[str, str]]] = [
        ("/ui/", {}),
        ("/ui/?patient=doe", {}),
        ("/ui/?sort=name", {}),
        ("/ui/", {"Accept-Language": "ja"}),
        ("/ui/", {"Cookie": "dicom-gateway-language=fr"}),
        ("/ui/", columns),
    ]
    fresh = [await read(gateway, path, **headers) for path, headers in asked]
    assert len(set(fresh)) == len(asked)
    assert [await read(gateway, path, **headers) for path, headers in asked] == fresh
    gateway.http = Http(trusted_proxies=("127.0.0.1",))
    proxied = {"X-Forwarded-For": "10.0.0.7", "X-Forwarded-Prefix": "/pacs"}
    assert 'href="/pacs/ui/' in await read(gateway, **proxied)
    assert 'href="/pacs' not in await read(gateway)


async def test_other_settings(gateway: House) -> None:
    await gateway.add(data_set("1.1"))
    assert "<dd>GATEWAY</dd>" in await read(gateway)
    gateway.dicom = Dicom(aet="ARCHIVE")
    assert "<dd>ARCHIVE</dd>" in await read(gateway)


async def test_expires(gateway: House, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in the database, such as an installed viewer, shows soon all the same."""
    await gateway.add(data_set("1.1"))
    monkeypatch.setattr(page_cache, "_EXPIRY_S", -1.0)
    await read(gateway)
    await read(gateway)
    assert made == ["studies.html"] * 2


async def test_long_addresses_are_not_cached(gateway: House, made: list[str]) -> None:
    for _ in range(2):
        await read(gateway, "/ui/?patient=x&nothing=" + "y" * 1000)
    assert made == ["studies.html"] * 2


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway with two readers who may do everything, one who sees a part, and one who may only look."""
    roles = {"ann": ("admin",), "otto": ("admin",), "ben": ("part",), "rob": ("view",)}
    users = tuple([User(name=name, password=ADMIN.password, roles=held) for name, held in roles.items()])
    async with house(tmp_path, Http(users=users)) as gateway:
        gateway.roles = {"part": Role(permissions=("view",), patients=("P2",))}
        await gateway.add(data_set("1.1", PatientID="P1", PatientName="Doe^Jane"))
        await gateway.add(data_set("1.2", PatientID="P2", PatientName="Roe^Max"))
        yield gateway


async def test_no_page_for_another_reader(guarded: House) -> None:
    for _ in range(2):
        whole = await read(guarded, **by_password("ann"))
        assert "Doe, Jane" in whole
        assert 'data-act="label"' in whole
        assert ">ann</a>" in whole
        other = await read(guarded, **by_password("otto"))
        assert ">otto</a>" in other
        assert ">ann</a>" not in other
        part = await read(guarded, **by_password("ben"))
        assert "Roe, Max" in part
        assert "Doe, Jane" not in part
        allowed = await read(guarded, **by_password("rob"))
        assert "Doe, Jane" in allowed
        assert 'data-act="label"' not in allowed


async def test_each_session_has_its_own(guarded: House, made: list[str]) -> None:
    """What stands in forms for one session alone is in no page of another."""
    cookies = []
    for _ in range(2):
        answer = await signed_in(guarded)
        cookies.append("; ".join([f"{each.key}={each.value}" for each in answer.cookies.values()]))
        guarded.client.session.cookie_jar.clear()
    assert len(set(cookies)) == 2
    for cookie in cookies:  # The first use of a session is committed.
        assert (await guarded.client.get("/system", headers={"Cookie": cookie})).status == 200
    for cookie in (*cookies, *cookies):
        await read(guarded, Cookie=cookie)
    assert len(made) >= 2
