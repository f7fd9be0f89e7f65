"""The Python dicomweb-client against the gateway as its own process, fed by DCMTK's storescu."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from PIL import Image

from tests.support import peers
from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway

api = pytest.importorskip("dicomweb_client.api")
pytestmark = pytest.mark.interop

FILES = {
    "CT_small.dcm": [],
    "MR_small_bigendian.dcm": ["-xb"],
    "rtplan.dcm": ["-xi"],
    "MR_small_RLE.dcm": ["-xr"],
    "SC_rgb_rle_2frame.dcm": ["-xr"],
}
RLE = "1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    storescu = peers.need("storescu")
    data: Path = tmp_path_factory.mktemp("gateway") / "data"
    with Gateway(data) as gateway:
        for name, options in FILES.items():
            address = [gateway.host, str(gateway.port)]
            command = [storescu, *options, "-aec", gateway.aet, *address, str(sample(name))]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Any]:
    with requests.Session() as session:
        yield api.DICOMwebClient(f"{gateway.url}/dicom-web", session=session)


def uids(name: str) -> tuple[str, str, str]:
    read = read_sample(sample(name))
    return read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID


def test_search_at_every_level(client: Any) -> None:
    study, series, instance = uids("CT_small.dcm")
    assert study in {each["0020000D"]["Value"][0] for each in client.search_for_studies()}
    (found,) = client.search_for_studies(search_filters={"PatientID": "1CT1"}, fields=["StudyDescription"])
    assert found["0020000D"]["Value"] == [study]
    (found,) = client.search_for_series(study)
    assert found["0020000E"]["Value"] == [series]
    (found,) = client.search_for_instances(study, series)
    assert found["00080018"]["Value"] == [instance]
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    assert len(client.search_for_studies(limit=1, offset=1)) == 1


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm"])
def test_retrieve_gives_the_data_set_that_was_sent(client: Any, name: str) -> None:
    study, series, instance = uids(name)
    (whole,) = client.retrieve_study(study)
    assert whole.SOPInstanceUID == instance
    (whole,) = client.retrieve_series(study, series)
    one = client.retrieve_instance(study, series, instance)
    sent = pydicom.dcmread(sample(name))
    if "PixelData" in sent:
        assert (one.pixel_array == sent.pixel_array).all()
    assert {each.tag for each in one} >= {each.tag for each in sent if each.tag.group != 0xFFFC}  # DCMTK drops padding


def test_converted_where_a_transfer_syntax_is_asked_for(client: Any) -> None:
    study, series, instance = uids("rtplan.dcm")
    explicit = "1.2.840.10008.1.2.1"
    one = client.retrieve_instance(study, series, instance, media_types=(("application/dicom", explicit),))
    assert one.file_meta.TransferSyntaxUID == explicit
    assert one.FractionGroupSequence == read_sample(sample("rtplan.dcm")).FractionGroupSequence


def test_metadata_is_the_data_set(client: Any) -> None:
    study, series, instance = uids("rtplan.dcm")
    for found in (
        client.retrieve_study_metadata(study),
        client.retrieve_series_metadata(study, series),
        [client.retrieve_instance_metadata(study, series, instance)],
    ):
        ((one,),) = [found]
        read = pydicom.Dataset.from_json(one)
        assert read.BeamSequence[0].BeamName == read_sample(sample("rtplan.dcm")).BeamSequence[0].BeamName


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_rendered(client: Any, kind: str) -> None:
    names = uids("CT_small.dcm")
    accepted = (f"image/{kind.lower()}",)
    one = client.retrieve_instance_rendered(*names, media_types=accepted, params={"window": "1000,500,linear"})
    frame = client.retrieve_instance_frames_rendered(*names, frame_numbers=[1], media_types=accepted)
    series = client.retrieve_series_rendered(*names[:2], media_types=accepted)
    for body in (one, frame, series):
        with Image.open(io.BytesIO(body)) as picture:
            assert (picture.format, picture.size) == (kind, (128, 128))
    assert one != frame == series


def test_thumbnails(gateway: Gateway) -> None:
    for name, shown in (("CT_small.dcm", True), ("rtplan.dcm", False)):
        study, series, instance = uids(name)
        for path in (study, f"{study}/series/{series}", f"{study}/series/{series}/instances/{instance}"):
            answer = requests.get(f"{gateway.url}/dicom-web/studies/{path}/thumbnail", timeout=10)
            assert answer.headers["Content-Type"] == "image/jpeg"
            with Image.open(io.BytesIO(answer.content)) as picture:
                assert picture.size == ((128, 128) if shown else (256, 256))


def test_frames(client: Any) -> None:
    """As stored, decoded, and several at once."""
    read = read_sample(sample("SC_rgb_rle_2frame.dcm"))
    where = uids("SC_rgb_rle_2frame.dcm")
    decoded = client.retrieve_instance_frames(*where, [2, 1], media_types=("application/octet-stream",))
    assert decoded == [read.pixel_array[1].tobytes(), read.pixel_array[0].tobytes()]
    assert client.retrieve_instance_frames(*where, [1]) == [read.pixel_array[0].tobytes()]
    stored = client.retrieve_instance_frames(*where, [1, 2], media_types=(("image/dicom-rle", RLE),))
    assert stored == list(pydicom.encaps.generate_frames(read.PixelData, number_of_frames=2))
    for frame in client.iter_instance_frames(*where, [1], media_types=(("image/jls", "1.2.840.10008.1.2.4.80"),)):
        assert frame.startswith(b"\xff\xd8")


def test_bulk_data_that_metadata_points_at(client: Any) -> None:
    where = uids("CT_small.dcm")
    metadata = client.retrieve_instance_metadata(*where)
    # The client sends Host without its port, and gets URIs without one back.
    uri = metadata["7FE00010"]["BulkDataURI"].replace(f"//{client.host}/", f"//{client.host}:{client.port}/")
    (pixels,) = client.retrieve_bulkdata(uri)
    read = read_sample(sample("CT_small.dcm"))
    assert pixels == read.PixelData
    (again,) = client.retrieve_bulkdata(uri, media_types=("application/octet-stream",))
    assert again == pixels
    (same,) = client.retrieve_instance_frames(*where, [1])
    assert same == pixels


def test_compressed_is_decoded_unless_asked_for(client: Any) -> None:
    where = uids("SC_rgb_rle_2frame.dcm")
    (explicit,) = client.retrieve_study(where[0])
    assert explicit.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    stored = client.retrieve_instance(*where)  # asks for transfer-syntax=*
    assert stored.file_meta.TransferSyntaxUID == RLE
    assert (explicit.pixel_array == stored.pixel_array).all()


def test_store_and_delete(tmp_path: Path) -> None:
    environment = {"GATEWAY_DICOMWEB__DELETE": "true"}
    with Gateway(tmp_path / "data", environment=environment) as gateway, requests.Session() as session:
        client = api.DICOMwebClient(f"{gateway.url}/dicom-web", session=session)
        study, series, instance = uids("CT_small.dcm")
        sent = [pydicom.dcmread(sample(name)) for name in ("CT_small.dcm", "MR_small.dcm")]
        answer = client.store_instances(sent)
        assert [each.ReferencedSOPInstanceUID for each in answer.ReferencedSOPSequence] == [
            each.SOPInstanceUID for each in sent
        ]
        answer = client.store_instances(sent, study_instance_uid=study)
        (failed,) = answer.FailedSOPSequence
        assert failed.FailureReason == 0xC409
        one = client.retrieve_instance(study, series, instance)
        assert (one.pixel_array == sent[0].pixel_array).all()
        client.delete_instance(study, series, instance)
        client.delete_study(uids("MR_small.dcm")[0])
        assert client.search_for_studies() == []
