"""The work over DICOMweb, against the sink's DICOMweb and against servers that answer wrongly."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiohttp import web

from loadtest import engine
from loadtest.data import Instance
from loadtest.existing import NothingFound, studies_of
from loadtest.scenario import Network, Scenario, Work
from loadtest.shelf import Place
from loadtest.sink import PARTS
from loadtest.stats import Summary
from tests.loadtest.serving import serving

PLACE = Place("1.2", "1.2.1", "1.2.1.1", "1.2.840.10008.5.1.4.1.1.2")


async def run(*works: Work, app: web.Application | None = None, **changes: object) -> list[Summary]:
    options = {key: changes.pop(key) for key in ("acknowledged",) if key in changes}
    scenario = msgspec.structs.replace(Scenario(title="t", about="a", work=works), **changes)
    async with asyncio.timeout(20), serving(app=app) as target:
        counted = await engine.run(scenario, target, places=[PLACE], **options)  # type: ignore[arg-type]
        return [stats.summary() for stats in counted]


def answering(body: bytes = b"", status: int = 200, kind: str = "application/dicom+json") -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, status=status, headers={"Content-Type": kind})

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", answer)
    return app


async def test_every_kind_of_reading() -> None:
    kinds = ("qido", "study", "metadata", "frames", "rendered")
    works = [Work(do=kind, count=4, at_once=2, limit=7) for kind in kinds]  # type: ignore[arg-type]
    found = {summary.kind: summary for summary in await run(*works)}
    assert {kind: one.failures for kind, one in found.items()} == {kind: {} for kind in kinds}
    assert found["qido"].instances == 4 * 7
    assert found["study"].instances == found["metadata"].instances == 4 * PARTS
    assert found["study"].bytes > 4 * PARTS * (512 << 10)
    assert found["frames"].instances == found["rendered"].instances == 4


async def test_calls_of_rest_in_turn_and_questions() -> None:
    asked: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.path_qs, await request.read()))
        return web.json_response({}, status=404 if request.path.endswith("/gone") else 200)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    works = (
        Work(do="rest", name="in turn", paths=("/a?x=1", "/b"), count=4),
        Work(do="rest", name="question", paths=("/tools/find",), body='{"Level": "Straße"}', count=1),
        Work(do="rest", name="gone", paths=("/gone",), count=1),
    )
    in_turn, question, gone = await run(*works, app=app)
    assert (in_turn.operations, in_turn.bytes, question.operations) == (4, 8, 1)
    assert gone.failures == {"HTTP 404 Not Found": 1}
    base = "/dicom-web"
    assert sorted(asked) == sorted(
        [
            *2 * [("GET", f"{base}/a?x=1", b""), ("GET", f"{base}/b", b"")],
            ("POST", f"{base}/tools/find", '{"Level": "Straße"}'.encode()),
            ("GET", f"{base}/gone", b""),
        ]
    )


async def test_stow_acknowledges_what_the_answer_names() -> None:
    named: set[str] = set()

    def note(instance: Instance) -> None:
        named.add(instance.sop_instance_uid)

    (summary,) = await run(Work(do="stow", data="300KB", count=5, batch=4, at_once=2), acknowledged=note)
    assert summary.failures == {}
    assert (summary.operations, summary.instances, len(named)) == (5, 20, 20)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 503, "HTTP 503 Service Unavailable"),
        (b"<html>", 200, "the answer is not JSON"),
        (b"{}", 200, "instances are missing in the answer"),
        (
            b'{"00081198":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1"]},"00081197":{"vr":"US",'
            b'"Value":[42752]}}]}}',
            409,
            "refused, failure reason A700H",
        ),
    ],
)
async def test_stow_that_is_refused(body: bytes, status: int, says: str) -> None:
    (summary,) = await run(Work(do="stow", data="64", count=2), app=answering(body, status))
    assert summary.failures == {says: 2}
    assert summary.instances == 0


@pytest.mark.parametrize(
    ("do", "app", "says"),
    [
        ("qido", answering(status=401), "HTTP 401 Unauthorized"),
        ("qido", answering(b"{"), "the answer is not a JSON array"),
        ("metadata", answering(b"[]"), "instances of the study are missing"),
        ("frames", answering(status=404), "HTTP 404 Not Found"),
        ("study", answering(b"x"), "the answer is not multipart"),
        (
            "study",
            answering(b"--b--", kind='multipart/related; type="application/dicom"; boundary=b'),
            "instances of the study are missing",
        ),
    ],
)
async def test_reading_that_fails(do: str, app: web.Application, says: str) -> None:
    (summary,) = await run(Work(do=do, count=2), app=app)  # type: ignore[arg-type]
    assert summary.failures == {says: 2}


async def test_an_empty_answer_is_no_match() -> None:
    (summary,) = await run(Work(do="qido", count=2), app=answering(status=204))
    assert (summary.operations, summary.instances) == (2, 0)


async def test_parts_are_counted_however_they_are_cut() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": 'multipart/related; boundary="a b"'})
        await response.prepare(request)
        for byte in b"--a b\r\n\r\nx\r\n--a b\r\n\r\n\r\n--a bc\r\n--a b\r\n\r\ny\r\n--a b--":
            await response.write(bytes([byte]))
            await asyncio.sleep(0)
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    (summary,) = await run(Work(do="study", count=1), app=app)
    assert (summary.operations, summary.instances) == (1, 3)


async def test_a_slow_network_in_between_keeps_the_host() -> None:
    hosts = []

    async def answer(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.json_response([])

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    scenario = Scenario(
        title="t", about="a", work=(Work(do="qido", count=2, keys={"PatientID": "x"}),), network=Network(latency="20ms")
    )
    async with asyncio.timeout(10), serving(app=app) as target:
        (stats,) = await engine.run(scenario, target, places=[PLACE])
        assert target.web is not None
        assert hosts == [target.web.url.split("/")[2]] * 2
    assert stats.summary().complete


async def test_studies_that_a_server_has_are_looked_up() -> None:
    async with asyncio.timeout(10), serving() as target:
        places = await studies_of(target, 3)
    assert {place.study for place in places} == {"2.25.1"}
    assert places[0].instance == "2.25.3"
    async with asyncio.timeout(10), serving(app=answering(b"[]")) as target:
        with pytest.raises(NothingFound, match="has no study"):
            await studies_of(target, 3)
