"""Make the data folder of a release, with every kind of row that it writes, and note what it answered over it.

    git worktree add ../old COMMIT
    python -m tests.database.releases.make ../old tests/database/releases/COMMIT.tar.xz

Everything goes through protocols: the release runs from its checkout, with this interpreter, as a process of its own.
In the archive are `data`, the folder as kill -9 left it, with a write-ahead log that is not copied back, and
`answers.json`: for each path that was asked what `read` made of the answer. Names and pictures are made up.

It is run once for a release and not by the suite, as later code cannot make an older folder; it stays so that the
folder of the next release is made the same way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from tests.support.waiting import wait_until

REFUSED = 0xA900
"""Data Set does not match SOP Class (PS3.4 B.2.3): a failure that is not tried again."""
STUDIES = ("2.25.1001", "2.25.1002", "2.25.1003", "2.25.1004")
SHARED, PADDED, DELETED = STUDIES[1:]
DESTINATIONS = ("pacs", "strict", "closed", "resting")


def settings(ports: dict[str, int]) -> str:
    """A configuration with all the destinations; `ports` says on which port of this host each listens."""
    lines = ["[dicom]", "allow_any_caller = true", 'any_caller_may = ["echo", "store", "find", "commit", "mpps"]']
    lines += ["[dicomweb]", "delete = true", "[storage]", 'duplicates = "overwrite"', "min_free = 0"]
    lines += ["[commitment]", "keep_days = 36500"]
    for name in DESTINATIONS:
        lines += [f"[modalities.{name}]", f'aet = "{name.upper()}"', 'host = "127.0.0.1"', f"port = {ports[name]}"]
        lines += [f"[destinations.{name}]", 'kind = "dicom"', f'modality = "{name}"', "retry_after = 0.2"]
    lines += ["[modalities.ct]", 'aet = "CT"', 'host = "127.0.0.1"']
    return "\n".join([*lines, "[rules.everything]", f"destinations = {json.dumps(DESTINATIONS)}", ""])


def image(patient_id: str, name: str, study: str, number: int, shade: int = 7) -> Dataset:
    """A picture of 8 by 8 pixels of one shade; the same arguments make the same UIDs."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"{study}.1.{number}"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.Modality = "20260102", "101112", "A" + study[-4:], "CT"
    made.StudyDescription, made.SeriesDescription = "Thorax", "Lung"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = name, patient_id, "19500203", "F"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.StudyID = study, f"{study}.1", "S1"
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.SamplesPerPixel, made.PhotometricInterpretation, made.Rows, made.Columns = 1, "MONOCHROME2", 8, 8
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.add_new("PixelData", "OB", bytes([shade]) * 64)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def ask(url: str, method: str = "GET", body: object = None) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"] or "", answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"] or "", error.read()


def read(url: str) -> Any:
    """What a URL answers, so that it can be compared: JSON as it is, of parts and files the digests, or a status."""
    status, kind, body = ask(url)
    if status != 200:
        return {"status": status}
    if kind.startswith("multipart/"):
        message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        return sorted(digest(part.get_payload(decode=True)) for part in message.get_payload())  # type: ignore[arg-type, union-attr]
    if "json" in kind:
        return json.loads(body)
    return digest(body)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def paths(url: str) -> list[str]:
    """What is asked: all lists, everything in them, and each instance."""
    asked = ["/dicom-web/studies?includefield=all", "/dicom-web/series?includefield=all"]
    asked += [
        "/dicom-web/instances?includefield=all",
        "/changes?limit=1000",
        "/jobs?expand",
        "/deliveries?limit=1000",
        "/mpps",
    ]
    asked += ["/worklists?expand", "/destinations?expand", f"/trace?name=A{STUDIES[0][-4:]}"]
    asked += [f"/dicom-web/studies?PatientID={each}" for each in ("P1", "P2", "P3", "P4", "P5")]
    for study in (STUDIES[0], PADDED, DELETED):
        asked += [f"/dicom-web/studies/{study}", f"/dicom-web/studies/{study}/metadata"]
    asked += [f"/mpps/{step if isinstance(step, str) else step['ID']}" for step in read(f"{url}/mpps")]
    return asked + [
        f"/dicom-web/studies/{STUDIES[0]}/series/{STUDIES[0]}.1/instances/{STUDIES[0]}.1.{n}" for n in (1, 2)
    ]


@contextlib.contextmanager
def listening(*statuses: int) -> Iterator[list[int]]:
    """Ports of DICOM nodes that answer each C-STORE with a status."""
    servers = []
    for status in statuses:
        node = AE()
        node.add_supported_context(CTImageStorage)
        handlers = [(evt.EVT_C_STORE, lambda event, status=status: status)]
        servers.append(node.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers))  # type: ignore[arg-type]
    try:
        yield [server.server_address[1] for server in servers]
    finally:
        for server in servers:
            server.shutdown()


class Release:
    """`dicom-gateway serve` of a checkout."""

    def __init__(self, checkout: Path, data: Path, config: Path) -> None:
        command = [sys.executable, "-m", "gateway", "serve", "--data", str(data), "--config", str(config)]
        command += ["--dicom-port", "0", "--http-port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=pipe, text=True)
        self.port, self.url = 0, ""
        assert self.process.stdout is not None
        while not (self.port and self.url):
            line = self.process.stdout.readline()
            assert line, "it has not started"
            if match := re.match(r"DICOM  .+@\S+:(\d+) ", line):
                self.port = int(match[1])
            if match := re.match(r"Web\s+(https?://\S+?)/ui/", line):
                self.url = match[1]

    def kill(self) -> None:
        """kill -9 of all its processes at once, so that none of them closes the database."""
        main = self.process.pid
        some = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in some:
                os.kill(pid, number)
        self.process.communicate()


def fill(release: Release) -> None:
    """One or more of everything; what is on its way in the end is held."""
    client = AE("CT")
    client.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    client.add_requested_context(StorageCommitmentPushModel)
    client.add_requested_context(ModalityPerformedProcedureStep)
    assert ask(f"{release.url}/destinations/resting/hold", "POST")[0] == 200
    reports: list[Dataset] = []

    def reported(event: Any) -> tuple[int, None]:
        reports.append(event.event_information)
        return 0, None

    association = client.associate(
        "127.0.0.1",
        release.port,
        ae_title="GATEWAY",
        ext_neg=[build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)],
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)],
    )
    assert association.is_established
    # As many as metadata are kept for.
    kept = [image("P1", "Doe^Jane", STUDIES[0], number) for number in range(1, 13)]
    for each in (
        *kept,
        image("P1", "Doe^Jane", STUDIES[0], 3, shade=9),  # takes the place of the one before
        image("P2", "Roe^Richard", SHARED, 1),
        image("P3", "Anonymous", SHARED, 1),
        image("P4", "Padded^P\0", PADDED, 1),
        image("P5", "Gone^Gertrud", DELETED, 1),
    ):
        assert association.send_c_store(each).Status == 0

    def commit(transaction: str, uids: list[str]) -> None:
        asked = Dataset()
        asked.TransactionUID, asked.ReferencedSOPSequence = transaction, []
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
            asked.ReferencedSOPSequence.append(item)
        status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        assert status.Status == 0

    commit("2.25.2001", [kept[0].SOPInstanceUID, kept[1].SOPInstanceUID])
    commit("2.25.2002", [kept[2].SOPInstanceUID, "2.25.9"])
    wait_until(lambda: len(reports) == 2, 30, "both reports")
    for number, state in enumerate(("COMPLETED", "DISCONTINUED", "IN PROGRESS"), 1):
        step = Dataset()
        step.PerformedProcedureStepStatus, step.PerformedProcedureStepID = "IN PROGRESS", f"MPPS{number}"
        step.PerformedStationAETitle, step.Modality = "CT", "CT"
        step.PerformedProcedureStepStartDate, step.PerformedProcedureStepStartTime = "20260102", "101112"
        step.PerformedProcedureStepEndDate, step.PerformedProcedureStepEndTime = "", ""
        step.PatientName, step.PatientID, step.PatientBirthDate, step.PatientSex = "Doe^Jane", "P1", "19500203", "F"
        step.PerformedLocation = step.PerformedStationName = step.PerformedProcedureStepDescription = ""
        step.PerformedProcedureTypeDescription = step.StudyID = ""
        step.PerformedSeriesSequence = step.PerformedProtocolCodeSequence = step.ProcedureCodeSequence = []
        scheduled = Dataset()
        scheduled.StudyInstanceUID, scheduled.AccessionNumber = STUDIES[0], "A1001"
        scheduled.ReferencedStudySequence = scheduled.ScheduledProtocolCodeSequence = []
        scheduled.RequestedProcedureID = scheduled.RequestedProcedureDescription = ""
        scheduled.ScheduledProcedureStepID = scheduled.ScheduledProcedureStepDescription = ""
        step.ScheduledStepAttributesSequence = [scheduled]
        status, _ = association.send_n_create(step, ModalityPerformedProcedureStep, f"2.25.300{number}")
        assert status.Status == 0, status
        if state != "IN PROGRESS":
            end = Dataset()
            end.PerformedProcedureStepStatus = state
            end.PerformedProcedureStepEndDate, end.PerformedProcedureStepEndTime = "20260102", "111213"
            series = Dataset()
            series.SeriesInstanceUID, series.ProtocolName, series.SeriesDescription = f"{STUDIES[0]}.1", "Thorax", ""
            series.PerformingPhysicianName = series.OperatorsName = series.RetrieveAETitle = ""
            series.ReferencedImageSequence = series.ReferencedNonImageCompositeSOPInstanceSequence = []
            end.PerformedSeriesSequence = [series]
            status, _ = association.send_n_set(end, ModalityPerformedProcedureStep, f"2.25.300{number}")
            assert status.Status == 0, status
    association.release()
    for number in (1, 2):
        step = {
            "ScheduledStationAETitle": "CT",
            "Modality": "CT",
            "ScheduledProcedureStepStartDate": f"2026010{number}",
        }
        step["ScheduledProcedureStepID"] = f"W{number}"
        item = {"PatientID": f"W{number}", "PatientName": f"Worklist^{number}", "AccessionNumber": f"W{number}"}
        body = {"Tags": {**item, "ScheduledProcedureStepSequence": [step]}}
        assert ask(f"{release.url}/worklists/create", "POST", body)[0] == 200

    def states(name: str) -> set[str]:
        found = read(f"{release.url}/deliveries?destination={name}&limit=1000")["Deliveries"]
        return {each["State"] for each in found}

    # What was overwritten while it waited is cancelled.
    wait_until(lambda: "Delivered" in states("pacs") <= {"Delivered", "Cancelled"}, 30, "all is delivered")
    wait_until(lambda: "Refused" in states("strict") <= {"Refused", "Cancelled"}, 30, "all is refused")
    assert ask(f"{release.url}/destinations/closed/hold", "POST")[0] == 200
    for study in STUDIES:
        read(f"{release.url}/dicom-web/studies/{study}/metadata")
    assert ask(f"{release.url}/dicom-web/studies/{DELETED}", "DELETE")[0] == 204


def main() -> None:
    checkout, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder, listening(0, REFUSED) as (pacs, strict):
        data, config = Path(folder, "data"), Path(folder, "gateway.toml")
        config.write_text(settings({"pacs": pacs, "strict": strict, "closed": 1, "resting": 1}))
        release = Release(checkout, data, config)
        try:
            fill(release)
            answers = {path: read(release.url + path) for path in paths(release.url)}
            time.sleep(1)  # no event of an older release says that what is written behind its answers is written
        finally:
            release.kill()
        for path in data.rglob("*"):
            # In stock, to receive into: made again at the start. The rest is worth nothing to another process.
            if path.is_file() and (path.stat().st_size == 0 or path.name.endswith("-shm")):
                path.unlink()
        Path(folder, "answers.json").write_text(json.dumps(answers, indent=1))
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for name in ("data", "answers.json"):
                archive.add(Path(folder, name), name, filter=_of_nobody)


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
