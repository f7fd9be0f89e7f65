"""Storage commitment, worklist and performed steps with DCMTK, pynetdicom and Orthanc, against a gateway's process."""

from __future__ import annotations

import json
import queue
import subprocess
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid
from pynetdicom import AE, Association, build_role, evt
from pynetdicom.dimse_messages import N_ACTION_RSP
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from tests.cli.test_commands import run
from tests.cli.test_commit import write
from tests.scp.test_mpps import begun, ended
from tests.scp.test_worklist import item, query, step, write_wl
from tests.support import peers
from tests.support.datasets import EXPLICIT, IMPLICIT, instance
from tests.support.processes import Gateway, Peer, free_port, http_get, orthanc
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop
SYNTAXES = [EXPLICIT, IMPLICIT]


def settings(path: Path, text: str) -> tuple[str, str]:
    file = path / "gateway.toml"
    file.write_text(text)
    return "--config", str(file)


@contextmanager
def association(
    gateway: Gateway | Peer, *contexts: Any, aet: str = "PYNETDICOM", **options: Any
) -> Iterator[Association]:
    ae = AE(ae_title=aet)
    for context in contexts:
        ae.add_requested_context(context, SYNTAXES)
    made = ae.associate(gateway.host, gateway.port, ae_title=gateway.aet, **options)
    assert made.is_established
    try:
        yield made
    finally:
        made.release()


@contextmanager
def listening(aet: str, handlers: list[Any], *contexts: Any, roles: bool = False) -> Iterator[int]:
    """pynetdicom as SCP on a port of its own; `roles`: it lets the caller be SCP."""
    ae = AE(ae_title=aet)
    for context in contexts:
        if roles:
            ae.add_supported_context(context, SYNTAXES, scu_role=False, scp_role=True)
        else:
            ae.add_supported_context(context, SYNTAXES)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def post(url: str, body: Any, method: str = "POST") -> Any:
    """Send JSON; the answer's. Raises HTTPError."""
    headers = {"Content-Type": "application/json"}
    wanted = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(wanted, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def request(*instances: Dataset) -> Dataset:
    made = Dataset()
    made.TransactionUID = generate_uid()
    made.ReferencedSOPSequence = []
    for each in instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID = each.SOPClassUID
        reference.ReferencedSOPInstanceUID = each.SOPInstanceUID
        made.ReferencedSOPSequence.append(reference)
    return made


def store(gateway: Gateway | Peer, source: Dataset, aet: str = "PYNETDICOM") -> None:
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = EXPLICIT
    with association(gateway, CTImageStorage, aet=aet) as made:
        assert made.send_c_store(source).Status == 0


def take_reports() -> tuple[queue.Queue[tuple[int, Dataset, str]], Callable[[Any], tuple[int, None]]]:
    reports: queue.Queue[tuple[int, Dataset, str]] = queue.Queue()

    def handle(event: Any) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information, event.assoc.remote["ae_title"]))
        return 0, None

    return reports, handle


class TestCommitment:
    def test_pynetdicom_is_told_on_its_association(self, tmp_path: Path) -> None:
        known, unknown = instance(), instance()
        reports, handle = take_reports()
        with Gateway(tmp_path / "data") as gateway:
            store(gateway, known)
            handlers = [(evt.EVT_N_EVENT_REPORT, handle)]
            with association(gateway, StorageCommitmentPushModel, evt_handlers=handlers) as made:
                asked = request(known, unknown)
                answer, _ = made.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
                assert answer.Status == 0
                kind, report, _ = reports.get(timeout=10)
            assert gateway.stop() == 0
        assert kind == 2
        assert report.TransactionUID == asked.TransactionUID
        assert [each.ReferencedSOPInstanceUID for each in report.ReferencedSOPSequence] == [known.SOPInstanceUID]
        (failed,) = report.FailedSOPSequence
        assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (unknown.SOPInstanceUID, 0x0112)

    def test_pynetdicom_is_told_on_an_association_of_ours(self, tmp_path: Path) -> None:
        """It has left by then: the usual way of modalities."""
        source = instance()
        reports, handle = take_reports()
        handlers = [(evt.EVT_N_EVENT_REPORT, handle)]
        with listening("MODALITY", handlers, StorageCommitmentPushModel, roles=True) as port:
            text = (
                f'[modalities.m]\naet = "MODALITY"\nhost = "127.0.0.1"\nport = {port}\n[commitment]\nreport = "new"\n'
            )
            with Gateway(tmp_path / "data", *settings(tmp_path, text)) as gateway:
                store(gateway, source, "MODALITY")
                with association(gateway, StorageCommitmentPushModel, aet="MODALITY") as made:
                    asked = request(source)
                    well_known = StorageCommitmentPushModelInstance
                    answer, _ = made.send_n_action(asked, 1, StorageCommitmentPushModel, well_known)
                    assert answer.Status == 0
                kind, report, caller = reports.get(timeout=10)
                assert (kind, report.TransactionUID, caller) == (1, asked.TransactionUID, gateway.aet)
                assert "FailedSOPSequence" not in report
                wait_until(lambda: json.loads(gateway.get("/jobs?expand")[1])[0]["State"] == "Success", 10)

    @pytest.mark.parametrize("same", [True, False])
    def test_we_ask_pynetdicom(self, tmp_path: Path, same: bool) -> None:
        """`dicom-gateway commit`, and the report on either association."""
        source = instance()
        file = write(tmp_path / "one.dcm", source)
        ours = free_port()

        def act(event: Any) -> tuple[int, None]:
            return 0, None

        def report(event: Any) -> None:
            """Once our answer is on its way."""
            if not isinstance(event.message, N_ACTION_RSP):
                return
            asked = acted.get(timeout=5)
            if same:
                associated = event.assoc
            else:
                ae = AE(ae_title="ARCHIVE")
                ae.add_requested_context(StorageCommitmentPushModel, SYNTAXES)
                role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
                associated = ae.associate("127.0.0.1", ours, ae_title="GATEWAY", ext_neg=[role])
            answer, _ = associated.send_n_event_report(
                asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            answers.put(answer.Status)
            if not same:
                associated.release()

        acted: queue.Queue[Dataset] = queue.Queue()
        answers: queue.Queue[int] = queue.Queue()

        def remember(event: Any) -> tuple[int, None]:
            acted.put(event.action_information)
            return act(event)

        handlers = [
            (evt.EVT_N_ACTION, remember),
            (evt.EVT_DIMSE_SENT, lambda event: Thread(target=report, args=(event,)).start()),
        ]
        with listening("ARCHIVE", handlers, StorageCommitmentPushModel) as port:
            arguments = [] if same else ["--listen", str(ours)]
            done = run("commit", f"ARCHIVE@127.0.0.1:{port}", str(file), "--wait", "20", *arguments, "--json")
            found = json.loads(done.stdout)
            assert [each["committed"] for each in found["instances"]] == [True]
            assert answers.get(timeout=5) == 0


class TestCommitmentWithOrthanc:
    """Orthanc reports, and wants to be told, on associations of its own."""

    @contextmanager
    def both(self, tmp_path: Path, more: str = "") -> Iterator[tuple[Gateway, Peer]]:
        with orthanc(tmp_path / "orthanc") as peer:
            text = f'[modalities.orthanc]\naet = "ORTHANC"\nhost = "127.0.0.1"\nport = {peer.port}\n' + more
            with Gateway(tmp_path / "data", *settings(tmp_path, text)) as gateway:
                node = {"AET": gateway.aet, "Host": gateway.host, "Port": gateway.port}
                post(f"{peer.url}/modalities/gateway", node, "PUT")
                yield gateway, peer

    def test_it_asks_us(self, tmp_path: Path) -> None:
        known, unknown = instance(), instance()
        with self.both(tmp_path) as (gateway, peer):
            store(gateway, known, "ORTHANC")
            instances = [
                {"SOPClassUID": each.SOPClassUID, "SOPInstanceUID": each.SOPInstanceUID} for each in (known, unknown)
            ]
            asked = post(f"{peer.url}/modalities/gateway/storage-commitment", {"DicomInstances": instances})
            found: dict[str, Any] = {}

            def told() -> bool:
                found.update(json.loads(http_get(peer.url + asked["Path"], 5)[1]))
                return found["Status"] != "Pending"

            wait_until(told, 15, gateway.log)
            assert found["Status"] == "Failure"
            assert [each["SOPInstanceUID"] for each in found["Success"]] == [known.SOPInstanceUID]
            (failed,) = found["Failures"]
            assert (failed["SOPInstanceUID"], failed["FailureReason"]) == (unknown.SOPInstanceUID, 0x0112)

    def test_a_modality_is_told_once_it_has_committed(self, tmp_path: Path) -> None:
        """Modality to gateway to Orthanc, and the reports all the way back."""
        source = instance()
        reports, handle = take_reports()
        handlers = [(evt.EVT_N_EVENT_REPORT, handle)]
        with listening("MODALITY", handlers, StorageCommitmentPushModel, roles=True) as port:
            more = f'[modalities.m]\naet = "MODALITY"\nhost = "127.0.0.1"\nport = {port}\n'
            more += '[commitment]\ndestinations = ["orthanc"]\n'
            with self.both(tmp_path, more) as (gateway, peer):
                store(gateway, source, "MODALITY")
                store(peer, source)
                with association(gateway, StorageCommitmentPushModel, aet="MODALITY") as made:
                    well_known = StorageCommitmentPushModelInstance
                    answer, _ = made.send_n_action(request(source), 1, StorageCommitmentPushModel, well_known)
                    assert answer.Status == 0
                kind, report, _ = reports.get(timeout=20)
                assert kind == 1
                assert [each.ReferencedSOPInstanceUID for each in report.ReferencedSOPSequence] == [
                    source.SOPInstanceUID
                ]


class TestWorklist:
    def items(self, gateway: Gateway, folder: Path) -> None:
        """One from a DICOM file, one from JSON, one over REST."""
        write_wl(folder / "a.wl", item(step(ScheduledProcedureStepID="1"), PatientName="Doe^Jane"))
        other = item(step(ScheduledProcedureStepID="2", ScheduledStationAETitle="MR1", Modality="MR"))
        other.PatientName = "山田^太郎"
        (folder / "b.json").write_text(json.dumps(other.to_json_dict()))
        late = item(step(ScheduledProcedureStepID="3", ScheduledProcedureStepStartDate="20261201"))
        post(f"{gateway.url}/worklists/create", late.to_json_dict())

    def test_findscu(self, tmp_path: Path) -> None:
        findscu, folder = peers.need("findscu"), tmp_path / "worklist"
        folder.mkdir()
        with Gateway(tmp_path / "data", environment={"GATEWAY_WORKLIST__FOLDER": str(folder)}) as gateway:
            self.items(gateway, folder)

            def ask(*keys: str) -> str:
                options = [option for key in keys for option in ("-k", key)]
                command = [findscu, "-v", "-W", "-aec", gateway.aet, gateway.host, str(gateway.port), *options]
                done = subprocess.run(command, capture_output=True, timeout=30, check=False)
                text = (done.stdout + done.stderr).decode("utf-8", "replace")
                assert done.returncode == 0, text
                assert "Success" in text
                return text

            station = "(0040,0100)[0].ScheduledStationAETitle"
            text = ask("PatientName", f"{station}=MR1", "(0040,0100)[0].Modality")
            assert "山田^太郎" in text
            assert "ISO_IR 192" in text
            assert text.count("Find Response:") == 1
            text = ask("PatientName=doe*", f"{station}=CT?", "(0040,0100)[0].ScheduledProcedureStepStartDate=20261122")
            assert text.count("Find Response:") == 1
            assert "[Doe^Jane" in text
            text = ask("PatientName", "(0040,0100)[0].ScheduledProcedureStepStartDate=20261101-20261231")
            assert text.count("Find Response:") == 3
            (folder / "a.wl").unlink()
            wait_until(lambda: ask("PatientName").count("Find Response:") == 2, 10)

    def test_pynetdicom(self, tmp_path: Path) -> None:
        folder = tmp_path / "worklist"
        folder.mkdir()
        with Gateway(tmp_path / "data", environment={"GATEWAY_WORKLIST__FOLDER": str(folder)}) as gateway:
            self.items(gateway, folder)
            with association(gateway, ModalityWorklistInformationFind) as made, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                keys = query({"ScheduledProcedureStepStartDate": "20261122", "Modality": "CT"})
                answers = list(made.send_c_find(keys, ModalityWorklistInformationFind))
            assert [status.Status for status, _ in answers] == [0xFF00, 0]
            assert answers[0][1].PatientName == "Doe^Jane"
            assert answers[0][1].ScheduledProcedureStepSequence[0].ScheduledProcedureStepID == "1"


class TestPerformedSteps:
    def test_pynetdicom_reports_and_takes_them(self, tmp_path: Path) -> None:
        """As the modality, and as the information system that they are sent on to."""
        came: queue.Queue[tuple[str, str]] = queue.Queue()

        def create(event: Any) -> tuple[int, Dataset]:
            came.put(("create", str(event.attribute_list.PatientName)))
            return 0, event.attribute_list

        def change(event: Any) -> tuple[int, Dataset]:
            came.put(("set", event.modification_list.PerformedProcedureStepStatus))
            return 0, event.modification_list

        handlers = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change)]
        with listening("RIS", handlers, ModalityPerformedProcedureStep) as port:
            text = f'[modalities.ris]\naet = "RIS"\nhost = "127.0.0.1"\nport = {port}\n'
            text += '[modalities.ct]\naet = "PYNETDICOM"\n[mpps]\nforward = ["ris"]\n'
            with Gateway(tmp_path / "data", *settings(tmp_path, text)) as gateway:
                uid = generate_uid()
                with association(gateway, ModalityPerformedProcedureStep) as made:
                    answer, _ = made.send_n_create(begun(), ModalityPerformedProcedureStep, uid)
                    assert answer.Status == 0
                    answer, _ = made.send_n_set(ended(), ModalityPerformedProcedureStep, uid)
                    assert answer.Status == 0
                    answer, _ = made.send_n_set(ended("IN PROGRESS"), ModalityPerformedProcedureStep, uid)
                    assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
                assert [came.get(timeout=10) for _ in range(2)] == [("create", "Müller^Jürgen"), ("set", "COMPLETED")]
                shown = json.loads(gateway.get(f"/mpps/{uid}")[1])
                assert shown["Status"] == "COMPLETED"
                assert shown["Tags"]["PatientName"] == "Müller^Jürgen"
