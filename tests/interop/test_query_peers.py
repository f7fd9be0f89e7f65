"""The page of query and retrieval against Orthanc, over DICOM and DICOMweb, and DCMTK's archive."""

from __future__ import annotations

import html
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.support import peers
from tests.support.datasets import sample
from tests.support.exchange import request
from tests.support.processes import Gateway, dcmqrscp, orthanc
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop
SOURCES = ("modality:orthanc", "modality:dcmtk", "server:orthanc")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Both archives have two studies, and know the gateway."""
    folder = tmp_path_factory.mktemp("archives")
    for name in ("orthanc", "dcmtk"):
        (folder / name).mkdir()
    here = Gateway(folder / "here", environment={"GATEWAY_DICOM__AET": "HERE"})
    with here:
        known = {"here": ["HERE", "127.0.0.1", here.port]}
        allowed = {f"DicomAlwaysAllow{what}": True for what in ("Find", "Get", "Move")}
        with (
            orthanc(folder / "orthanc", dicomweb=True, DicomModalities=known, **allowed) as first,
            dcmqrscp(folder / "dcmtk", {"HERE": here.port}) as second,
        ):
            files = [str(sample(name)) for name in ("CT_small.dcm", "MR_small.dcm")]
            for name, peer in (("orthanc", first), ("dcmtk", second)):
                address = ["-aec", peer.aet, peer.host, str(peer.port)]
                subprocess.run([peers.need("storescu"), *address, *files], check=True, capture_output=True, timeout=30)
                place = {"AET": peer.aet, "Host": peer.host, "Port": peer.port}
                request(here, "PUT", f"/modalities/{name}", json.dumps(place).encode())
            request(here, "PUT", "/dicom-web/servers/orthanc", json.dumps({"Url": f"{first.url}/dicom-web"}).encode())
            yield here


def page(gateway: Gateway, path: str) -> str:
    _, body = gateway.get(path, 20)
    return body.decode()


def buttons(gateway: Gateway, source: str, **fields: str) -> list[str]:
    found = page(gateway, f"/ui/query/results?{urlencode({'source': source, **fields})}")
    return [html.unescape(each) for each in re.findall(r'name="only" value="([^"]*)"', found)]


@pytest.mark.parametrize("source", SOURCES)
def test_search_and_retrieve(gateway: Gateway, source: str) -> None:
    assert "Answers, in" in page(gateway, f"/ui/query/echo?source={source}")
    for level in ("study", "patient"):
        assert len(buttons(gateway, source, level=level, name="Comp")) == 2
    dated = {"begin": "2004-01-01", "end": "2004-01-31"}
    (value,) = buttons(gateway, source, name="Comp", **dated)
    study, patient = json.loads(value)[3], json.loads(value)[2]
    assert len(buttons(gateway, source, level="series", study=study, patient=patient)) == 1
    for method in ("C-MOVE", "C-GET"):
        form = urlencode({"only": value, "method": method, "target": "HERE"}).encode()
        with urllib.request.urlopen(f"{gateway.url}/ui/query", data=form, timeout=20) as answer:
            job = answer.url.rpartition("=")[2]

        def state(job: str = job) -> str:
            return str(json.loads(page(gateway, f"/jobs/{job}"))["State"])

        wait_until(lambda: state() in ("Success", "Failure"), 20)
        assert state() == "Success", page(gateway, f"/jobs/{job}")
    found = page(gateway, f"/ui/query/results?{urlencode({'source': source, 'name': 'Comp', **dated})}")
    assert "Here already" in found
