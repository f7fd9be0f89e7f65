"""The JavaScript dicomweb-client, which OHIF, Slim and others stand on, in Chromium against the gateway.

It runs in a page of the gateway's: the browser's own XMLHttpRequest and the gateway's headers decide what works.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import pictures
from tests.support.datasets import read_sample, sample
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop]

FILES = ("CT_small.dcm", "MR_small_RLE.dcm", "rtplan.dcm")
BYTES = """async (call) => {
  const client = new DICOMwebClient.api.DICOMwebClient({ url: location.origin + "/dicom-web" });
  const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const bytes = (hex) => Uint8Array.from(hex.match(/../g), (byte) => parseInt(byte, 16)).buffer;
  if (call.options.datasets) call.options.datasets = call.options.datasets.map(bytes);
  const found = await client[call.method](call.options);
  if (found instanceof ArrayBuffer) return hex(found);
  return Array.isArray(found) && found[0] instanceof ArrayBuffer ? found.map(hex) : found;
}"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    data: Path = tmp_path_factory.mktemp("gateway") / "data"
    pictures.imported(data, [sample(name) for name in FILES])
    with Gateway(data) as started:
        yield started


@pytest.fixture(scope="module")
def client(browser: Any, gateway: Gateway, dicomweb_client_js: str) -> Iterator[Any]:
    """Calls a method of the client's; bytes come back as hexadecimal digits."""
    page = browser.new_page()
    page.goto(f"{gateway.url}/ui/")  # Whatever is no page of ours has no origin.
    page.evaluate(f"() => {{ {dicomweb_client_js} }}")
    yield lambda method, **options: page.evaluate(BYTES, {"method": method, "options": options})
    page.close()


def uids(name: str) -> dict[str, str]:
    read = read_sample(sample(name))
    return {
        "studyInstanceUID": read.StudyInstanceUID,
        "seriesInstanceUID": read.SeriesInstanceUID,
        "sopInstanceUID": read.SOPInstanceUID,
    }


def test_search(client: Any) -> None:
    study, series, instance = uids("CT_small.dcm").values()
    (found,) = client("searchForStudies", queryParams={"PatientID": "1CT1"})
    assert found["0020000D"]["Value"] == [study]
    (found,) = client("searchForSeries", studyInstanceUID=study)
    assert found["0020000E"]["Value"] == [series]
    (found,) = client("searchForInstances", studyInstanceUID=study, seriesInstanceUID=series)
    assert found["00080018"]["Value"] == [instance]
    assert client("searchForStudies", queryParams={"PatientID": "nobody"}) == []


def test_metadata(client: Any) -> None:
    where = uids("rtplan.dcm")
    for method in ("retrieveStudyMetadata", "retrieveSeriesMetadata"):
        (found,) = client(method, **where)
        assert found["300A00B0"]["vr"] == "SQ"
    (found,) = client("retrieveInstanceMetadata", **where)
    assert found["00080018"]["Value"] == [where["sopInstanceUID"]]


def test_instances(client: Any) -> None:
    where = uids("CT_small.dcm")
    sent = read_sample(sample("CT_small.dcm")).PixelData.hex()
    assert sent in client("retrieveInstance", **where)
    for method in ("retrieveSeries", "retrieveStudy"):
        (found,) = client(method, **where)
        assert sent in found


def test_frames(client: Any) -> None:
    (found,) = client("retrieveInstanceFrames", **uids("CT_small.dcm"), frameNumbers=[1])
    assert found == read_sample(sample("CT_small.dcm")).PixelData.hex()
    rle = {"mediaType": "image/x-dicom-rle", "transferSyntaxUID": "1.2.840.10008.1.2.5"}
    (found,) = client("retrieveInstanceFrames", **uids("MR_small_RLE.dcm"), frameNumbers=[1], mediaTypes=[rle])
    assert found in read_sample(sample("MR_small_RLE.dcm")).PixelData.hex()


def test_store(client: Any) -> None:
    sent = pictures.ct(2)
    files = [pictures.file(each).hex() for each in sent]
    client("storeInstances", datasets=files)
    found = client("searchForInstances", queryParams={"StudyInstanceUID": sent[0].StudyInstanceUID})
    assert {each["00080018"]["Value"][0] for each in found} == {each.SOPInstanceUID for each in sent}
