"""QIDO-RS asked by the Python dicomweb-client, and answered beside Debian's Orthanc with the same data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support import peers
from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway, Peer, orthanc

api = pytest.importorskip("dicomweb_client.api")
pytestmark = pytest.mark.interop

FILES = {"CT_small.dcm": [], "MR_small_bigendian.dcm": ["-xb"], "rtplan.dcm": ["-xi"]}


def send(aet: str, port: int) -> None:
    storescu = peers.need("storescu")
    for name, options in FILES.items():
        command = [storescu, *options, "-aec", aet, "127.0.0.1", str(port), str(sample(name))]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    peers.need("storescu")
    with Gateway(tmp_path_factory.mktemp("gateway") / "data") as gateway:
        send(gateway.aet, gateway.port)
        yield gateway


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as peer:
        send(peer.aet, peer.port)
        yield peer


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Any]:
    with requests.Session() as session:
        yield api.DICOMwebClient(f"{gateway.url}/dicom-web", session=session)


def uid(match: dict[str, Any]) -> str:
    return str(match["0020000D"]["Value"][0])


CT, MR, PLAN = (read_sample(sample(name)) for name in FILES)


class TestClient:
    @pytest.mark.parametrize(
        ("filters", "options", "found"),
        [
            ({"PatientName": "compressed*"}, {}, {CT.StudyInstanceUID, MR.StudyInstanceUID}),
            ({"PatientName": "kompresedsampels"}, {"fuzzymatching": True}, {CT.StudyInstanceUID, MR.StudyInstanceUID}),
            ({"PatientName": "kompresedsampels"}, {}, set()),
            ({"00080020": "20040101-20041231", "ModalitiesInStudy": "MR"}, {}, {MR.StudyInstanceUID}),
            ({"StudyInstanceUID": [CT.StudyInstanceUID, PLAN.StudyInstanceUID]}, {}, None),
            ({"OtherPatientIDsSequence.PatientID": "ABCD1234"}, {}, {CT.StudyInstanceUID}),
            ({"PatientWeight": "0"}, {}, {CT.StudyInstanceUID}),
        ],
    )
    def test_studies(self, client: Any, filters: dict[str, Any], options: dict[str, Any], found: set[str] | None):
        if found is None:
            filters = {name: ",".join(value) for name, value in filters.items()}
            found = {CT.StudyInstanceUID, PLAN.StudyInstanceUID}
        assert {uid(match) for match in client.search_for_studies(search_filters=filters, **options)} == found

    def test_series_and_instances(self, client: Any):
        (match,) = client.search_for_series(
            search_filters={"Modality": "RTPLAN"}, fields=["RTPlanLabel", "Manufacturer"]
        )
        assert match["300A0002"]["Value"] == [PLAN.RTPlanLabel]
        assert uid(match) == PLAN.StudyInstanceUID
        (match,) = client.search_for_instances(CT.StudyInstanceUID, fields=["KVP", "PixelSpacing", "00091001"])
        assert match["00180060"]["Value"] == [float(CT.KVP)]
        assert match["00280030"]["Value"] == [float(each) for each in CT.PixelSpacing]
        assert match["00090010"]["Value"] == ["GEMS_IDEN_01"]
        (match,) = client.search_for_instances(
            search_filters={"SOPClassUID": MR.SOPClassUID, "EchoTime": str(MR.EchoTime)}
        )
        assert match["00080018"]["Value"] == [MR.SOPInstanceUID]

    def test_pages_in_a_stable_order(self, client: Any):
        whole = [uid(match) for match in client.search_for_studies()]
        pages = [client.search_for_studies(limit=1, offset=offset) for offset in range(4)]
        assert [uid(match) for page in pages for match in page] == whole
        assert len(set(whole)) == 3


class TestBesideOrthanc:
    """Orthanc's plugin deviates: it returns study attributes with every series and instance, Specific Character Set as
    stored, no Instance Availability; it takes no keys in sequences, no Modality for studies, no fuzzy matching, and
    answers JSON where XML was asked for."""

    @pytest.mark.parametrize(
        "query",
        [
            "studies",
            "series",
            "instances",
            f"studies/{CT.StudyInstanceUID}/series",
            f"studies/{CT.StudyInstanceUID}/instances",
            f"studies/{CT.StudyInstanceUID}/series/{CT.SeriesInstanceUID}/instances",
            "studies?PatientID=1CT1",
            "studies?PatientName=compressed*",
            "studies?ModalitiesInStudy=CT",
            "studies?StudyDate=20040101-20041231&includefield=StudyDescription",
            "series?Modality=CT&includefield=00180060",
            "instances?InstanceNumber=1&includefield=Rows,Columns",
            "studies?PatientID=nobody",
            "studies?NoSuchAttribute=1",
        ],
    )
    def test_the_same_in_the_same_shape(self, gateway: Gateway, peer: Peer, query: str):
        ours, theirs = (self.ask(one.url, query) for one in (gateway, peer))
        assert ours.keys() == theirs.keys()
        for key, match in theirs.items():
            for tag, attribute in match.items():
                if tag in ours[key]:
                    assert ours[key][tag] == attribute, (key, tag)
                else:
                    assert tag == "00080005" or "studies/" in query, (key, tag)

    def ask(self, url: str, query: str) -> dict[str, dict[str, Any]]:
        """Matches by their UIDs, RetrieveURL without the host."""
        accept = {"Accept": "application/dicom+json"}
        answer = requests.get(f"{url}/dicom-web/{query}", headers=accept, timeout=10)
        assert answer.status_code == 200
        found = {}
        for match in answer.json():
            (where,) = match["00081190"]["Value"]
            match["00081190"]["Value"] = found_at = where.removeprefix(url)
            found[found_at] = match
        return found
