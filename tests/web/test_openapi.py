"""/openapi.json and the capabilities of DICOMweb: held against the router, both ways."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from yarl import URL

from gateway.config import Http, Tenant
from gateway.config.destinations import FolderDestination
from gateway.dicom.part10 import file_header
from gateway.index.identity import owned, public_id
from gateway.jobs.runner import Runner
from gateway.web.route import PATH_PARAMETERS, SERVED, Route
from tests.support.datasets import EXPLICIT, encode
from tests.support.web import House, archive
from tests.web.test_middlewares import ANNA, basic
from tests.web.test_rendered import image

IN_PATHS = {
    "tenant": "radiology",
    "study": "1.1",
    "series": "1.1.1",
    "instance": "1.1.1.1",
    "patient": public_id("P1"),
    "frame": "0",
    "frames": "1",
    "path": "7FE00010",
    "name": "pacs",
}
OF_TENANT = {
    "study": "2.1",
    "series": "2.1.1",
    "instance": "2.1.1.1",
    "patient": public_id(owned("P1", "radiology")),
}
RESOURCES = {
    "patients": public_id("P1"),
    "studies": public_id("P1", "1.1"),
    "series": public_id("P1", "1.1", "1.1.1"),
    "instances": public_id("P1", "1.1", "1.1.1", "1.1.1.1"),
}
REFUSED = {"anonymize", "presentationUID", "presentationSeriesUID"}
"""Parameters of WADO-URI that are looked for to be refused."""


def served(gateway: House) -> set[tuple[str, str]]:
    """(method, path) of what the router answers."""
    app = gateway.client.app
    assert app is not None
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        found.add((route.method, route.resource.canonical))
    return {(method, path) for method, path in found if method != "HEAD"}


def routes(gateway: House) -> tuple[Route, ...]:
    app = gateway.client.app
    assert app is not None
    return app[SERVED]


def filled(path: str) -> str:
    """With what there is here in place of the parameters, or else something that there is not."""
    path = re.sub(r"^/(\w+)/{id}", lambda found: f"/{found[1]}/{RESOURCES.get(found[1], '{id}')}", path)
    values = {**IN_PATHS, **OF_TENANT} if "{tenant}" in path else IN_PATHS
    return re.sub(r"{(\w+)}", lambda found: values.get(found[1], "00000000-" * 4 + "00000000"), path)


class TestDocument:
    async def document(self, gateway: House) -> dict[str, Any]:
        return await gateway.json("/openapi.json")

    async def test_every_route_and_no_other(self, gateway: House):
        paths = (await self.document(gateway))["paths"]
        described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        assert described == served(gateway)

    async def test_every_route_is_told_in_words(self, gateway: House):
        for route in routes(gateway):
            where, (summary, _) = f"{route.method} {route.path}", route.words
            assert summary, f"{where}: write a docstring for its handler; the first sentence becomes the summary"
            assert len(summary) < 160, f"{where}: the first sentence of its docstring is too long"
        named = {parameter.name for route in routes(gateway) for parameter in route.parameters}
        assert PATH_PARAMETERS.keys() == named, "gateway/web/route.py names others than the paths have"

    @pytest.mark.case("item 6 the document about the routes is valid OpenAPI")
    async def test_it_is_valid(self, gateway: House):
        gateway.http = Http(users=(ANNA,))
        validate(await gateway.json("/openapi.json", authorization=basic("geheim")))

    async def test_its_form(self, gateway: House):
        document = await self.document(gateway)
        assert document["openapi"] == "3.1.0"
        assert document["servers"] == [{"url": str(gateway.client.make_url("")).rstrip("/")}]
        assert "security" not in document
        identifiers = set()
        for path, methods in document["paths"].items():
            for method in methods.values():
                identifiers.add(method["operationId"])
                named = [each["name"] for each in method["parameters"] if each["in"] == "path"]
                assert named == re.findall(r"{(\w+)}", path)
                assert {"2XX", "3XX"} & method["responses"].keys()
                assert "default" in method["responses"]
        assert len(identifiers) == sum(map(len, document["paths"].values()))
        search = document["paths"]["/dicom-web/studies"]["get"]
        assert search["tags"] == ["DICOMweb"]
        assert search["summary"] == "Search at the level of study."
        assert {"limit", "attributeID"} <= {each["name"] for each in search["parameters"]}

    async def test_every_body_in_json_has_a_schema(self, gateway: House):
        """One that says something, and that a validator of JSON Schema takes."""
        for path, methods in (await self.document(gateway))["paths"].items():
            for method, operation in methods.items():
                for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                    if kind in ("application/json", "application/dicom+json"):
                        schema = content.get("schema", {})
                        assert {"type", "anyOf"} & schema.keys(), f"{method} {path}: `takes` of its Route is missing"
                        Draft202012Validator.check_schema(schema)

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/tools/find", {"Level": "Study", "Query": {"PatientID": "*"}, "Limit": 3, "OrderBy": []}),
            ("/tools/bulk-delete", {"Resources": [{"Level": "Study", "ID": RESOURCES["studies"]}]}),
            ("/studies/{id}/modify", {"Replace": {"PatientID": "x"}, "Asynchronous": True, "UserData": {"a": 1}}),
            ("/studies/{id}/merge", {"Resources": [RESOURCES["studies"]], "Synchronous": False, "KeepSource": True}),
            ("/modalities/{name}/store", [RESOURCES["studies"]]),
            ("/modalities/{name}/store", {"Resources": RESOURCES["series"], "MoveOriginatorID": 3}),
            ("/queries/{id}/retrieve", "PACS"),
            ("/tools/create-archive", [RESOURCES["studies"]]),
            ("/tools/dicom-echo", ["PACS", "localhost", 104]),
        ],
    )
    async def test_schemas_fit_what_scripts_send(self, gateway: House, path: str, body: Any):
        content = (await self.document(gateway))["paths"][path]["post"]["requestBody"]["content"]
        Draft202012Validator(content["application/json"]["schema"]).validate(body)

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/tools/find", {"Level": "Image", "Query": {}}),
            ("/tools/find", {"Level": "Study"}),
            ("/studies/{id}/modify", {"Replaces": {}}),
            ("/tools/bulk-delete", {"Resources": ["x"]}),
            ("/modalities/{name}/move", {"Level": "Study"}),
        ],
    )
    async def test_schemas_refuse_what_is_refused(self, gateway: House, path: str, body: Any):
        content = (await self.document(gateway))["paths"][path]["post"]["requestBody"]["content"]
        assert not Draft202012Validator(content["application/json"]["schema"]).is_valid(body)

    async def test_users(self, gateway: House):
        gateway.http = Http(users=(ANNA,))
        assert (await gateway.get("/openapi.json")).status == 401
        document = await gateway.json("/openapi.json", authorization=basic("geheim"))
        assert document["security"] == [{"basic": []}]

    @pytest.mark.case("item 6 parameters have their types in the document")
    async def test_types(self, gateway: House):
        paths = (await self.document(gateway))["paths"]

        def schema(path: str, name: str) -> Any:
            return next(each["schema"] for each in paths[path]["get"]["parameters"] if each["name"] == name)

        assert schema("/dicom-web/studies", "limit")["type"] == "integer"
        assert schema("/dicom-web/studies", "fuzzymatching") == {"type": "boolean"}
        assert schema("/dicom-web/studies", "attributeID")["type"] == "object"
        assert schema("/dicom-web/studies/{study}", "study")["maxLength"] == 64
        assert schema("/wado", "windowCenter") == {"type": "number"}
        assert "held" in schema("/deliveries", "state")["enum"]
        store = paths["/dicom-web/studies"]["post"]
        assert 'multipart/related; type="application/dicom"' in store["requestBody"]["content"]
        assert {"409", "415", "507"} <= store["responses"].keys()
        assert "requestBody" not in paths["/jobs/{id}/cancel"]["post"]


class Seen:
    """A query that remembers which of its parameters somebody has looked for."""

    def __init__(self, query: Any) -> None:
        self._query = query
        self.names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self.names.add(name)
        return name in self._query

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return str(self._query[name])

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return self._query.get(name, default)

    def getall(self, name: str, default: Any) -> Any:
        self.names.add(name)
        return self._query.getall(name, default)

    def items(self) -> Iterator[tuple[str, str]]:
        for name, value in self._query.items():
            self.names.add(name)
            yield name, value


@pytest.fixture
async def stocked(tmp_path: Path) -> AsyncIterator[House]:
    """With an image and a destination; jobs are done."""
    async with archive(tmp_path) as gateway:
        gateway.destinations = {"pacs": FolderDestination(path="/")}
        gateway.tenants = {"radiology": Tenant()}
        for root, study in (("/dicom-web", "1.1"), ("/dicom-web/tenants/radiology", "2.1")):
            answer = await gateway.client.post(f"{root}/studies", data=a_file(study), headers=AS_DICOM)
            assert answer.status == 200
        runner = Runner(gateway.database, gateway.use_cases.kinds, poll=0.02)
        runner.start()
        try:
            yield gateway
        finally:
            await runner.close()


AS_DICOM = {"Content-Type": "application/dicom"}


def a_file(study: str = "1.1") -> bytes:
    made = image(study, f"{study}.1", f"{study}.1.1")
    uids = {"sop_class_uid": made.SOPClassUID, "sop_instance_uid": made.SOPInstanceUID}
    return file_header(transfer_syntax_uid=EXPLICIT, **uids) + encode(made, EXPLICIT)


class TestRoutes:
    @pytest.mark.case("item 6 each path of the document answers")
    async def test_each_answers(self, stocked: House):
        async with asyncio.timeout(50):
            for path, methods in (await stocked.json("/openapi.json"))["paths"].items():
                for method, operation in methods.items():
                    query = {
                        each["name"]: str(each["example"])
                        for each in operation["parameters"]
                        if each["in"] == "query" and each["required"]
                    }
                    answer = await stocked.client.request(
                        method, filled(path), params=query, allow_redirects=False, data=b"", headers={"Accept": "*/*"}
                    )
                    async with answer:
                        status = str(answer.status)
                        named = {f"{status[0]}XX", status, "default"} & operation["responses"].keys()
                        assert named != {"default"} or status in ("400", "404", "415"), (method, path, status)
                        assert status not in ("405", "500"), (method, path, status)
                        if status == "404":
                            assert (await answer.json()).get("Details"), f"{method} {path} is not served"

    @pytest.mark.case("item 6 each documented parameter is used by its handler, and none besides")
    async def test_parameters(self, stocked: House, monkeypatch: pytest.MonkeyPatch):
        seen: list[Seen] = []
        sent = ""

        def query(request: web.BaseRequest) -> Any:
            """Of what a client has sent; a handler may make another request out of it."""
            if request.path_qs != sent:
                return request.rel_url.query
            seen.append(Seen(request.rel_url.query))
            return seen[-1]

        monkeypatch.setattr(web.BaseRequest, "query", property(query))
        async with asyncio.timeout(50):
            for route in routes(stocked):
                if not route.query:
                    continue
                seen.clear()
                values = {each.name: each.example for each in route.query if not each.any_name}
                if route.path.endswith("/wado"):
                    values |= {"studyUID": "1.1", "seriesUID": "1.1.1", "objectUID": "1.1.1.1"}
                needed = {each.name: values[each.name] for each in route.query if each.required}
                tries = [values, needed, {**needed, "contentType": "application/dicom"}]
                if "contentType" not in values:
                    tries.pop()
                for some in tries:
                    url = URL(filled(route.path)).with_query(some)
                    sent = url.raw_path_qs
                    body = {"data": a_file(), "headers": AS_DICOM} if AS_DICOM["Content-Type"] in route.body else {}
                    answer = await stocked.client.request(route.method, url, allow_redirects=False, **body)
                    async with answer:
                        assert answer.status < 500
                        assert "Warning" not in answer.headers, (route.path, answer.headers["Warning"])
                wanted_tags = set().union(*[each.names for each in seen]) - REFUSED
                assert wanted_tags == values.keys(), f"{route.method} {route.path}"


class TestCapabilities:
    """PS3.18 §8.9."""

    async def test_wadl(self, gateway: House):
        for path in ("/dicom-web", "/dicom-web/"):
            answer = await gateway.client.options(path)
            assert (answer.status, answer.content_type) == (200, "application/vnd.sun.wadl+xml")
        root = ElementTree.fromstring(await answer.text())
        space = "{http://wadl.dev.java.net/2009/02}"
        (resources,) = root
        assert resources.get("base") == str(gateway.client.make_url("/dicom-web/"))
        found = {
            (method.get("name"), f"/dicom-web/{resource.get('path')}")
            for resource in resources
            for method in resource.iter(f"{space}method")
        }
        wanted = {each for each in served(gateway) if each[1].startswith("/dicom-web/")}
        assert found == wanted
        assert root.find(f".//{space}resource[@path='studies/{{study}}']/{space}param").get("name") == "study"

    async def test_json(self, gateway: House):
        answer = await gateway.client.options("/dicom-web/", headers={"Accept": "application/json"})
        assert (await answer.json())["openapi"] == "3.1.0"
        assert (await gateway.client.options("/dicom-web/", headers={"Accept": "text/html"})).status == 406
