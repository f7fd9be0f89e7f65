"""Browsers of other origins (web/cors.py), and proxies in front (web/middlewares.py, web/urls.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Http
from tests.support.index import data_set
from tests.support.web import House, house
from tests.web.test_middlewares import ANNA

VIEWER = "https://viewer.example.org"
STUDIES = "/dicom-web/studies"


def asking(method: str = "GET", origin: str = VIEWER) -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "accept"}


class TestCors:
    async def test_an_answer_may_be_read_by_the_origins_named_alone(self, gateway: House):
        gateway.http = Http(cors_origins=(VIEWER,))
        answer = await gateway.get(STUDIES, origin=VIEWER)
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == VIEWER
        assert answer.headers["Vary"] == "Origin"
        assert {"Warning", "ETag", "Content-Location"} <= set(
            answer.headers["Access-Control-Expose-Headers"].split(", ")
        )
        assert "Access-Control-Allow-Credentials" not in answer.headers
        for other in ("http://viewer.example.org", f"{VIEWER}:8443", f"{VIEWER}.evil.example", "null", VIEWER.upper()):
            answer = await gateway.get(STUDIES, origin=other)
            assert (answer.status, answer.headers["Vary"]) == (403, "Origin")
            assert not any(name.startswith("Access-Control") for name in answer.headers)

    async def test_without_an_origin_it_varies_all_the_same(self, gateway: House):
        gateway.http = Http(cors_origins=(VIEWER,))
        answer = await gateway.get(STUDIES)
        assert answer.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Origin" not in answer.headers

    async def test_nothing_is_said_where_none_is_named(self, gateway: House):
        answer = await gateway.get(STUDIES)
        assert "Vary" not in answer.headers
        assert (await gateway.client.options(STUDIES, headers=asking())).status == 403

    async def test_errors_can_be_read_too(self, gateway: House):
        gateway.http = Http(cors_origins=(VIEWER,), users=(ANNA,))
        for path, status in ((STUDIES, 401), ("/nope", 401)):
            answer = await gateway.get(path, origin=VIEWER)
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, VIEWER)
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"

    @pytest.mark.parametrize(
        ("path", "methods"),
        [(STUDIES, {"GET", "HEAD"}), ("/worklists/x", {"DELETE", "GET", "HEAD", "PUT"}), ("/jobs/1/cancel", {"POST"})],
    )
    async def test_a_preflight_needs_no_password(self, gateway: House, path: str, methods: set[str]):
        gateway.http = Http(cors_origins=(VIEWER,), users=(ANNA,))
        answer = await gateway.client.options(path, headers=asking())
        assert (answer.status, await answer.read()) == (204, b"")
        assert methods <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
        assert answer.headers["Access-Control-Allow-Origin"] == VIEWER
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"].split(", ")
        assert "X-Forwarded-Host" not in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Access-Control-Max-Age"] == "600"
        assert {"Origin", "Access-Control-Request-Method"} <= set(answer.headers["Vary"].split(", "))

    async def test_preflights_that_are_not_answered(self, gateway: House):
        gateway.http = Http(cors_origins=(VIEWER,), users=(ANNA,))
        assert (await gateway.client.options("/nope", headers=asking())).status == 404
        assert (await gateway.client.options(STUDIES, headers=asking(origin="https://evil.example"))).status == 403
        assert (await gateway.client.options("/worklists", headers={"Origin": VIEWER})).status == 401


class TestProxies:
    X = {
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "pacs.example.org",
        "X-Forwarded-Prefix": "/imaging",
    }

    async def found(self, gateway: House, headers: dict[str, str]) -> str:
        answer = await gateway.client.get(STUDIES, headers=headers)
        assert answer.status == 200, await answer.text()
        return (await answer.json(content_type=None))[0]["00081190"]["Value"][0]

    async def test_urls_are_those_of_the_client(self, gateway: House):
        await gateway.add(data_set("1.1"))
        gateway.http = Http(trusted_proxies=("127.0.0.0/8",), hosts=("pacs.example.org",))
        assert await self.found(gateway, self.X) == "https://pacs.example.org/imaging/dicom-web/studies/1.1"

    async def test_and_so_with_forwarded(self, gateway: House):
        await gateway.add(data_set("1.1"))
        gateway.http = Http(trusted_proxies=("127.0.0.1",), hosts=("pacs.example.org",), forwarded="forwarded")
        headers = self.X | {"Forwarded": 'for=192.0.2.7;proto=https;host="pacs.example.org:8443"'}
        assert await self.found(gateway, headers) == "https://pacs.example.org:8443/dicom-web/studies/1.1"

    async def test_only_proxies_of_ours_are_believed(self, gateway: House):
        await gateway.add(data_set("1.1"))
        here = str(gateway.client.make_url("/dicom-web/studies/1.1"))
        for http in (Http(), Http(trusted_proxies=("10.0.0.0/8",)), Http(trusted_proxies=("::1",))):
            gateway.http = http
            assert await self.found(gateway, self.X | {"Forwarded": "for=1.2.3.4;host=pacs.example.org"}) == here
        gateway.http = Http(trusted_proxies=("127.0.0.1",))
        assert await self.found(gateway, {"Forwarded": "for=1.2.3.4;host=pacs.example.org"}) == here

    async def test_the_host_that_the_client_asked_is_checked(self, gateway: House):
        gateway.http = Http(trusted_proxies=("127.0.0.1",), hosts=("pacs.example.org",))
        headers = {"X-Forwarded-Host": "evil.example"}
        assert (await gateway.client.get("/system", headers=headers)).status == 421
        headers = {"X-Forwarded-Host": "pacs.example.org", "Host": "upstream"}
        assert (await gateway.client.get("/system", headers=headers)).status == 200
        for origin, status in (("https://pacs.example.org", 200), ("https://evil.example", 403)):
            answer = await gateway.client.get("/system", headers=headers | {"Origin": origin})
            assert answer.status == status
        for host in ("localhost:{x}", "localhost:8042:1", "[::1", "a@localhost"):
            assert (await gateway.client.get(STUDIES, headers={"X-Forwarded-Host": host})).status == 421

    async def test_pages_link_below_the_prefix(self, gateway: House):
        gateway.http = Http(trusted_proxies=("127.0.0.1",), hosts=("pacs.example.org",))
        page = await (await gateway.client.get("/ui/", headers=self.X)).text()
        assert 'src="/imaging/ui/static/studies.js"' in page
        assert 'href="/ui' not in page
        answer = await gateway.client.get("/", headers=self.X, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, "/imaging/ui/")

    async def test_bodies_and_files_go_through(self, gateway: House):
        gateway.http = Http(trusted_proxies=("127.0.0.1",), hosts=("pacs.example.org",))
        item = {"Tags": {"PatientName": "A^B", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}}
        answer = await gateway.client.post("/worklists/create", json=item, headers=self.X)
        assert answer.status == 200, await answer.text()
        answer = await gateway.client.get("/ui/static/studies.js", headers=self.X)
        assert len(await answer.read()) > 1000
        answer = await gateway.client.get("/ui/events", headers=self.X)
        assert (await answer.content.readline()).startswith((b"event", b"id", b"retry", b"data", b":"))
        answer.close()

    async def test_wrong_passwords_are_counted_by_client(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        gateway.http = Http(trusted_proxies=("127.0.0.1",), users=(ANNA,))
        peers = []

        async def authenticate(_self: object, _header: object, _users: object, peer: str) -> None:
            peers.append(peer)

        monkeypatch.setattr("gateway.access.users.Authenticator.authenticate", authenticate)
        answer = await gateway.client.get(
            "/system", headers={"X-Forwarded-For": "192.0.2.7", "Authorization": "Basic eDp5"}
        )
        assert (answer.status, peers) == (401, ["192.0.2.7"])


@pytest.fixture
async def below(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Http(prefix="/gateway")) as made:
        yield made


class TestPrefix:
    async def test_everything_is_below_it(self, below: House):
        await below.add(data_set("1.1", sop="1.1.1.1"))
        (match,) = await below.json("/gateway/dicom-web/studies")
        (url,) = match["00081190"]["Value"]
        assert url == str(below.client.make_url("/gateway/dicom-web/studies/1.1"))
        assert (await below.get("/dicom-web/studies")).status == 404
        page = await (await below.get("/gateway/ui/")).text()
        assert 'src="/gateway/ui/static/studies.js"' in page
        assert (await below.get("/gateway/ui/static/studies.js")).status == 200
        for path in ("/gateway", "/gateway/", "/gateway/ui"):
            answer = await below.client.get(path, allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (302, "/gateway/ui/")

    @pytest.mark.parametrize("path", ["/livez", "/gateway/readyz"])
    async def test_orchestrators_may_leave_it_out(self, below: House, path: str):
        assert (await below.get(path, host="10-2-3-4.pod.example")).status == 200
