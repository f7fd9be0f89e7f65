"""What several browser tests share: Chromium, once a module, and what npm publishes, once a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.web.viewer.install import VERSION, install
from tests.support import npm, peers

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a graphics card
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    peers.need("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peers.need("chromium"), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def ohif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The viewer that we name, installed in a folder."""
    scratch = tmp_path_factory.mktemp("npm")
    archive = npm.packed("@ohif/app", VERSION, scratch)
    install(archive, scratch / "ohif", progress=lambda done, total: None)
    archive.unlink()
    return scratch / "ohif"


@pytest.fixture(scope="session")
def dicomweb_client_js(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of npm's dicomweb-client, which OHIF, Slim and others stand on."""
    archive = npm.packed("dicomweb-client", "0.11.3", tmp_path_factory.mktemp("npm"))
    return npm.member(archive, "build/dicomweb-client.js")
