"""One study, series and instance UID under two Patient IDs: an anonymised copy beside its original.

Whoever has a URL, or UIDs and the root that was named for them, gets that patient's object and never the other's.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from gateway.config import Dicomweb, Http
from gateway.index.identity import public_id
from tests.support.datasets import instance
from tests.support.web import House, archive, parts
from tests.web.test_stow import files, items, multipart, post, value
from tests.web.viewer.test_viewer import config, put

ORIGINAL, COPY = public_id("ORIG1"), public_id("ANON1")
STUDY = "/studies/1.1"
SERIES = f"{STUDY}/series/1.1.1"
ONE = f"{SERIES}/instances/1.1.1.1"
RETRIEVED = [
    *(STUDY, SERIES, ONE),
    *(f"{path}/metadata" for path in (STUDY, SERIES, ONE)),
    *(f"{path}/bulkdata" for path in (STUDY, SERIES, ONE)),
    *(f"{path}/pixeldata" for path in (STUDY, SERIES, ONE)),
    *(f"{path}/rendered" for path in (STUDY, SERIES, ONE)),
    *(f"{path}/thumbnail" for path in (STUDY, SERIES, ONE)),
    *(f"{ONE}/frames/1{more}" for more in ("", "/rendered", "/thumbnail")),
    *(f"{ONE}/bulkdata/{more}" for more in ("7FE00010", "00100020", "7FE00010/frames/1")),
    "/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1",
    "/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1&contentType=application/dicom",
]


def image(patient: str, fill: int, *, number: int = 1, study: str = "1.1", series: str = "1.1.1") -> Dataset:
    made = instance(rows=16, columns=16, PatientID=patient, PatientName=f"Of^{patient}")
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = study, series, f"{series}.{number}"
    made.PixelData = bytes([fill if at % (64 * fill) < 32 else 0 for at in range(len(made.PixelData))])
    return made


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(60), archive(tmp_path / "data") as made:
        made.dicomweb = Dicomweb(delete=True)
        await post(made, multipart(files(image("ORIG1", 1), image("ORIG1", 1, number=2), image("ANON1", 2))))
        yield made


def path_of(url: str) -> str:
    return "/dicom-web" + url.partition("/dicom-web")[2]


def root(patient: str) -> str:
    return f"/dicom-web/patients/{patient}"


async def patient_of(gateway: House, url: str) -> list[str]:
    """The Patient IDs in the metadata of an answer."""
    return [value(each, "00100020") for each in await gateway.json(url)]


@pytest.mark.case("file 05 a URL out of an answer is the object of the patient that it was asked for")
@pytest.mark.parametrize("level", ["studies", "series", "instances"])
async def test_urls_of_searches(gateway: House, level: str):
    for patient, count in (("ORIG1", 2), ("ANON1", 1)):
        found = await gateway.json(f"/dicom-web/{level}?PatientID={patient}")
        assert len(found) == (count if level == "instances" else 1)
        for match in found:
            url = value(match, "00081190")
            assert f"/dicom-web/patients/{public_id(patient)}/studies/1.1" in url
            assert set(await patient_of(gateway, f"{path_of(url)}/metadata")) == {patient}
    assert await patient_of(gateway, f"{root(COPY)}{STUDY}/metadata") == ["ANON1"]


async def test_urls_of_what_is_found_below(gateway: House):
    """Bulk data, frames: what metadata and parts point at."""
    for patient, fill, name in ((ORIGINAL, 1, "ORIG1"), (COPY, 2, "ANON1")):
        (found,) = await gateway.json(f"{root(patient)}{ONE}/metadata")
        assert value(found, "00100020") == name
        url = found["7FE00010"]["BulkDataURI"]
        assert f"/patients/{patient}/" in url
        answer = await gateway.get(path_of(url), accept="application/octet-stream")
        assert (answer.status, set(await answer.read())) == (200, {0, fill})
        answer = await gateway.get(f"{root(patient)}{ONE}/frames/1", accept="application/octet-stream")
        assert (set(await answer.read()), f"/patients/{patient}/" in answer.headers["Content-Location"]) == (
            {0, fill},
            True,
        )


@pytest.mark.parametrize("path", RETRIEVED)
async def test_every_resource(gateway: House, path: str):
    """In a patient's root it is the patient's; under UIDs alone it is 409, which names both places and no patient."""
    bodies = []
    for patient in (ORIGINAL, COPY):
        answer = await gateway.get(root(patient) + path)
        assert answer.status == 200, await answer.text()
        bodies.append(await answer.read())
    assert bodies[0] != bodies[1]
    plain = path if path.startswith("/wado") else f"/dicom-web{path}"
    answer = await gateway.get(plain)
    error = await answer.json()
    assert answer.status == 409
    assert len(error["Resources"]) == 2
    assert all(f"/patients/{patient}{STUDY}" in str(error["Resources"]) for patient in (ORIGINAL, COPY))
    assert "ORIG1" not in str(error)
    for url in error["Resources"]:
        assert (await gateway.get(path_of(url))).status == 200
    assert (await gateway.get(root(public_id("NOBODY")) + path)).status == 404


async def test_files_and_zip(gateway: House):
    for patient, names in ((ORIGINAL, ["ORIG1", "ORIG1"]), (COPY, ["ANON1"])):
        answer = await gateway.get(root(patient) + STUDY)
        found = [pydicom.dcmread(io.BytesIO(data)).PatientID for _, data in parts(answer, await answer.read())]
        assert found == names
        answer = await gateway.get(root(patient) + STUDY, accept="application/zip")
        with zipfile.ZipFile(io.BytesIO(await answer.read())) as zipped:
            assert [pydicom.dcmread(io.BytesIO(zipped.read(name))).PatientID for name in zipped.namelist()] == names


async def test_searches_in_a_root(gateway: House):
    for patient, name in ((ORIGINAL, "ORIG1"), (COPY, "ANON1")):
        for path in (
            "/studies",
            "/series",
            "/instances",
            f"{STUDY}/series",
            f"{STUDY}/instances",
            f"{SERIES}/instances",
        ):
            found = await gateway.json(f"{root(patient)}{path}?includefield=PatientID")
            assert {value(match, "00100020") for match in found} == {name}, path
    assert await gateway.json(f"{root(public_id('NOBODY'))}/studies") == []
    assert (await gateway.get("/dicom-web/patients/ORIG1/studies")).status == 404


async def test_a_search_below_the_study_would_mix_two_patients(gateway: House):
    for path in (f"{STUDY}/series", f"{STUDY}/instances", f"{SERIES}/instances"):
        answer = await gateway.get(f"/dicom-web{path}")
        assert (answer.status, len((await answer.json())["Resources"])) == (409, 2)
        assert len(await gateway.json(f"/dicom-web{path}?PatientID=ANON1")) == 1
    assert len(await gateway.json("/dicom-web/studies?StudyInstanceUID=1.1")) == 2


async def test_what_fits_one_patient_alone(gateway: House):
    """The second instance is the original's alone: its UIDs say whose it is."""
    path = f"{SERIES}/instances/1.1.1.2"
    assert await patient_of(gateway, f"/dicom-web{path}/metadata") == ["ORIG1"]
    (found,) = await gateway.json(f"/dicom-web{path}/metadata")
    assert f"/patients/{ORIGINAL}/" in found["7FE00010"]["BulkDataURI"]
    assert (await gateway.get(f"{root(COPY)}{path}/metadata")).status == 404


async def test_delete(gateway: House):
    for path in (STUDY, SERIES, ONE):
        answer = await gateway.client.delete(f"/dicom-web{path}")
        assert (answer.status, len((await answer.json())["Resources"])) == (409, 2)
    assert (await gateway.client.delete(f"{root(COPY)}{ONE}")).status == 204
    assert await patient_of(gateway, f"/dicom-web{STUDY}/metadata") == ["ORIG1", "ORIG1"]


@pytest.mark.parametrize("gone", ["study", "patient"])
async def test_plain_urls_where_nothing_clashes(gateway: House, gone: str):
    """Before the copy comes, and once it is gone: kept metadata has no URL of then."""
    study = "/dicom-web/studies/2.1"
    await post(gateway, multipart(files(*[image("ORIG1", 1, number=n, study="2.1", series="2.1.1") for n in range(9)])))

    async def urls() -> set[str]:
        found = [value(match, "00081190") for match in await gateway.json("/dicom-web/studies?StudyInstanceUID=2.1")]
        shown = await gateway.json(f"{root(ORIGINAL)}/studies/2.1/metadata")
        answer = await gateway.get(f"{study}/metadata")
        if answer.status == 200:
            found += [each["7FE00010"]["BulkDataURI"] for each in await answer.json()]
        assert all(f"/patients/{ORIGINAL}/" in each["7FE00010"]["BulkDataURI"] for each in shown)
        return {url.partition("/dicom-web")[2].partition("/studies")[0] for url in found}

    assert await urls() == {""}
    answer = await post(gateway, multipart(files(image("ANON1", 2, study="2.1", series="2.1.1"))))
    model = await answer.json()
    assert f"/patients/{COPY}/studies/2.1" in value(model, "00081190")
    assert f"/patients/{COPY}/" in value(items(model, "00081199")[0], "00081190")
    assert await urls() == {f"/patients/{ORIGINAL}", f"/patients/{COPY}"}
    path = f"/studies/{public_id('ANON1', '2.1')}" if gone == "study" else f"/patients/{COPY}"
    assert (await gateway.client.delete(path)).status == 200
    assert await urls() == {""}


async def test_stored_in_one_request(gateway: House):
    """The first is answered when the second has come: with a URL that leads to it."""
    answer = await post(gateway, multipart(files(image("A", 1, study="3.1"), image("B", 2, study="3.1"))))
    model = await answer.json()
    assert "Value" not in model["00081190"]
    urls = [value(item, "00081190") for item in items(model, "00081199")]
    assert {tuple(await patient_of(gateway, f"{path_of(url)}/metadata")) for url in urls} == {("A",), ("B",)}


async def test_storing_in_a_root(gateway: House):
    """Of that patient alone, as a study's resource takes what is of that study alone."""
    answer = await post(gateway, multipart(files(image("ANON1", 2, number=3))), path=f"{root(COPY)}/studies")
    assert answer.status == 200
    assert f"/patients/{COPY}/" in value(items(await answer.json(), "00081199")[0], "00081190")
    answer = await post(gateway, multipart(files(image("ORIG1", 1, number=4))), path=f"{root(COPY)}/studies")
    assert answer.status == 409
    assert (await gateway.get(f"{root(ORIGINAL)}{SERIES}/instances/1.1.1.4")).status == 404


class TestPages:
    async def test_the_list_tells(self, gateway: House, tmp_path: Path):
        put(tmp_path / "viewer")
        gateway.http = Http(ohif=str(tmp_path / "viewer"))
        await post(gateway, multipart(files(image("OTHER", 1, study="2.1"))))
        text = await (await gateway.get("/ui/")).text()
        assert text.count("Same UID as another patient") == 2
        links = set(re.findall(r'href="([^"]*viewer\?[^"]*)"', text))
        query = "viewer?StudyInstanceUIDs="
        assert links == {
            f"/ohif/patients/{ORIGINAL}/{query}1.1",
            f"/ohif/patients/{COPY}/{query}1.1",
            f"/ohif/{query}2.1",
        }
        for link in links:
            assert (await gateway.get(link)).status == 200

    async def test_a_viewer_for_one_patient(self, gateway: House, tmp_path: Path):
        """It builds its URLs itself, from UIDs: they begin with the root of the patient."""
        put(tmp_path / "viewer")
        gateway.http = Http(ohif=str(tmp_path / "viewer"))
        page = await (await gateway.get(f"/ohif/patients/{COPY}/viewer?StudyInstanceUIDs=1.1")).text()
        script = f"/ohif/patients/{COPY}/app-config.js"
        assert f'src="{script}"' in page
        made: dict[str, Any] = config(await (await gateway.get(script)).text())
        source = made["dataSources"][0]["configuration"]
        assert made["routerBasename"] == f"/ohif/patients/{COPY}"
        assert {source["qidoRoot"], source["wadoRoot"]} == {root(COPY)}
        assert source["wadoUriRoot"] == f"{root(COPY)}/wado"
        assert await patient_of(gateway, f"{source['wadoRoot']}{STUDY}/metadata") == ["ANON1"]
