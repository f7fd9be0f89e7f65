"""What is asked of other systems over REST, beside Debian's Orthanc: the same calls, answers compared field by field.

Both ask the same Orthanc and the same storescp. The gateway serves by two processes, so that what one has added must be
there for the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from loadtest.peers import Wiring
from tests.interop.test_orthanc_web import ask
from tests.support.datasets import sample
from tests.support.processes import Gateway, Peer, dcmqrscp, orthanc, storescp

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
LATER = {"Details", "RetrieveMethod", "Resources", "Source", "TargetAet"}
"""Members that came after 1.10.1, or are ours."""
OURS = {"LocalAet", "Uri"}
"""Members that say who was asked."""


@dataclass
class Both:
    ours: str
    reference: str
    storescp: Peer
    qrscp: Peer

    def ask(self, method: str, path: str, body: Any = None) -> list[tuple[int, Any]]:
        return [ask(method, root + path, body) for root in (self.ours, self.reference)]

    def same(self, method: str, path: str, body: Any = None) -> Any:
        """Ask both; what the gateway says, once it says the same."""
        (status, answer), (wanted_status, wanted) = self.ask(method, path, body)
        assert status == wanted_status, (path, answer, wanted)
        assert compared(answer) == compared(wanted), path
        return answer


def compared(answer: Any) -> Any:
    if isinstance(answer, dict) and "HttpStatus" in answer:
        return {name: answer[name] for name in ("HttpStatus", "OrthancStatus", "Message")}
    if isinstance(answer, dict):
        return {name: compared(value) for name, value in answer.items() if name not in LATER | OURS}
    return [compared(each) for each in answer] if isinstance(answer, list) else answer or {}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("remote")
    environment = {"GATEWAY_SERVER__WORKERS": "2", "GATEWAY_DICOM__AET": "GATEWAY"}
    with (
        storescp(folder / "scp") as scp,
        dcmqrscp(folder / "qr", {"GATEWAY": 1, "ORTHANC": 1, scp.aet: scp.port}) as qr,
        orthanc(folder / "orthanc", wiring=Wiring({scp.aet: scp.port}), DicomCheckModalityHost=False) as reference,
        Gateway(folder / "data", environment=environment).start(60) as gateway,
    ):
        made = Both(gateway.url, reference.url, scp, qr)
        for name in ("CT_small.dcm", "MR_small.dcm"):
            for status, _ in made.ask("POST", "/instances", sample(name).read_bytes()):
                assert status == 200
        for name, peer in (("scp", scp), ("ref", reference), ("qr", qr)):
            made.same("PUT", f"/modalities/{name}", {"AET": peer.aet, "Host": "127.0.0.1", "Port": peer.port})
        made.same("PUT", "/modalities/closed", ["CLOSED", "127.0.0.1", 1])
        yield made


def test_modalities(both: Both) -> None:
    fields = {"AET": "NEW", "Host": "10.0.0.1", "Port": "104", "AllowFind": False, "LocalAet": "ME", "Timeout": 3}
    both.same("PUT", "/modalities/new", fields)
    both.same("GET", "/modalities/new/configuration")
    both.same("PUT", "/modalities/new", ["OLD", "10.0.0.1", 104, "GenericNoUniversalWildcard"])
    both.same("GET", "/modalities/new/configuration")
    shown = [set(answer) for _, answer in both.ask("GET", "/modalities/new")]
    assert shown[1] - shown[0] == {"store-straight", "storage-commitment"} - shown[0]
    for body in (["NEW"], {"AET": "NEW"}, b"zz"):
        both.same("PUT", "/modalities/bad", body)
    both.same("DELETE", "/modalities/new")
    both.same("DELETE", "/modalities/new")
    # Found by whichever process is asked.
    assert all(ask("GET", f"{both.ours}/modalities/ref/configuration")[0] == 200 for _ in range(20))


@pytest.mark.parametrize("name", ["ref", "scp", "qr", "closed", "nope"])
def test_echo(both: Both, name: str) -> None:
    both.same("POST", f"/modalities/{name}/echo", {})


def test_store(both: Both) -> None:
    instance, *_ = ask("GET", f"{both.reference}/instances")[1]
    study, *_ = ask("GET", f"{both.reference}/studies")[1]
    both.same("POST", "/modalities/scp/store", instance.encode())
    both.same("POST", "/modalities/scp/store", [instance, study])
    both.same("POST", "/modalities/qr/store", {"Resources": [study], "LocalAet": "ME"})
    both.same("POST", "/modalities/scp/store", [])
    for body in ({}, b"nope", b""):
        both.same("POST", "/modalities/scp/store", body)
    both.same("POST", "/modalities/closed/store", instance.encode())
    jobs = []
    for root in (both.ours, both.reference):
        body = {"Resources": [study], "Synchronous": False, "Priority": 5}
        _, answer = ask("POST", f"{root}/modalities/scp/store", body)
        job: dict[str, Any] = {}
        while job.get("State") not in ("Success", "Failure"):
            _, job = ask("GET", f"{root}/jobs/{answer['ID']}")
            time.sleep(0.05)
        jobs.append(job)
    ours, reference = jobs
    assert reference.keys() - ours.keys() == set()
    for name in ("Type", "State", "Priority", "Progress", "ErrorCode", "ErrorDescription", "ErrorDetails", "Content"):
        assert compared(ours[name]) == compared(reference[name]), name


def test_query_and_retrieve(both: Both) -> None:
    queries = both.ask("POST", "/modalities/ref/query", {"Level": "Study", "Query": {"PatientID": "1CT1"}})
    paths = [answer["Path"] for _, answer in queries]
    for below in ("", "/query", "/answers", "/answers?expand", "/answers?expand&simplify", "/answers/0", "/answers/9"):
        ours, reference = (ask("GET", root + path + below) for root, path in zip(roots(both), paths, strict=True))
        assert (ours[0], compared(ours[1])) == (reference[0], compared(reference[1])), below
    for below in ("/answers/0/content", "/answers/0/content?short"):
        ours, reference = (ask("GET", root + path + below) for root, path in zip(roots(both), paths, strict=True))
        assert ours == reference
    for below, body in (
        ("/retrieve", {"TargetAet": both.storescp.aet}),
        ("/answers/0/retrieve", both.storescp.aet.encode()),
        ("/retrieve", {"TargetAet": both.storescp.aet, "Full": True}),
        ("/retrieve", {"TargetAet": "NOPE"}),
    ):
        ours, reference = (
            ask("POST", root + path + below, body) for root, path in zip(roots(both), paths, strict=True)
        )
        assert (ours[0], compared(ours[1])) == (reference[0], compared(reference[1])), below
    for body in ({}, {"Level": "Study", "Query": []}, {"Level": "Study", "Query": {"Nope": "1"}}, b"x"):
        both.same("POST", "/modalities/ref/query", body)
    both.same("POST", "/modalities/closed/query", {"Level": "Study"})


def test_find(both: Both) -> None:
    both.same("POST", "/modalities/ref/find-patient", {"PatientID": "1CT1"})
    both.same("POST", "/modalities/ref/find-study", {"PatientID": "1CT1"})
    both.same("POST", "/modalities/ref/find-series", {"PatientID": "1CT1", "StudyInstanceUID": CT_STUDY})
    both.same("POST", "/modalities/ref/find", {"PatientID": "1CT1"})
    assert [status for status, _ in both.ask("POST", "/modalities/ref/find-study", {"PatientID": "*"})] == [400, 400]


def test_move_and_get(both: Both) -> None:
    body = {"Level": "Study", "Resources": [{"StudyInstanceUID": CT_STUDY}], "TargetAet": both.storescp.aet}
    assert [status for status, _ in both.ask("POST", "/modalities/ref/move", body)] == [200, 200]
    status, answer = ask("POST", f"{both.ours}/modalities/ref/get", body)
    assert (status, len(answer["Details"][0]["ReceivedInstancesIds"])) == (200, 1)
    study, *_ = ask("GET", f"{both.reference}/studies")[1]
    ask("POST", f"{both.ours}/modalities/qr/store", [study])
    for name, method in (("qr", "move"), ("qr", "get")):
        status, answer = ask("POST", f"{both.ours}/modalities/{name}/{method}", body)
        assert status == 200, answer


def roots(both: Both) -> tuple[str, str]:
    return both.ours, both.reference
