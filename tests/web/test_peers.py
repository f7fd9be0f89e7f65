"""/peers and /dicom-web/servers: what scripts for Orthanc do with them, over a second gateway with HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as OtherServer

from gateway.config import Dicomweb
from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.jobs.runner import Runner
from gateway.jobs.table import ended_job
from tests.support.remote import file_of, numbered
from tests.support.web import House, archive

KINDS = ["/peers", "/dicom-web/servers"]


@dataclass
class Pair:
    """`here` is asked; `there` is its peer and its server `there`."""

    here: House
    there: House

    async def ask(self, method: str, path: str, body: Any = None, *, data: bytes | None = None) -> tuple[int, Any]:
        options: dict[str, Any] = {"data": data} if data is not None else {"json": body} if body is not None else {}
        answer = await self.here.client.request(method, path, **options)
        return answer.status, await answer.json(content_type=None)

    async def fill(self, *numbers: int) -> list[dict[str, str]]:
        """Instances of one study, stored here."""
        return [(await self.ask("POST", "/instances", data=file_of(numbered(number))))[1] for number in numbers]

    async def stored_there(self) -> int:
        return int((await self.there.json("/statistics"))["CountInstances"])


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with asyncio.timeout(50), archive(tmp_path / "here") as here, archive(tmp_path / "there") as there:
        runner = Runner(here.database, here.use_cases.kinds, poll=0.02)
        runner.start()
        made = Pair(here, there)
        url = str(there.client.make_url("/"))
        for kind, root in zip(KINDS, (url, url + "dicom-web"), strict=True):
            assert await made.ask("PUT", f"{kind}/there", {"Url": root}) == (200, {})
            assert await made.ask("PUT", f"{kind}/closed", {"Url": "http://127.0.0.1:1/"}) == (200, {})
        try:
            yield made
        finally:
            await runner.close()


@pytest.mark.parametrize("kind", KINDS)
class TestKnown:
    async def test_secrets_are_not_shown(self, pair: Pair, kind: str) -> None:
        headers = {"Authorization": "Bearer secret"}
        fields = {"Url": "http://h/x", "Username": "u", "Password": "secret", "Timeout": 3, "HasDelete": True}
        assert (await pair.ask("PUT", f"{kind}/new", {**fields, "HttpHeaders": headers}))[0] == 200
        shown = (await pair.here.json(f"{kind}?expand"))["new"]
        assert shown == {
            "HasDelete": "1",
            "HttpHeaders": ["Authorization"],
            "Password": None,
            "Pkcs11": False,
            "Source": "REST",
            "Timeout": 3,
            "Url": "http://h/x/",
            "Username": "u",
        }
        assert await pair.here.json(kind) == ["closed", "new", "there"]

    async def test_goes(self, pair: Pair, kind: str) -> None:
        assert await pair.ask("DELETE", f"{kind}/there") == (200, {})
        assert (await pair.ask("DELETE", f"{kind}/there"))[0] == 404
        assert (await pair.ask("GET", f"{kind}/there"))[0] == 404

    async def test_one_of_the_file_is_not_changed(self, pair: Pair, kind: str) -> None:
        pair.here.destinations = {
            "p": PeerDestination(url="http://p", auth="basic", user="u", password="secret"),
            "w": DicomwebDestination(url="http://w"),
        }
        name = "p" if kind == "/peers" else "w"
        assert await pair.here.json(kind) == ["closed", *sorted([name, "there"])]
        shown = (await pair.here.json(f"{kind}?expand"))[name]
        assert (shown["Source"], shown["Url"]) == ("Configuration", f"http://{name}/")
        assert "secret" not in str(shown)
        assert (await pair.ask("PUT", f"{kind}/{name}", {"Url": "http://x"}))[0] == 403
        assert (await pair.ask("DELETE", f"{kind}/{name}"))[0] == 403

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({}, "Empty URL"),
            ([], "a list of its URL"),
            ("x", "a JSON object"),
            ({"Url": "ftp://x"}, "Bad URL: ftp://x"),
            ({"Url": "http://u:p@x"}, "Bad URL"),
            ({"Url": "file:///etc/passwd"}, "Bad URL"),
            ({"Url": "http://x", "CertificateFile": "/etc/key"}, "CertificateFile"),
            ({"Url": "http://x", "Pkcs11": True}, "Pkcs11"),
            ({"Url": "http://x", "HttpHeaders": {"X": "1"}}, "HttpHeaders"),
            ({"Url": "http://x", "HttpHeaders": {"Authorization": "Bearer a\r\nb"}}, "HttpHeaders"),
            ({"Url": "http://x", "more": []}, "more"),
        ],
    )
    async def test_what_makes_no_sense(self, pair: Pair, kind: str, body: Any, said: str) -> None:
        status, answer = await pair.ask("PUT", f"{kind}/bad", body)
        assert (status, answer["OrthancStatus"]) == (400, 15)
        assert said in answer["Details"]


class TestPeer:
    async def test_stored_there(self, pair: Pair) -> None:
        made = await pair.fill(1, 2)
        status, answer = await pair.ask("POST", "/peers/there/store", data=made[0]["ParentStudy"].encode())
        assert status == 200, answer
        assert (answer["InstancesCount"], answer["FailedInstancesCount"], answer["Compress"]) == (2, 0, False)
        assert answer["ParentResources"] == [made[0]["ParentStudy"]]
        assert answer["Peer"] == [str(pair.there.client.make_url("/"))]
        assert int(answer["Size"]) > 0
        assert await pair.stored_there() == 2

    async def test_as_a_job(self, pair: Pair) -> None:
        (only,) = await pair.fill(1)
        body = {"Resources": [only["ID"]], "Synchronous": False}
        _, answer = await pair.ask("POST", "/peers/there/store", body)
        job = await ended_job(pair.here.database, int(answer["ID"]))
        assert job is not None
        assert (job.kind, job.state) == ("OrthancPeerStore", "done")

    async def test_nobody_there(self, pair: Pair) -> None:
        (only,) = await pair.fill(1)
        for path in ("/peers/closed/store", "/dicom-web/servers/closed/stow"):
            status, answer = await pair.ask("POST", path, [only["ID"]])
            assert (status, answer["OrthancStatus"]) == (500, 9)
            assert "closed: no connection" in answer["Details"]
        status, answer = await pair.ask("GET", "/peers/closed/system")
        assert (status, answer["OrthancStatus"]) == (500, 9)
        body = {"Resources": [only["ID"]], "Permissive": True}
        assert (await pair.ask("POST", "/peers/closed/store", body))[1]["FailedInstancesCount"] == 1

    async def test_what_it_says_of_itself(self, pair: Pair) -> None:
        assert (await pair.here.json("/peers/there/system"))["DicomAet"] == "GATEWAY"
        assert await pair.here.json("/peers/there") == ["configuration", "store", "store-straight", "system"]
        assert (await pair.here.json("/peers/there/configuration"))["Source"] == "REST"

    @pytest.mark.parametrize("body", [{}, {"Resources": ["x"]}, "nope"])
    async def test_what_makes_no_sense(self, pair: Pair, body: Any) -> None:
        assert (await pair.ask("POST", "/peers/there/store", body))[0] == 400


class TestServer:
    async def test_stowed_there(self, pair: Pair) -> None:
        made = await pair.fill(1, 2)
        body = {"Resources": [made[0]["ParentStudy"]]}
        status, answer = await pair.ask("POST", "/dicom-web/servers/there/stow", body)
        assert (status, answer) == (200, {"InstancesCount": "2", "NetworkSizeMB": "0"})
        assert await pair.stored_there() == 2

    async def test_asked(self, pair: Pair) -> None:
        made = await pair.fill(1)
        await pair.ask("POST", "/dicom-web/servers/there/stow", {"Resources": [made[0]["ID"]]})
        path = "/dicom-web/servers/there/get"
        status, found = await pair.ask("POST", path, {"Uri": "/studies", "Arguments": {"PatientID": "P1"}})
        assert (status, found[0]["0020000D"]["Value"]) == (200, ["1.2.3"])
        answer = await pair.here.client.post(path, json={"Uri": "studies/1.2.3/metadata"})
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert (await pair.ask("POST", path, {"Uri": "/nope"}))[0] == 404
        for body in ({}, {"Uri": "/../x"}, {"Uri": "/a", "Arguments": []}, {"Uri": "/a\n"}):
            assert (await pair.ask("POST", path, body))[0] == 400
        assert await pair.here.json("/dicom-web/servers/there") == ["delete", "get", "qido", "retrieve", "stow"]

    async def test_searched(self, pair: Pair) -> None:
        made = await pair.fill(1)
        await pair.ask("POST", "/dicom-web/servers/there/stow", {"Resources": [made[0]["ID"]]})
        path = "/dicom-web/servers/there/qido"
        status, (study,) = await pair.ask("POST", path, {"Uri": "/studies", "Arguments": {"PatientID": "P1"}})
        assert status == 200
        name = {"Element": 16, "Group": 16, "Name": "PatientName", "Value": "Doe^Jane", "vr": "PN"}
        assert study["00100010"] == name
        assert (await pair.ask("POST", path, {"Uri": "/nope"}))[0] == 404
        assert (await pair.ask("POST", path, {}))[0] == 400
        assert (await pair.ask("POST", "/dicom-web/servers/closed/qido", {"Uri": "/studies"}))[0] == 500

    async def test_deleted_there(self, pair: Pair) -> None:
        made = await pair.fill(1)
        await pair.ask("POST", "/dicom-web/servers/there/stow", {"Resources": [made[0]["ID"]]})
        path, body = "/dicom-web/servers/there/delete", {"Level": "Study", "StudyInstanceUID": "1.2.3"}
        status, answer = await pair.ask("POST", path, body)
        assert (status, "HasDelete" in answer["Details"]) == (400, True)
        url = str(pair.there.client.make_url("/dicom-web"))
        await pair.ask("PUT", "/dicom-web/servers/there", {"Url": url, "HasDelete": True})
        for wrong in ({"Level": "Study"}, {"Level": "Patient"}, {**body, "StudyInstanceUID": "../x"}):
            assert (await pair.ask("POST", path, wrong))[0] == 400
        pair.there.dicomweb = Dicomweb(delete=True)
        assert await pair.ask("POST", path, body) == (200, {})
        assert await pair.stored_there() == 0


class TestStraight:
    async def test_is_stored_there_and_not_here(self, pair: Pair) -> None:
        for status in ("Success", "AlreadyStored"):
            found, answer = await pair.ask("POST", "/peers/there/store-straight", data=file_of(numbered(1)))
            assert (found, answer["Status"]) == (200, status)
        assert await pair.stored_there() == 1
        assert await pair.here.json("/instances") == []

    @pytest.mark.parametrize(("name", "status"), [("there", 500), ("closed", 500), ("nobody", 404)])
    async def test_what_is_not_taken(self, pair: Pair, name: str, status: int) -> None:
        found, answer = await pair.ask("POST", f"/peers/{name}/store-straight", data=b"nonsense")
        assert found == status
        assert name in answer["Details"]


class TestRetrieve:
    async def fill_there(self, pair: Pair, *numbers: int) -> None:
        for number in numbers:
            assert (await pair.there.client.post("/instances", data=file_of(numbered(number)))).status == 200

    @pytest.mark.parametrize(
        ("resource", "count"),
        [
            ({"Study": "1.2.3"}, 3),
            ({"Study": "1.2.3", "Series": "1.2.3.1"}, 3),
            ({"Study": "1.2.3", "Series": "1.2.3.1", "Instance": "1.2.3.1.2"}, 1),
        ],
    )
    async def test_what_is_named(self, pair: Pair, resource: dict[str, str], count: int) -> None:
        await self.fill_there(pair, 1, 2, 3)
        found = await pair.ask("POST", "/dicom-web/servers/there/retrieve", {"Resources": [resource]})
        assert found == (200, {"NetworkUsageMB": "0", "ReceivedInstancesCount": str(count)})
        assert len(await pair.here.json("/instances")) == count
        (one, *_) = await pair.here.json("/instances")
        files = [await (await house.get(f"/instances/{one}/file")).read() for house in (pair.here, pair.there)]
        assert len({file[-500:] for file in files}) == 1

    async def test_by_a_job(self, pair: Pair) -> None:
        await self.fill_there(pair, 1)
        body = {"Resources": [{"Study": "1.2.3"}], "Synchronous": False, "Priority": 2, "UserData": "x"}
        _, answer = await pair.ask("POST", "/dicom-web/servers/there/retrieve", body)
        await ended_job(pair.here.database, int(answer["ID"]))
        job = await pair.here.json(answer["Path"])
        assert (job["Type"], job["State"], job["Priority"]) == ("DicomWebWadoRetrieveClient", "Success", 2)
        assert (job["UserData"], job["Content"]["ReceivedInstancesCount"]) == ("x", "1")

    async def test_what_does_not_come(self, pair: Pair) -> None:
        body = {"Resources": [{"Study": "1.2.3"}]}
        for name, reason in (("there", "it answers 404"), ("closed", "no connection")):
            status, answer = await pair.ask("POST", f"/dicom-web/servers/{name}/retrieve", body)
            assert status == 500
            assert reason in answer["Details"]
        assert (await pair.ask("POST", "/dicom-web/servers/nobody/retrieve", body))[0] == 404

    @pytest.mark.parametrize(
        "body",
        [
            [],
            {},
            {"Resources": {}},
            {"Resources": [1]},
            {"Resources": [{}]},
            {"Resources": [{"Series": "1"}]},
            {"Resources": [{"Study": "../x"}]},
            {"Resources": [{"Study": "1.2", "Instance": "1.2"}]},
            {"Resources": [{"Study": ["1.2"]}]},
        ],
    )
    async def test_what_makes_no_sense(self, pair: Pair, body: Any) -> None:
        status, answer = await pair.ask("POST", "/dicom-web/servers/there/retrieve", body)
        assert (status, answer["OrthancStatus"]) == (400, 15)
        assert answer["Details"]

    async def test_what_is_no_instance_is_said_and_the_rest_stored(self, pair: Pair) -> None:
        """A server that answers a page instead of instances, or a part that is none."""

        async def answer(request: web.Request) -> web.Response:
            if request.path.endswith("/1.1"):
                return web.Response(text="<html>", content_type="text/html")
            parts = b"".join(
                b"--X\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n"
                for data in (file_of(numbered(1)), b"nonsense", file_of(numbered(2)))
            )
            kind = 'multipart/related; type="application/dicom"; boundary=X'
            return web.Response(body=parts + b"--X--", headers={"Content-Type": kind})

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with OtherServer(app) as server:
            await pair.ask("PUT", "/dicom-web/servers/odd", {"Url": str(server.make_url("/"))})
            for study, reason in (("1.1", "not multipart/related"), ("1.2.3", "1 instances were not stored")):
                body = {"Resources": [{"Study": study}]}
                status, found = await pair.ask("POST", "/dicom-web/servers/odd/retrieve", body)
                assert (status, reason in found["Details"]) == (500, True), found
        assert len(await pair.here.json("/instances")) == 2
