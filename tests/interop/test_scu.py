"""The gateway as a client of real servers: DCMTK's storescp and dcmqrscp, Debian's Orthanc, pynetdicom, its qrscp."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import pytest

from gateway import config
from gateway.dicom.encode import Attribute, DataSet
from gateway.ingest.files import Files, look_into
from gateway.remote.dimse import DimseNode
from gateway.scu import get, move
from gateway.scu.find import Match
from gateway.scu.folder import FolderSink
from gateway.scu.store import Item
from tests.support.datasets import IMPLICIT, read_sample, sample
from tests.support.processes import ROOT, Gateway, Peer, dcmqrscp, orthanc, qrscp, storescp

pytestmark = pytest.mark.interop
T = TypeVar("T")

FILES = (
    *("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "SC_rgb.dcm"),
    *("MR_small_bigendian.dcm", "JPEG2000.dcm", "JPEG-LL.dcm"),
)
PLAIN = FILES[:7]
"""What dcmqrscp accepts."""
CT_STUDY = str(read_sample(sample("CT_small.dcm")).StudyInstanceUID)
STUDY, SOP_INSTANCE, PATIENT_ID = 0x0020000D, 0x00080018, 0x00100020


def items(*names: str) -> list[Item]:
    files = Files([sample(name) for name in names])
    found = [one for source in files if (one := look_into(source))]
    return [
        Item(
            one.source.name,
            one.sop_class_uid,
            one.sop_instance_uid,
            one.meta.transfer_syntax_uid,
            one.open,
            one.meta.data_set_offset,
            one.size,
        )
        for one in found
    ]


def files(archive: Peer) -> tuple[str, ...]:
    if archive.aet == "QRSCP":  # It gives a file only in the transfer syntax that it has.
        return tuple(name for name in PLAIN if "bigendian" not in name)
    return PLAIN if archive.aet == "DCMQRSCP" else FILES


def node(peer: Peer | Gateway) -> DimseNode:
    """As a configured modality, calling as `OURS`."""
    modality = config.Modality(aet=peer.aet, host=peer.host, port=peer.port, our_aet="OURS", response_timeout=20.0)
    settings = config.Settings(modalities={"peer": modality})
    return DimseNode(lambda: settings, "peer")


async def everything(responses: AsyncGenerator[T, None]) -> list[T]:
    async with asyncio.timeout(40), aclosing(responses):
        return [response async for response in responses]


def study(uid: str) -> DataSet:
    return {STUDY: Attribute("UI", [uid])}


def values(matches: list[Match], tag: int) -> set[str]:
    return {match.attributes()[tag].text for match in matches}


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=40
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway") / "data") as started:
        yield started


@pytest.fixture(scope="module", params=["dcmqrscp", "qrscp", "orthanc"])
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway: Gateway
) -> Iterator[Peer]:
    """A server that stores, finds, moves and gives, and knows our gateway as a destination."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "qrscp":
        with qrscp(folder, {"GATEWAY": gateway.port}) as peer:
            yield peer
    elif request.param == "dcmqrscp":
        with dcmqrscp(folder, {"GATEWAY": gateway.port}) as peer:
            yield peer
    else:
        always = dict.fromkeys(("DicomAlwaysAllowFind", "DicomAlwaysAllowGet", "DicomAlwaysAllowMove"), True)
        with orthanc(folder, DicomModalities={"gateway": ["GATEWAY", "127.0.0.1", gateway.port]}, **always) as peer:
            yield peer


class TestArchives:
    """In order: what the first test stores, the others find."""

    async def test_echo(self, archive: Peer) -> None:
        assert await node(archive).echo() == 0

    async def test_send(self, archive: Peer) -> None:
        # Two of them are one instance; dcmqrscp, which forks, may fail at it where both come at the same moment.
        again = [name for name in files(archive) if "bigendian" in name]
        sent = await node(archive).send(items(*(name for name in files(archive) if name not in again)), associations=2)
        sent += await node(archive).send(items(*again), associations=2)
        assert {Path(one.item.name).name: one.detail for one in sent} == dict.fromkeys(files(archive), "0000H success")

    async def test_find_at_every_level(self, archive: Peer) -> None:
        there = node(archive)
        keys: DataSet = {PATIENT_ID: Attribute("LO"), 0x00100010: Attribute("PN", ["CompressedSamples*"])}
        patients = await everything(there.query("patient", keys))
        assert {"1CT1", "4MR1"} <= values(patients, PATIENT_ID)
        studies = await everything(there.query("study", {**keys, STUDY: Attribute("UI")}))
        assert CT_STUDY in values(studies, STUDY)
        series = await everything(there.query("series", {**study(CT_STUDY), 0x0020000E: Attribute("UI")}))
        (series_uid,) = values(series, 0x0020000E)
        below = {**study(CT_STUDY), 0x0020000E: Attribute("UI", [series_uid]), SOP_INSTANCE: Attribute("UI")}
        assert len(await everything(there.query("instance", below))) == 1

    async def test_get_into_a_folder(self, archive: Peer, tmp_path: Path) -> None:
        uids = [str(read_sample(sample(name)).StudyInstanceUID) for name in files(archive)]
        with contextlib.closing(FolderSink(tmp_path)) as sink:
            for uid in dict.fromkeys(uids):
                final = (await everything(node(archive).fetch("study", study(uid), sink)))[-1]
                assert final.is_success, (uid, final)
        expected = {str(read_sample(sample(name)).SOPInstanceUID) for name in files(archive)}
        got = {str(pydicom.dcmread(file).SOPInstanceUID) for file in tmp_path.iterdir()}
        assert got == expected

    async def test_move_to_the_gateway(self, archive: Peer, gateway: Gateway) -> None:
        going = await everything(node(archive).move("study", study(CT_STUDY), "GATEWAY"))
        assert going[-1].is_success, going[-1]
        assert going[-1].completed == 1
        code, body = gateway.get(f"/dicom-web/studies/{CT_STUDY}/instances")
        assert (code, len(json.loads(body))) == (200, 1)

    async def test_move_to_nobody(self, archive: Peer) -> None:
        final = (await everything(node(archive).move("study", study(CT_STUDY), "NOBODY")))[-1]
        assert not final.is_success

    def test_the_command_line(self, archive: Peer, tmp_path: Path) -> None:
        text = f"{archive.aet}@{archive.host}:{archive.port}"
        assert "answers" in run("echo", text).stdout
        assert "1 instance stored" in run("send", text, str(sample("CT_small.dcm"))).stdout
        (match,) = json.loads(run("find", text, f"StudyInstanceUID={CT_STUDY}", "--json").stdout)
        assert match["0020000D"]["Value"] == [CT_STUDY]
        assert CT_STUDY in run("find", text, "PatientID=1CT1").stdout
        out = tmp_path / "out"
        assert "1 instance in" in run("get", text, f"StudyInstanceUID={CT_STUDY}", "--out", str(out)).stdout
        assert len(list(out.iterdir())) == 1
        data = str(tmp_path / "data")
        run("get", text, f"StudyInstanceUID={CT_STUDY}", "--archive", "--create", "--data", data)
        assert "1 instance" in run("reindex", "--data", data).stdout
        moved = json.loads(run("move", text, f"StudyInstanceUID={CT_STUDY}", "--to", "GATEWAY", "--json").stdout)
        assert (moved["status"], moved["completed"]) == ("0000", 1)
        run("move", text, f"StudyInstanceUID={CT_STUDY}", "--to", "NOBODY", code=1)


class TestStorescp:
    @pytest.mark.parametrize("options", [[], ["+xi"], ["--max-pdu", "4096"]], ids=" ".join)
    async def test_what_is_accepted_arrives(self, tmp_path: Path, options: list[str]) -> None:
        plain = ("CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm")
        with storescp(tmp_path, *options) as peer:
            sent = await node(peer).send(items(*plain), associations=3)
        assert [one.status for one in sent] == [0, 0, 0]
        received = {}
        for file in peer.folder.iterdir():
            data_set = pydicom.dcmread(file)
            received[str(data_set.SOPInstanceUID)] = data_set
        for name in plain:
            original = read_sample(sample(name))
            copy = received[str(original.SOPInstanceUID)]
            assert copy.PatientName == original.PatientName
            if "PixelData" in original and not original.file_meta.TransferSyntaxUID.is_compressed:
                assert (copy.pixel_array == original.pixel_array).all()

    async def test_a_syntax_that_it_does_not_take(self, tmp_path: Path) -> None:
        with storescp(tmp_path, "+xi") as peer:
            sent = await node(peer).send(items("CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm"))
        assert [one.ok for one in sent] == [True, True, True]
        arrived = {str(each.SOPInstanceUID): each for each in map(pydicom.dcmread, peer.folder.iterdir())}
        for name in ("JPEG2000.dcm", "MR_small_RLE.dcm"):
            original = read_sample(sample(name))
            after = arrived[str(original.SOPInstanceUID)]
            assert after.file_meta.TransferSyntaxUID == IMPLICIT
            assert (after.pixel_array == original.pixel_array).all()

    async def test_one_that_refuses_everybody(self, tmp_path: Path) -> None:
        with storescp(tmp_path, "--refuse") as peer:
            sent = await node(peer).send(items("CT_small.dcm"))
        assert [(one.status, "rejected" in one.detail) for one in sent] == [(None, True)]

    @pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
    async def test_one_that_aborts(self, tmp_path: Path, option: str) -> None:
        with storescp(tmp_path, option) as peer:
            sent = await node(peer).send(items("CT_small.dcm", "MR_small.dcm"), associations=1)
        assert [one.status for one in sent] == [None, None]
        assert "abort" in sent[0].detail


@contextlib.contextmanager
def pynetdicom_server(handlers: list[Any], window: int = 1) -> Iterator[Peer]:
    pynetdicom = pytest.importorskip("pynetdicom")
    ae = pynetdicom.AE(ae_title="PYNET")
    for context in pynetdicom.AllStoragePresentationContexts[:100]:
        ae.add_supported_context(context.abstract_syntax, scu_role=True, scp_role=True)
    for uid in ("1.2.840.10008.1.1", get.STUDY_ROOT, move.STUDY_ROOT, "1.2.840.10008.5.1.4.1.2.2.1"):
        ae.add_supported_context(uid)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer("pynetdicom", "PYNET", server.server_address[1], 0, Path())
    finally:
        server.shutdown()


class TestPynetdicom:
    async def test_echo_send_and_find(self) -> None:
        evt = pytest.importorskip("pynetdicom").evt
        stored = []

        def handle_store(event: Any) -> int:
            stored.append(event.dataset.SOPInstanceUID)
            return 0x0000

        def handle_find(event: Any) -> Iterator[tuple[int, Any]]:
            answer = pydicom.Dataset()
            answer.SpecificCharacterSet = "ISO_IR 192"
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            answer.PatientName = "Иванов^Иван"
            yield 0xFF00, answer

        with pynetdicom_server([(evt.EVT_C_STORE, handle_store), (evt.EVT_C_FIND, handle_find)]) as peer:
            assert await node(peer).echo() == 0
            sent = await node(peer).send(items("CT_small.dcm", "MR_small.dcm"))
            (match,) = await everything(node(peer).query("study", study("1.2.3")))
        assert [one.status for one in sent] == [0, 0]
        assert len(stored) == 2
        assert match.attributes()[0x00100010].values == ["Иванов^Иван"]

    async def test_get(self, tmp_path: Path) -> None:
        evt = pytest.importorskip("pynetdicom").evt
        data_sets = [read_sample(sample(name)) for name in ("CT_small.dcm", "MR_small.dcm")]

        def handle_get(event: Any) -> Iterator[Any]:
            yield len(data_sets)
            for data_set in data_sets:
                yield 0xFF00, data_set

        with pynetdicom_server([(evt.EVT_C_GET, handle_get)]) as peer, contextlib.closing(FolderSink(tmp_path)) as sink:
            going = await everything(node(peer).fetch("study", study("1.2.3"), sink))
        assert (going[-1].completed, going[-1].is_success) == (2, True)
        assert len(list(tmp_path.iterdir())) == 2
