"""Orthanc's DICOMweb plugin as a client that stores to us and fetches from us, and its REST API beside ours."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway, Peer, orthanc

pytestmark = pytest.mark.interop

NAMES = ("CT_small.dcm", "rtplan.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__DELETE": "true"}) as gateway:
        yield gateway


@pytest.fixture
def peer(tmp_path: Path, gateway: Gateway) -> Iterator[Peer]:
    servers = {"gateway": {"Url": f"{gateway.url}/dicom-web/", "HasDelete": True}}
    web = {"Enable": True, "Root": "/dicom-web/", "Servers": servers}
    with orthanc(tmp_path / "orthanc", dicomweb=True, DicomWeb=web) as peer:
        yield peer


def ask(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    """Status and decoded JSON; an object becomes JSON, bytes go as they are."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else None


def done(status: int, answer: Any) -> Any:
    assert status == 200, answer
    return answer


def test_orthanc_stores_searches_and_retrieves(gateway: Gateway, peer: Peer) -> None:
    sent = [done(*ask("POST", f"{peer.url}/instances", sample(name).read_bytes()))["ID"] for name in NAMES]
    server = f"{peer.url}/dicom-web/servers/gateway"
    done(*ask("POST", f"{server}/stow", {"Resources": sent, "Synchronous": True}))
    assert done(*ask("GET", f"{gateway.url}/statistics"))["CountInstances"] == len(NAMES)

    study = read_sample(sample("CT_small.dcm")).StudyInstanceUID
    query = {"Uri": "/studies", "Arguments": {"StudyInstanceUID": study}}
    (found,) = done(*ask("POST", f"{server}/qido", query))
    assert study in json.dumps(found)
    wanted = {"Uri": f"/studies/{study}/metadata", "HttpHeaders": {"Accept": "application/dicom+json"}}
    (metadata,) = done(*ask("POST", f"{server}/get", wanted))
    assert metadata["0020000D"]["Value"] == [study]

    for identifier in done(*ask("GET", f"{peer.url}/patients")):
        done(*ask("DELETE", f"{peer.url}/patients/{identifier}"))
    done(*ask("POST", f"{server}/retrieve", {"Resources": [{"Study": study}], "Synchronous": True}))
    assert done(*ask("GET", f"{peer.url}/instances")) == sent[:1]


def test_the_rest_api_answers_as_orthanc_does(gateway: Gateway, peer: Peer) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        made.writestr("a/ct", sample("CT_small.dcm").read_bytes())
        made.writestr("mr.dcm", sample("MR_small.dcm").read_bytes())
        made.writestr("notes.txt", b"hello")
        made.write(sample("DICOMDIR"), "DICOMDIR")
    two = pydicom.dcmread(sample("CT_small.dcm"))
    two.SOPInstanceUID = two.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    other = io.BytesIO()
    two.save_as(other)
    uploads = [sample("CT_small.dcm").read_bytes(), target.getvalue(), other.getvalue()]
    answers: list[list[Any]] = []
    for url in (gateway.url, peer.url):
        said: list[Any] = [ask("POST", f"{url}/instances", body) for body in uploads]
        # Orthanc says nothing of what is no DICOM in a zip, which comes last here without an ID; nor of file names.
        for member in said[1][1]:
            member.pop("File", None)
        said[1] = said[1][0], [member for member in said[1][1] if member["ID"]]
        said += [ask("DELETE", f"{url}/instances/{said[2][1]['ID']}")]
        said += [ask("DELETE", f"{url}/studies/{said[0][1]['ParentStudy']}")]
        said += [ask("DELETE", f"{url}/patients/{said[1][1][1]['ParentPatient']}")]
        said += [ask("DELETE", f"{url}/patients/{said[1][1][1]['ParentPatient']}")[0]]
        status, broken = ask("POST", f"{url}/instances", b"nonsense")
        said += [(status, broken["OrthancStatus"], broken["OrthancError"])]
        answers.append(said)
    for ours, theirs in zip(*answers, strict=True):
        assert ours == theirs
