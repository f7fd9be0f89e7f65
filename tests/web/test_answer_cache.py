"""Cached answers are those that would be made now, whatever was changed since, and by which process."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydicom.dataset import Dataset

from gateway.access.principals import Principal
from gateway.config.roles import BUILT_IN, Role
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.database.view import View
from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.index import annotations as added
from gateway.index import resources
from gateway.index.locate import Identity
from gateway.index.precondition import Precondition
from gateway.index.reconstruct import IndexedFile, reconstruct
from gateway.index.remove import remove_resource
from gateway.index.store import correct_parents
from gateway.index.visibility import visible
from gateway.web import authentication, authorization
from gateway.web.app import create_app
from gateway.web.authorization import PRINCIPAL
from gateway.web.rest import change_texts
from gateway.web.rest.answer_cache import ANSWERS, AnswerCache, CachedAnswer, CachedEntries, CachedMatches
from gateway.web.rest.change_texts import CHANGES, ChangeTexts
from tests.support.index import data_set, record
from tests.support.web import House

ASKED = [
    *[f"/{kind}" for kind in COLLECTIONS.values()],
    *[f"/{kind}?expand" for kind in COLLECTIONS.values()],
    "/studies?expand&since=1&limit=2",
    "/changes?limit=7",
    "/changes?limit=1000",
    "/changes?since=13&limit=9",
]
FILE_OF = Query("file_of: of an instance", "SELECT id, key, series FROM instances WHERE public_id = $1")
FINDS: list[dict[str, Any]] = [
    {"Level": "Study", "Expand": True, "Query": {"PatientID": "P*"}},
    {"Level": "Study", "Query": {"StudyDescription": "*o*"}},
    {"Level": "Series", "Expand": True, "Query": {}, "Labels": ["red"]},
    {"Level": "Instance", "Expand": True, "Query": {}, "Limit": 3, "Since": 1},
]


@pytest.fixture
async def anew(gateway: House) -> AsyncIterator[House]:
    """A second application over the same database, which caches no answers."""
    second = House(gateway.database, gateway.memory, gateway.http)
    second.use_cases = gateway.use_cases
    app = create_app(second.context())
    app[ANSWERS] = AnswerCache(gateway.database, 0)
    app[CHANGES] = ChangeTexts(gateway.database, app[ANSWERS])
    second.client = TestClient(TestServer(app))
    await second.client.start_server()
    yield second
    await second.client.close()


class Hands:
    """Random changes of an archive, of every kind that resources show."""

    def __init__(self, gateway: House, seed: int) -> None:
        self._gateway, self._random, self._keys = gateway, random.Random(seed), dict[str, str]()

    async def change(self) -> None:
        kinds: list[Callable[[], Any]] = [self._add, self._add, self._replace, self._remove, self._label, self._unlabel]
        kinds += [self._set, self._unset, self._note, self._protect, self._bring, self._reconstruct, self._correct]
        await self._random.choice(kinds)()

    def _pick(self) -> tuple[Dataset, str]:
        study, series, sop = (self._random.randint(1, 2) for _ in range(3))
        uid = f"1.2.{study}.{series}.{sop}"
        texts = ("Thorax", "Abdomen", 'a "quoted"\nline', "ÄÖ")
        return (
            data_set(
                f"1.2.{study}",
                f"1.2.{study}.{series}",
                uid,
                PatientID=f"P{study % 2}",
                InstanceNumber=self._random.randint(1, 4),
                ImagesInAcquisition=2,
                NumberOfTemporalPositions=1,
                StudyDescription=self._random.choice(texts),
                SeriesDescription=self._random.choice(texts),
            ),
            uid,
        )

    async def _add(self) -> None:
        source, uid = self._pick()
        if uid not in self._keys:
            self._keys[uid], _file = await self._gateway.add(source)

    async def _replace(self) -> None:
        source, uid = self._pick()
        if uid in self._keys:
            self._keys[uid], _file = await self._gateway.add(source, replaces=self._keys[uid])

    async def _one(self, level: Level | None = None) -> tuple[Level, int, str] | None:
        chosen = self._random.choice(LEVELS) if level is None else level
        async for page in resources.rows(self._gateway.database, chosen):
            return (chosen, *self._random.choice(page)) if page else None
        return None

    async def _write(self, script: Script[Any]) -> None:
        await self._gateway.database.write(lambda: script)

    async def _remove(self) -> None:
        if one := await self._one(self._random.choice(("series", "instance", "instance"))):
            await self._write(remove_resource(one[0], one[1], 5.0, 5.0))
            rows = await self._gateway.json("/instances?expand")
            there = {each["MainDicomTags"]["SOPInstanceUID"] for each in rows}
            self._keys = {uid: key for uid, key in self._keys.items() if uid in there}

    async def _label(self) -> None:
        if one := await self._one():
            await self._write(added.add_label(one[0], one[2], self._random.choice(("red", "green"))))

    async def _unlabel(self) -> None:
        if one := await self._one():
            await self._write(added.remove_label(one[0], one[2], self._random.choice(("red", "green"))))

    async def _set(self) -> None:
        if one := await self._one():
            value = str(self._random.random())
            await self._write(added.set_metadata(one[0], one[2], "ModifiedFrom", value, Precondition(), 5.0))

    async def _unset(self) -> None:
        one = await self._one()
        if one and await added.added_metadata(self._gateway.database, one[0], one[2]):
            await self._write(added.remove_metadata(one[0], one[2], "ModifiedFrom", Precondition(), 5.0))

    async def _note(self) -> None:
        if one := await self._one("study"):
            pair = Identity("p", one[2], "s", "i"), Identity("p", str(self._random.random()), "s", "i")
            await self._write(added.note_origins("ModifiedFrom", [pair]))

    async def _bring(self) -> None:
        if one := await self._one():
            brought = {"ModifiedFrom": added.Metadata("x", self._random.randint(0, 3))}
            await self._write(added.bring_annotations(one[0], one[2], brought, ["blue"], 5.0))

    async def _protect(self) -> None:
        if one := await self._one("patient"):
            await self._write(added.protect(one[2], self._random.random() < 0.5))

    async def _reconstruct(self) -> None:
        made = record(self._pick()[0])
        rows = await self._gateway.database.fetch(FILE_OF, made.public_id)
        for row, key, series in rows:
            await self._write(reconstruct(IndexedFile(row, key, made.public_id, series), made, first_seen=True))

    async def _correct(self) -> None:
        await self._write(correct_parents(record(self._pick()[0]), LEVELS))


@pytest.mark.parametrize("seed", range(3))
async def test_cached_answers_are_those_made_anew(gateway: House, anew: House, seed: int) -> None:
    hands = Hands(gateway, seed)
    for _ in range(60):
        await hands.change()
        for path in ASKED:
            assert await gateway.json(path) == await anew.json(path), path
        for body in FINDS:
            kept, made = [
                await (await each.client.post("/tools/find", json=body)).json(content_type=None)
                for each in (gateway, anew)
            ]
            assert kept == made, body
        for kind in COLLECTIONS.values():
            for public_id in (await anew.json(f"/{kind}"))[:2]:
                for path in (f"/{kind}/{public_id}", *([f"/{kind}/{public_id}/tags"] if kind == "instances" else [])):
                    kept, made = [await (await each.get(path)).read() for each in (gateway, anew)]
                    assert kept == made


async def asked_for(gateway: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that are run from now on."""
    names: list[str] = []
    fetch = gateway.database.fetch

    async def counting(query: Query, *parameters: Any) -> Any:
        names.append(query.name.partition(":")[0])
        return await fetch(query, *parameters)

    monkeypatch.setattr(gateway.database, "fetch", counting)
    return names


class TestStatements:
    """The statements that a cached answer costs."""

    async def test_resources(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        await gateway.add(data_set("1.2"))
        await gateway.add(data_set("1.3"))
        (first, second) = await gateway.json("/studies?expand")
        names = await asked_for(gateway, monkeypatch)
        assert await gateway.json("/studies?expand") == [first, second]
        assert await gateway.json(f"/studies/{first['ID']}") == first
        assert names == ["rows"]
        names.clear()
        await gateway.add(data_set("1.3"))
        assert (await gateway.json("/studies?expand"))[0] == first
        assert names == ["rows", "stamps", "resources_by_row", "around"]
        names.clear()
        await gateway.add(data_set("1.4"))
        assert await gateway.json(f"/studies/{first['ID']}") == first
        assert names == ["stamp"]

    async def test_tags(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        key, _file = await gateway.add(data_set("1.2", sop="1.2.1"))
        (instance,) = await gateway.json("/instances")
        first = await gateway.json(f"/instances/{instance}/tags")
        names = await asked_for(gateway, monkeypatch)
        assert await gateway.json(f"/instances/{instance}/tags") == first
        assert names == []
        await gateway.add(data_set("1.3"))
        gateway.memory.remove(key)  # It would not be read again.
        assert await gateway.json(f"/instances/{instance}/tags") == first
        assert len(names) == 1

    async def test_matches(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        await gateway.add(data_set("1.2"))
        names = await asked_for(gateway, monkeypatch)
        for body in ({"Level": "Study", "Expand": True, "Query": {}}, {"Level": "Study", "Query": {}}):
            for _ in range(2):
                answer = await gateway.client.post("/tools/find", json=body)
                assert len(await answer.json(content_type=None)) == 1
        assert names.count("rows_found") == 2
        await gateway.add(data_set("1.3"))
        answer = await gateway.client.post("/tools/find", json=body)
        assert len(await answer.json(content_type=None)) == 2

    async def test_changes(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(change_texts, "_BLOCK", 3)
        for study in range(1, 5):
            await gateway.add(data_set(f"1.{study}"))
        everything = (await gateway.json("/changes"))["Changes"]
        count = len(everything)
        assert [each["Seq"] for each in everything] == list(range(1, count + 1))
        names = await asked_for(gateway, monkeypatch)
        for since in range(count + 2):
            for limit in range(1, count + 2):
                found = await gateway.json(f"/changes?since={since}&limit={limit}")
                assert found["Changes"] == everything[since : since + limit]
                assert found["Done"] == (since + limit >= count)
                assert found["Last"] == (found["Changes"][-1]["Seq"] if found["Changes"] else count)
        names.clear()
        assert (await gateway.json("/changes?since=1&limit=4"))["Changes"] == everything[1:5]
        assert names == []


async def test_what_becomes_stable(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1030.0
    monkeypatch.setattr(time, "time", lambda: now)
    await gateway.add(data_set("1.2"))  # It came at 1000.
    for path in ("/studies?expand", "/studies?expand"):
        assert [each["IsStable"] for each in await gateway.json(path)] == [False]
    now = 1060.0
    assert [each["IsStable"] for each in await gateway.json("/studies?expand")] == [True]


async def test_another_process_writes(gateway: House, tmp_path: Path) -> None:
    await gateway.add(data_set("1.2"))
    (study,) = await gateway.json("/studies?expand")
    other = await SQLite.open(tmp_path / "index.db")
    try:
        await other.write(lambda: added.add_label("study", study["ID"], "theirs"))
    finally:
        await other.close()
    assert (await gateway.json("/studies?expand"))[0]["Labels"] == ["theirs"]


def test_the_sizes_of_what_is_cached(tmp_path: Path) -> None:
    answers = AnswerCache(_NoDatabase(), 8000)  # type: ignore[arg-type]
    answers.put("a", CachedAnswer(bytes(1000), 1))
    one = answers.used
    assert one > 1000
    answers.put("a", CachedAnswer(bytes(500), 1))
    assert answers.used == one - 500
    answers.put("b", CachedEntries((1, 2), (bytes(100), bytes(100))))
    answers.put("c", CachedMatches([(1, "x"), (2, "y")], 1))
    assert answers.used > one + 300
    for key in range(100):
        answers.put(key, CachedAnswer(bytes(100), 1))
    assert answers.used <= 8000
    assert answers.answers([99, "a"], 1) == [bytes(100), None]
    assert answers.answers([99], 2) == [None]


class _NoDatabase:
    def data_version(self) -> int:
        return 1


async def test_what_roles_show(gateway: House, anew: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached answer is for those alone who see the same."""
    views: dict[str, View | None] = {"all": None}
    views |= {label: visible([Role(("view",), labels=(label,))]) for label in ("red", "green")}
    who = "all"
    monkeypatch.setattr(change_texts, "_BLOCK", 2)
    monkeypatch.setattr(authorization, "_view", lambda *asked: views[who])
    admin = Principal("ann", (BUILT_IN["admin"],))
    monkeypatch.setattr(authentication, "recognize", lambda request: request.__setitem__(PRINCIPAL, admin))
    for study in range(1, 4):
        await gateway.add(data_set(f"1.{study}", PatientID=f"P{study % 2}"))
    studies, instances = await gateway.json("/studies"), await gateway.json("/instances")
    paths = [f"/{kind}?expand" for kind in COLLECTIONS.values()]
    paths += [f"/studies/{each}" for each in studies] + [f"/instances/{each}/tags" for each in instances]
    paths += ["/changes", "/changes?since=2&limit=3"]
    finds = [{"Level": "Study", "Expand": True, "Query": {}}, {"Level": "Series", "Query": {}}]

    async def seen(by: House) -> list[Any]:
        answers = [await by.get(path) for path in paths]
        answers += [await by.client.post("/tools/find", json=body) for body in finds]
        return [(answer.status, await answer.json(content_type=None)) for answer in answers]

    counts = []
    for label, study in (("red", studies[0]), ("green", studies[1]), ("red", studies[2]), ("green", studies[2])):
        await gateway.database.write(functools.partial(added.add_label, "study", study, label))
        for who in (*views, *views):
            found = await seen(gateway)
            assert found == await seen(anew), (label, who)
            counts.append(len(found[1][1]))
    assert counts == [*[3, 1, 0] * 2, *[3, 1, 1] * 2, *[3, 2, 1] * 2, *[3, 2, 2] * 2]
    await gateway.database.write(functools.partial(added.remove_label, "study", studies[0], "red"))
    who = "red"
    assert [each["ID"] for each in await gateway.json("/studies?expand")] == [studies[2]]
    assert (await gateway.get(f"/instances/{instances[0]}/tags")).status == 404
