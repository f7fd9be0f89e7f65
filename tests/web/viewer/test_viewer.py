"""gateway/web/viewer/viewer.py: what a browser is given below /ohif/. Whether OHIF likes it: tests/interop."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Http
from gateway.web.pages import page_cache
from gateway.web.security import INERT
from gateway.web.viewer.install import install
from gateway.web.viewer.release import find_release
from tests.support.index import data_set
from tests.support.ohif import BUILD, package
from tests.support.web import House, house


def put(folder: Path, **files: bytes) -> str:
    """Install a viewer; the name of its release."""
    archive = package(folder.with_name("ohif.tgz"), {**BUILD, **files})
    install(archive, folder, progress=lambda done, total: None)
    release = find_release(folder)
    assert release is not None
    return release.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "viewer"


@pytest.fixture
async def gateway(tmp_path: Path, folder: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        made.http = Http(ohif=str(folder))
        yield made


def config(script: str) -> Any:
    found = re.search(r"^window\.config = (.*);$", script, re.MULTILINE)
    assert found is not None
    return msgspec.json.decode(found[1])


class TestPage:
    @pytest.mark.parametrize("path", ["/ohif/", "/ohif/viewer?StudyInstanceUIDs=1.2", "/ohif/segmentation/a/b"])
    async def test_the_same_for_every_path_of_its_own(self, gateway: House, folder: Path, path: str):
        release = put(folder)
        answer = await gateway.get(path)
        assert (answer.status, answer.content_type) == (200, "text/html")
        links = re.findall(r'(?:src|href)="([^"]*)"', await answer.text())
        assert f"/ohif/files/{release}/app.bundle.0f61.js" in links
        for link in links:
            assert (await gateway.get(link)).status == 200, link

    async def test_the_way_in(self, gateway: House):
        answer = await gateway.client.get("/ohif", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, "/ohif/")

    @pytest.mark.parametrize("path", ["/ohif/", "/ohif/viewer", "/ohif/app-config.js", "/ohif/files/9.9.9-12345678/a"])
    async def test_not_installed(self, gateway: House, path: str):
        assert (await gateway.get(path)).status == 404
        answer = await gateway.get("/ohif/")
        assert answer.status == 404
        assert "install-ohif" in (await answer.json())["Details"]

    async def test_installed_and_replaced_while_we_run(self, gateway: House, folder: Path):
        assert (await gateway.get("/ohif/")).status == 404
        first = put(folder)
        assert first in await (await gateway.get("/ohif/")).text()
        second = put(folder)
        assert second in await (await gateway.get("/ohif/")).text()
        assert (await gateway.get(f"/ohif/files/{first}/app.bundle.css")).status == 404
        assert (await gateway.get(f"/ohif/files/{second}/app.bundle.css")).status == 200

    async def test_it_is_kept_to_itself(self, gateway: House, folder: Path):
        release = put(folder)
        for path in ("/ohif/", "/ohif/app-config.js", f"/ohif/files/{release}/136.bundle.b948.js"):
            answer = await gateway.get(path)
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "no-cache" in answer.headers["Cache-Control"] or "/files/" in path

    @pytest.mark.case("the viewer's page alone may compile functions, and no inline script runs there")
    async def test_what_may_run(self, gateway: House, folder: Path):
        release = put(folder)
        page = (await gateway.get("/ohif/viewer")).headers["Content-Security-Policy"]
        assert "script-src 'self' 'unsafe-eval';" in page
        for path in ("app-config.js", f"files/{release}/app.bundle.css", f"files/{release}/assets/favicon.ico"):
            assert (await gateway.get(f"/ohif/{path}")).headers["Content-Security-Policy"] == INERT
        for path in ("/ui/", "/ui/routing"):
            assert "eval" not in (await gateway.get(path)).headers["Content-Security-Policy"]

    async def test_its_page_has_no_script_of_its_own(self, gateway: House, folder: Path):
        put(folder)
        assert re.findall(r"<script(?![^>]*\bsrc=)", await (await gateway.get("/ohif/")).text()) == []


class TestConfiguration:
    async def test_under_the_path_of_a_proxy(self, gateway: House, folder: Path):
        release = put(folder)
        gateway.http = Http(ohif=str(folder), trusted_proxies=("127.0.0.1",))
        page = await (await gateway.get("/ohif/viewer", x_forwarded_prefix="/pacs")).text()
        assert f'src="/pacs/ohif/files/{release}/app.bundle.0f61.js"' in page
        script = await (await gateway.get("/ohif/app-config.js", x_forwarded_prefix="/pacs")).text()
        assert 'window.PUBLIC_URL = "/pacs/ohif/";' in script
        assert config(script)["dataSources"][0]["configuration"]["wadoRoot"] == "/pacs/dicom-web"

    async def test_it_names_this_gateway(self, gateway: House, folder: Path):
        release = put(folder)
        answer = await gateway.get("/ohif/app-config.js")
        assert (answer.status, answer.content_type) == (200, "text/javascript")
        script = await answer.text()
        assert 'window.PUBLIC_URL = "/ohif/";' in script
        assert f'window.PUBLIC_LIB_URL = "/ohif/files/{release}/${{component}}/";' in script
        found = config(script)
        assert found["routerBasename"] == "/ohif"
        (source,) = found["dataSources"]
        assert source["sourceName"] == found["defaultDataSourceName"]
        for name in ("qidoRoot", "wadoRoot"):
            root = source["configuration"][name]
            assert (await gateway.get(f"{root}/studies", accept="application/dicom+json")).status in (200, 204)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("app.bundle.0f61.js", "text/javascript"),
            ("esm/module.mjs", "text/javascript"),
            ("37fa.wasm", "application/wasm"),
            ("app.bundle.css", "text/css"),
            ("a34f.woff2", "font/woff2"),
        ],
    )
    async def test_kept_for_ever_with_the_right_type(self, gateway: House, folder: Path, name: str, kind: str):
        release = put(folder)
        answer = await gateway.get(f"/ohif/files/{release}/{name}", accept_encoding="identity")
        assert (answer.status, answer.content_type) == (200, kind)
        assert "immutable" in answer.headers["Cache-Control"]
        assert "Content-Encoding" not in answer.headers

    async def test_compressed(self, gateway: House, folder: Path):
        release = put(folder)
        plain = await gateway.get(f"/ohif/files/{release}/37fa.wasm", accept_encoding="identity")
        packed = await gateway.get(f"/ohif/files/{release}/37fa.wasm", accept_encoding="gzip, br")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.content_type == "application/wasm"
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"])
        assert await packed.read() == await plain.read()

    @pytest.mark.parametrize(
        "name",
        [
            *("nothing.js", "../release.json", "%2e%2e/release.json", "..%2frelease.json", "%2fetc%2fpasswd"),
            *("../../../app.bundle.0f61.js", "app.bundle.0f61.js.gz", "assets", "app.bundle.0f61.js/", "."),
        ],
    )
    async def test_nothing_else(self, gateway: House, folder: Path, name: str):
        release = put(folder)
        answer = await gateway.get(f"/ohif/files/{release}/{name}")
        assert answer.status == 404 or "<title>OHIF Viewer" in await answer.text()


class TestStudies:
    async def test_each_opens_in_it(self, gateway: House, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(page_cache, "_EXPIRY_S", 0.0)  # A page shows a viewer that is new once it has expired.
        await gateway.add(data_set("1.1"))
        assert "OHIF" not in await (await gateway.get("/ui/")).text()
        put(folder)
        for path in ("/ui/", "/ui/rows"):
            (link,) = re.findall(r'href="(/ohif/[^"]*)"', await (await gateway.get(path)).text())
            assert link == f"/ohif/viewer?StudyInstanceUIDs={data_set('1.1').StudyInstanceUID}"
