"""Two gateways as processes, each a modality of the other, for tests of the pages that exchange with other systems."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.datasets import sample
from tests.support.processes import Gateway


class Two(NamedTuple):
    """`here` has the pages; `there` is its modality `pacs` and its DICOMweb server `web`."""

    here: Gateway
    there: Gateway


def request(gateway: Gateway, method: str, path: str, body: bytes) -> Any:
    """The JSON answer of a gateway."""
    asked = urllib.request.Request(f"{gateway.url}{path}", data=body, method=method)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return json.loads(answer.read())


def store(gateway: Gateway, *names: str) -> list[dict[str, str]]:
    """Upload samples; Orthanc's answers."""
    return [request(gateway, "POST", "/instances", sample(name).read_bytes()) for name in names]


@contextmanager
def two_gateways(folder: Path) -> Iterator[Two]:
    here = Gateway(folder / "here", environment={"GATEWAY_DICOM__AET": "HERE"})
    there = Gateway(folder / "there", environment={"GATEWAY_DICOM__AET": "THERE"})
    with here, there:
        for gateway, name, other in ((here, "pacs", there), (there, "gateway", here)):
            place = {"AET": other.aet, "Host": other.host, "Port": other.port}
            request(gateway, "PUT", f"/modalities/{name}", json.dumps(place).encode())
        request(here, "PUT", "/modalities/off", b'{"AET": "OFF", "Host": "127.0.0.1", "Port": 1}')
        request(here, "PUT", "/dicom-web/servers/web", json.dumps({"Url": f"{there.url}/dicom-web"}).encode())
        yield Two(here, there)


class Window:
    """A page in a tab; what it complains of is in `complaints`."""

    def __init__(self, browser: Any, width: int = 1280, **options: Any) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        self.page.set_default_timeout(15_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def close(self) -> None:
        """Close the tab, which must have nothing to complain of."""
        self.page.close()
        assert self.complaints == []
