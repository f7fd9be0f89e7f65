"""C-MOVE and C-GET with real peers: DCMTK and pynetdicom asking, storescp, pynetdicom and Orthanc as destinations."""

from __future__ import annotations

import json
import subprocess
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.support import peers
from tests.support.datasets import EXPLICIT, read_sample, sample
from tests.support.processes import Gateway, free_port, orthanc, storescp
from tests.support.waiting import wait_until

pytestmark = pytest.mark.interop

CT = "CT_small.dcm"
RLE = "MR_small_RLE.dcm"
JPEG = "SC_rgb_jpeg_dcmtk.dcm"
FILES = {CT: [], RLE: ["-xr"], JPEG: ["-xy"]}
"""What the gateway holds, and storescu's option that sends it as it is."""


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def study_of(name: str) -> str:
    return str(read_sample(sample(name)).StudyInstanceUID)


@contextmanager
def gateway_with(folder: Path, **modalities: int) -> Iterator[Gateway]:
    """A gateway that holds FILES and knows these modalities (AE title to port) and the callers below."""
    callers = dict.fromkeys(("GETSCU", "MOVESCU", "STORESCU", "PYNETDICOM"), 0)
    lines = [
        f'[modalities.{aet.lower()}]\naet = "{aet}"\nhost = "127.0.0.1"\nport = {port}\nresponse_timeout = 5.0\n'
        for aet, port in {**callers, **modalities}.items()
    ]
    file = folder / "gateway.toml"
    file.write_text("\n".join(lines))
    with Gateway(folder / "data", "--config", str(file)) as gateway:
        storescu = peers.need("storescu")
        for name, options in FILES.items():
            run(storescu, *options, "-aec", gateway.aet, gateway.host, gateway.port, sample(name))
        yield gateway


def files_in(folder: Path) -> list[Dataset]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def check_same(found: Dataset, name: str) -> None:
    """As uncompressed in either syntax: the same attributes, the same pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = read_sample(sample(name))
        assert found.SOPInstanceUID == before.SOPInstanceUID
        assert found.PatientName == before.PatientName
        assert (found.pixel_array == before.pixel_array).all()


class TestDcmtk:
    @pytest.mark.parametrize("name", list(FILES))
    @pytest.mark.parametrize("option", [[], ["+xi"]])
    def test_getscu(self, tmp_path: Path, name: str, option: list[str]) -> None:
        """It takes uncompressed transfer syntaxes only, so the compressed files come decoded."""
        getscu = peers.need("getscu")
        target = tmp_path / "got"
        target.mkdir()
        with gateway_with(tmp_path) as gateway:
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_of(name)}"]
            log = run(getscu, "-v", "-S", *option, *keys, "-od", target, gateway.host, gateway.port)
            assert "Success" in log, log
            (found,) = files_in(target)
            if name != JPEG:
                check_same(found, name)
            else:
                assert found.PhotometricInterpretation == "RGB"
                assert len(found.PixelData) == found.Rows * found.Columns * 3
            assert gateway.stop() == 0

    def test_getscu_finds_nothing_and_asks_wrongly(self, tmp_path: Path) -> None:
        getscu = peers.need("getscu")
        with gateway_with(tmp_path) as gateway:
            command = [getscu, "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-od", str(tmp_path)]
            address = [gateway.host, str(gateway.port)]
            assert "Success" in run(*command, "-k", "StudyInstanceUID=1.2.3", *address)
            done = subprocess.run([*command, *address], capture_output=True, text=True, timeout=20, check=False)
            text = done.stdout + done.stderr
            assert "A900" in text or "DoesNotMatchSOPClass" in text, text

    def test_movescu_to_storescp(self, tmp_path: Path) -> None:
        movescu = peers.need("movescu")
        with storescp(tmp_path) as peer, gateway_with(tmp_path, STORESCP=peer.port) as gateway:
            for name in FILES:
                keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_of(name)}"]
                command = [movescu, "-v", "-S", *keys, "-aem", "STORESCP", gateway.host, gateway.port]
                assert "Success" in run(*command)
            found = {each.SOPInstanceUID: each for each in files_in(peer.folder)}
            # "+xa": it takes everything, so everything comes as it is.
            for name in FILES:
                before = read_sample(sample(name))
                after = found[before.SOPInstanceUID]
                assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID or name == CT
                assert after.PixelData == before.PixelData or name == CT

    @pytest.mark.parametrize(
        ("option", "answer"),
        [
            ("--sleep-after=1", "Success"),
            ("--abort-after", "OutOfResourcesSubOperations"),
            ("--abort-during", "OutOfResourcesSubOperations"),
            ("--refuse", "OutOfResourcesSubOperations"),
            ("--sleep-during=9", "OutOfResourcesSubOperations"),
        ],
    )
    def test_movescu_to_a_storescp_in_trouble(self, tmp_path: Path, option: str, answer: str) -> None:
        """One that takes more than the five seconds that it may is given up; meanwhile others are served."""
        movescu, storescu = peers.need("movescu"), peers.need("storescu")
        with storescp(tmp_path, *option.split("=")) as peer, gateway_with(tmp_path, STORESCP=peer.port) as gateway:
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_of(CT)}"]
            command = [movescu, "-v", "-S", *keys, "-aem", "STORESCP", gateway.host, str(gateway.port)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as moving:
                wait_until(lambda: "C-MOVE-RQ of 1 instances begins" in gateway.log, 10)
                run(storescu, "-aec", gateway.aet, gateway.host, gateway.port, sample("rtplan.dcm"))
                said, _ = moving.communicate(timeout=30)
            assert answer in said, said
            assert gateway.stop() == 0

    @pytest.mark.case("case 06 what is of odd length is sent on in fragments of even length")
    def test_what_is_of_odd_length_arrives_at_storescp(self, tmp_path: Path) -> None:
        movescu = peers.need("movescu")
        data_set = read_sample(sample(CT))
        (tmp_path / "odd").mkdir()
        data_set.save_as(tmp_path / "odd" / "even.dcm", enforce_file_format=True)
        even = (tmp_path / "odd" / "even.dcm").read_bytes()
        at = even.index(b"\xe0\x7f\x10\0OW\0\0") + 8
        length = int.from_bytes(even[at : at + 4], "little") - 1
        odd = tmp_path / "odd.dcm"
        odd.write_bytes(even[:at] + length.to_bytes(4, "little") + even[at + 4 : at + 4 + length])
        with storescp(tmp_path) as peer, gateway_with(tmp_path, STORESCP=peer.port) as gateway:
            url = f"{gateway.url}/instances"
            answer = json.load(urllib.request.urlopen(urllib.request.Request(url, odd.read_bytes(), method="POST")))
            assert answer["Status"] in ("Success", "AlreadyStored")
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_of(CT)}"]
            run(movescu, "-v", "-S", *keys, "-aem", "STORESCP", gateway.host, gateway.port)
            assert len(files_in(peer.folder)) == 1

    def test_movescu_to_nobody(self, tmp_path: Path) -> None:
        movescu = peers.need("movescu")
        with gateway_with(tmp_path, GONE=free_port()) as gateway:
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_of(CT)}"]
            for aet, answer in (("GONE", "OutOfResourcesSubOperations"), ("OTHER", "MoveDestinationUnknown")):
                command = [movescu, "-v", "-S", *keys, "-aem", aet, gateway.host, str(gateway.port)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
                assert answer in done.stdout + done.stderr, done.stdout + done.stderr


class TestPynetdicom:
    def identifier(self, name: str) -> Dataset:
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "STUDY"
        wanted.StudyInstanceUID = study_of(name)
        return wanted

    def test_get(self, tmp_path: Path) -> None:
        received: list[Dataset] = []

        def store(event: evt.Event) -> int:
            received.append(event.dataset)
            return 0x0000

        with gateway_with(tmp_path) as gateway:
            ae = AE("PYNETDICOM")
            ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
            roles = []
            for sop_class in (CTImageStorage, MRImageStorage):
                ae.add_requested_context(sop_class, EXPLICIT)
                roles.append(build_role(sop_class, scp_role=True))
            handlers = [(evt.EVT_C_STORE, store)]
            peer = ae.associate(gateway.host, gateway.port, ext_neg=roles, evt_handlers=handlers)
            assert peer.is_established
            for name in (CT, RLE):
                *_, (last, _) = peer.send_c_get(self.identifier(name), StudyRootQueryRetrieveInformationModelGet)
                assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
            # It proposed no context for secondary captures.
            *_, (last, failed) = peer.send_c_get(self.identifier(JPEG), StudyRootQueryRetrieveInformationModelGet)
            assert (last.Status, last.NumberOfFailedSuboperations) == (0xA702, 1)
            assert failed.FailedSOPInstanceUIDList == read_sample(sample(JPEG)).SOPInstanceUID
            peer.release()
        assert [each.SOPInstanceUID for each in received] == [read_sample(sample(n)).SOPInstanceUID for n in (CT, RLE)]

    @pytest.mark.parametrize("end", ["4.90", "5", "1.99", "2"])
    def test_get_in_what_it_takes(self, tmp_path: Path, end: str) -> None:
        """Stored uncompressed and as RLE, taken in one transfer syntax alone."""
        syntax = f"1.2.840.10008.1.2.{end}"
        received: list[Dataset] = []

        def store(event: evt.Event) -> int:
            event.dataset.file_meta = event.file_meta
            received.append(event.dataset)
            return 0x0000

        with gateway_with(tmp_path) as gateway:
            ae = AE("PYNETDICOM")
            ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
            for sop_class in (CTImageStorage, MRImageStorage):
                ae.add_requested_context(sop_class, syntax)
            roles = [build_role(sop_class, scp_role=True) for sop_class in (CTImageStorage, MRImageStorage)]
            handlers = [(evt.EVT_C_STORE, store)]
            peer = ae.associate(gateway.host, gateway.port, ext_neg=roles, evt_handlers=handlers)
            assert peer.is_established
            for name in (CT, RLE):
                *_, (last, _) = peer.send_c_get(self.identifier(name), StudyRootQueryRetrieveInformationModelGet)
                assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
            peer.release()
        for found, name in zip(received, (CT, RLE), strict=True):
            assert found.file_meta.TransferSyntaxUID == syntax
            check_same(found, name)

    def test_move(self, tmp_path: Path) -> None:
        received: list[tuple[str, int]] = []

        def store(event: evt.Event) -> int:
            request = event.request
            received.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
            return 0xB000

        destination = AE("DESTINATION")
        destination.add_supported_context(CTImageStorage)
        server = destination.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        try:
            with gateway_with(tmp_path, DESTINATION=server.server_address[1]) as gateway:
                ae = AE("PYNETDICOM")
                ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
                peer = ae.associate(gateway.host, gateway.port)
                model = StudyRootQueryRetrieveInformationModelMove
                *_, (last, _) = peer.send_c_move(self.identifier(CT), "DESTINATION", model, msg_id=77)
                assert (last.Status, last.NumberOfWarningSuboperations) == (0xB000, 1)
                peer.release()
        finally:
            server.shutdown()
        assert received == [("PYNETDICOM", 77)]


class TestOrthanc:
    def test_as_destination_and_as_the_one_who_asks(self, tmp_path: Path) -> None:
        """Its own query and retrieve, over its REST API, at every level."""
        with orthanc(tmp_path / "orthanc") as peer, gateway_with(tmp_path, ORTHANC=peer.port) as gateway:

            def ask(path: str, body: object = None, method: str = "POST") -> Any:
                data = json.dumps(body).encode() if body is not None else None
                request = urllib.request.Request(peer.url + path, data, method=method)
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return json.loads(answer.read() or b"null")

            def stored() -> int:
                return int(ask("/statistics", method="GET")["CountInstances"])

            ask("/modalities/g", {"AET": gateway.aet, "Host": gateway.host, "Port": gateway.port}, "PUT")
            assert ask("/modalities/g/echo", {}) == {}
            keys: dict[str, str] = {}
            source = read_sample(sample(CT))
            for level, keyword in (
                ("Patient", "PatientID"),
                ("Study", "StudyInstanceUID"),
                ("Series", "SeriesInstanceUID"),
                ("Instance", "SOPInstanceUID"),
            ):
                keys[keyword] = str(source[keyword].value)
                query = ask("/modalities/g/query", {"Level": level, "Query": keys})["Path"]
                (answer,) = ask(f"{query}/answers", method="GET")
                content = ask(f"{query}/answers/{answer}/content?simplify", method="GET")
                assert content[keyword] == keys[keyword]
                ask(f"{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
                assert stored() == 1, level
                for found in ask("/patients", method="GET"):
                    ask(f"/patients/{found}", method="DELETE")
                assert stored() == 0
            for name in FILES:
                found = ask("/modalities/g/query", {"Level": "Study", "Query": {"StudyInstanceUID": study_of(name)}})
                ask(f"{found['Path']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
            assert stored() == len(FILES)
            # And what it holds, sent to us by its own sender.
            sent = ask("/modalities/g/store", ask("/instances", method="GET"))
            assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (len(FILES), 0)
            assert gateway.stop() == 0
