"""gateway/web/middlewares.py and errors.py: names, passwords, headers, and errors in Orthanc's format."""

from __future__ import annotations

import base64

import pytest
from yarl import URL

from gateway import errors
from gateway.access.passwords import hash_password
from gateway.config import Http, User
from gateway.telemetry import metrics_page
from gateway.web import middlewares
from gateway.web.security import INERT, PAGE
from tests.support.web import House

ANNA = User(name="anna", password=hash_password("geheim"))


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()


class TestHost:
    @pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("127.0.0.1:1", 200), ("evil.example", 421)])
    async def test_names(self, gateway: House, host: str, status: int):
        assert (await gateway.get("/system", host=host)).status == status

    async def test_a_configured_name(self, gateway: House):
        gateway.http = Http(hosts=("pacs.example.org",))
        assert (await gateway.get("/system", host="pacs.example.org:8042")).status == 200

    async def test_also_with_users(self, gateway: House):
        gateway.http = Http(users=(ANNA,))
        assert (await gateway.get("/system", host="evil.example", authorization=basic("geheim"))).status == 421

    async def test_a_foreign_page(self, gateway: House):
        assert (await gateway.get("/system", origin="http://evil.example")).status == 403
        answer = await gateway.get("/system", origin="null")
        assert answer.status == 403
        assert "cors_origins" not in (await answer.json())["Details"], "it is never to be let in"
        assert (await gateway.get("/system", origin=str(gateway.client.make_url("/")).rstrip("/"))).status == 200

    @pytest.mark.parametrize("path", ["/livez", "/readyz"])
    async def test_an_orchestrator_asks_under_any_name(self, gateway: House, path: str):
        gateway.http = Http(users=(ANNA,))
        assert (await gateway.get(path, host="10-2-3-4.pod.example")).status == 200


class TestPassword:
    async def test_in_and_out(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        gateway.http = Http(users=(ANNA,))
        for path in (
            "/system",
            "/ui/",
            "/ui/events",
            "/metrics",
            "/dicom-web/studies",
            "/ui/static/studies.js",
            "/nope",
        ):
            answer = await gateway.get(path)
            assert answer.status == 401, path
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="DICOM gateway", charset="UTF-8"'
        assert (await gateway.get("/system", authorization=basic("geheim"))).status == 200
        assert (await gateway.get("/system", authorization=basic("falsch"))).status == 401

    async def test_too_many_failures(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        gateway.http = Http(users=(ANNA,))
        monkeypatch.setattr("gateway.access.users.MAX_TRIES_EACH", 0)
        answer = await gateway.get("/system", authorization=basic("falsch"))
        assert answer.status == 429
        assert "Retry-After" in answer.headers


class TestErrors:
    async def test_the_names_that_orthanc_uses(self, gateway: House):
        answer = await gateway.get("/nope")
        assert await answer.json() == {
            "HttpError": "Not Found",
            "HttpStatus": 404,
            "Message": "Unknown resource",
            "Method": "GET",
            "OrthancError": "Unknown resource",
            "OrthancStatus": 17,
            "Uri": "/nope",
        }

    async def test_method_not_allowed(self, gateway: House):
        answer = await gateway.client.delete("/system")
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD"

    @pytest.mark.case("broken 04 no value in a path gets a 500")
    @pytest.mark.parametrize("text", ["%C2%B2", "%E2%82%82", "%D9%A3", "-1", "9" * 30, "a" * 3000, "%FF", "..%2F..%2F"])
    async def test_hostile_values_in_paths(self, gateway: House, text: str):
        for path in (f"/jobs/{text}", f"/ui/static/{text}", f"/dicom-web/studies/{text}/metadata"):
            answer = await gateway.client.get(URL(path, encoded=True))
            assert answer.status in (400, 403, 404), path
        for action in ("cancel", "pause", "resubmit", "resume"):
            answer = await gateway.client.post(URL(f"/jobs/{text}/{action}", encoded=True))
            assert answer.status in (400, 404), action

    @pytest.mark.case("broken 04 no value in a path gets a 500")
    async def test_a_button_for_no_number(self, gateway: House):
        answer = await gateway.client.post("/ui/routing", data={"what": "resend", "id": "\u00b2"})
        assert answer.status == 400

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.NotFound("x"), 404),
            (errors.BadRequest("x"), 400),
            (errors.UnsupportedTransferSyntax("x"), 406),
            (errors.OutOfSpace("x"), 507),
            (errors.DatabaseError("secret"), 503),
            (errors.DataSetError("x"), 406),
            (errors.StorageFailed("secret"), 500),
            (ZeroDivisionError("secret"), 500),
        ],
    )
    async def test_each_kind(self, gateway: House, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int):
        async def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("gateway.web.rest.system.read_statistics", fail)
        answer = await gateway.get("/statistics")
        assert (answer.status, (await answer.json())["HttpStatus"]) == (status, status)
        assert "secret" not in await answer.text()


class TestEveryAnswer:
    @pytest.mark.case("no answer but a page of ours may run a script")
    @pytest.mark.parametrize(
        "path",
        [
            *("/ui/", "/ui/rows", "/ui/routing", "/system", "/nope", "/ui/static/studies.js", "/ui/static/icon.svg"),
            *("/ui/events", "/metrics", "/openapi.json", "/dicom-web/studies", "/livez", "/wado", "/ohif/"),
        ],
    )
    async def test_headers(self, gateway: House, path: str):
        answer = await gateway.get(path)
        policy = answer.headers["Content-Security-Policy"]
        is_page = path in ("/ui/", "/ui/rows", "/ui/routing")
        assert policy == (PAGE["Content-Security-Policy"] if is_page else INERT)
        assert "unsafe" not in policy
        assert answer.headers["Referrer-Policy"] == ("same-origin" if is_page else "no-referrer")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")
        assert answer.headers["Server"] == "dicom-gateway"
        answer.close()

    async def test_is_measured_by_its_route(self, gateway: House):
        await gateway.get("/dicom-web/studies/1.2.3.4.5/metadata")
        page = metrics_page().decode()
        assert 'route="/dicom-web/studies/{study}/metadata"' in page
        assert "1.2.3.4.5" not in page

    def test_nothing_is_written_about_requests(self):
        assert not hasattr(middlewares, "access_log")
