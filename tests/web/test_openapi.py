"""/openapi.json and the capabilities of DICOMweb: held against the router, both ways."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from gateway.config import Http
from gateway.web.description import MEDIA_TYPES, PATH_PARAMETERS, QUERY_PARAMETERS, handler_name, operations
from tests.support.web import House
from tests.web.test_middlewares import ANNA, basic

HERE = "gateway/web/description.py"


def served(gateway: House) -> set[tuple[str, str]]:
    """(method, path) of what the router answers."""
    app = gateway.client.app
    assert app is not None
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        name = "/{filename}" if route.resource.canonical.endswith("/static") else ""
        found.add((route.method, route.resource.canonical + name))
    return {(method, path) for method, path in found if method != "HEAD"}


class TestDocument:
    async def document(self, gateway: House) -> dict[str, Any]:
        return await gateway.json("/openapi.json")

    async def test_every_route_and_no_other(self, gateway: House):
        paths = (await self.document(gateway))["paths"]
        described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        assert described == served(gateway)

    async def test_every_route_is_told_in_words(self, gateway: House):
        app = gateway.client.app
        assert app is not None
        handlers = {operation.handler for operation in operations(app)}
        parameters = {name for operation in operations(app) for name in operation.parameters}
        for operation in operations(app):
            where = f"{operation.method} {operation.path} ({operation.handler})"
            assert operation.summary, f"{where}: write a docstring; its first sentence becomes the summary"
            assert len(operation.summary) < 160, f"{where}: the first sentence of its docstring is too long"
        missing = parameters - PATH_PARAMETERS.keys()
        assert not missing, f"say in PATH_PARAMETERS of {HERE} what these are: {missing}"
        assert not PATH_PARAMETERS.keys() - parameters, f"no path has these any more; delete them from {HERE}"
        for table in (QUERY_PARAMETERS, MEDIA_TYPES):
            assert not table.keys() - handlers, f"there are no such handlers any more; mend {HERE}"

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
                assert len(method["responses"]) == 2
        assert len(identifiers) == sum(map(len, document["paths"].values()))
        search = document["paths"]["/dicom-web/studies"]["get"]
        assert search["tags"] == ["DICOMweb"]
        assert search["summary"] == "Search at the level of study."
        assert {"limit", "attributeID"} <= {each["name"] for each in search["parameters"]}

    async def test_users(self, gateway: House):
        gateway.http = Http(users=(ANNA,))
        assert (await gateway.get("/openapi.json")).status == 401
        document = await gateway.json("/openapi.json", authorization=basic("geheim"))
        assert document["security"] == [{"basic": []}]

    def test_a_handler_has_one_name(self):
        async def handler() -> None: ...

        assert handler_name(handler).startswith("test_openapi.")


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
