"""The clients pyorthanc and orthanc-api-client of PyPI, unmodified, against the gateway as its own process.

What is not here is not among these calls: archives, media, bulk requests, pictures, ordered slices, scripts.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.datasets import sample
from tests.support.processes import Gateway

oac = pytest.importorskip("orthanc_api_client")
pyorthanc = pytest.importorskip("pyorthanc")
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FILES = ("CT_small.dcm", "MR_small.dcm")
KINDS = ("patients", "studies", "series", "instances")
PLAIN = (
    *("changes", "jobs", "modalities", "peers", "plugins", "statistics", "system", "tools", "queries"),
    *(*KINDS, "tools_accepted_sop_classes", "tools_accepted_transfer_syntaxes", "tools_default_encoding"),
    *("tools_dicom_conformance", "tools_labels", "tools_log_level", "tools_log_level_dicom", "tools_log_level_http"),
    *("tools_metrics", "tools_metrics_prometheus", "tools_now", "tools_now_local"),
    "tools_unknown_sop_class_accepted",
)
"""Calls of pyorthanc that need nothing, without `get_`."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    environment = {"GATEWAY_REST__LOG_LEVEL": "true", "GATEWAY_DICOMWEB__DELETE": "true"}
    with Gateway(tmp_path / "data", environment=environment) as made:
        yield made


@pytest.fixture
def client(gateway: Gateway) -> Iterator[oac.OrthancApiClient]:
    made = oac.OrthancApiClient(gateway.url)
    for name in FILES:
        made.upload_file(str(sample(name)))
    yield made
    made.close()


@pytest.fixture
def orthanc(gateway: Gateway, client: oac.OrthancApiClient) -> Iterator[pyorthanc.Orthanc]:
    with pyorthanc.Orthanc(gateway.url) as made:
        yield made


class TestOrthancApiClient:
    def test_the_server(self, client: oac.OrthancApiClient) -> None:
        assert client.is_alive()
        assert client.get_statistics().instances_count == 2
        assert client.has_loaded_plugin("dicom-web")
        # It compares each number by itself: to 0.25.3, 1.13.0 is older than 1.10.1, but not older than 1.13.
        assert client.is_orthanc_version_at_least(1, 13)
        assert client.capabilities.has_extended_find
        assert client.capabilities.has_extended_changes
        client.set_log_level(oac.LogLevel.VERBOSE)
        assert client.get_log_level() == oac.LogLevel.VERBOSE
        client.set_log_level(oac.LogLevel.DEFAULT)
        assert client.get_metrics()
        assert client.jobs is not None

    async def test_changes_one_after_the_other(self, client: oac.OrthancApiClient) -> None:
        found, last, done = client.get_changes(since=0, limit=3)
        assert ([each.sequence_id for each in found], last, done) == ([1, 2, 3], 3, False)
        rest, last, done = client.get_changes(since=last, limit=100)
        assert {each.change_type for each in (*found, *rest)} >= {
            getattr(oac.ChangeType, name) for name in ("NEW_PATIENT", "NEW_STUDY", "NEW_SERIES", "NEW_INSTANCE")
        }
        assert done
        assert rest[-1].sequence_id == last

    def test_resources(self, client: oac.OrthancApiClient) -> None:
        for kind in KINDS:
            every = getattr(client, kind)
            assert every.get_all_ids(), kind
            one = every.get_all_ids()[0]
            assert every.exists(one)
            assert every.get_json(one)["ID"] == one
            every.set_string_metadata(one, "1024", "more")
            assert every.get_string_metadata(one, "1024") == "more"
            assert every.has_metadata(one, "1024")
            every.add_labels(one, ["a", "b"])
            every.delete_label(one, "a")
            assert every.get_labels(one) == ["b"]
        assert client.get_all_labels() == ["b"]

    def test_finding(self, client: oac.OrthancApiClient) -> None:
        (study,) = client.studies.find({"PatientID": "1CT1"}, requested_tags=["ModalitiesInStudy"])
        assert study.info.main_dicom_tags.get("StudyInstanceUID")
        assert client.studies.lookup(study.dicom_id) == study.orthanc_id
        assert [each.info.main_dicom_tags.get("Modality") for each in study.series] == ["CT"]
        assert study.info.patient_main_dicom_tags.get("PatientID") == "1CT1"
        assert study.statistics.instances_count == 1
        (instance,) = client.studies.get_instances_ids(study.orthanc_id)
        assert client.instances.get_tags(instance)["PatientID"] == "1CT1"
        assert client.instances.get_file(instance)[128:132] == b"DICM"

    def test_changing_and_deleting(self, client: oac.OrthancApiClient) -> None:
        (study,) = client.studies.find({"PatientID": "1CT1"})
        instance = client.studies.get_first_instance_id(study.orthanc_id)
        assert client.instances.get_parent_study_id(instance) == study.orthanc_id
        assert client.instances.modify(instance, {"PatientName": "other"})[128:132] == b"DICM"
        client.studies.delete(study.orthanc_id)
        assert not client.studies.exists(study.orthanc_id)
        with pytest.raises(oac.ResourceNotFound):
            client.studies.get_json(study.orthanc_id)
        client.delete_all_content()
        assert client.get_statistics().instances_count == 0

    def test_pictures_and_documents_become_instances(self, client: oac.OrthancApiClient, tmp_path: Path) -> None:
        png, jpeg, pdf = (tmp_path / name for name in ("a.png", "a.jpg", "a.pdf"))
        picture = Image.new("RGB", (5, 7), (10, 20, 30))
        picture.save(png)
        picture.save(jpeg)
        pdf.write_bytes(b"%PDF-1.4 x")
        tags = {"PatientID": "P", "PatientName": "Toto", "PatientBirthDate": "20000101", "Modality": "OT"}
        first = client.create_instance_from_png(str(png), dict(tags))
        study = client.instances.get_parent_study_id(first)
        second = client.create_instance_from_jpeg(str(jpeg), {"SeriesDescription": "photo"}, parent_id=study)
        third = client.studies.attach_pdf(study, str(pdf), "report", datetime.datetime(2026, 1, 2, 3, 4, 5))
        assert set(client.studies.get_instances_ids(study)) == {first, second, third}
        assert client.instances.get_tags(second)["PatientName"] == "Toto"
        assert client.instances.get_tags(third)["SeriesDate"] == "20260102"
        assert client.studies.get_pdf_instances(study) == [third]

    def test_a_study_goes_into_another(self, client: oac.OrthancApiClient) -> None:
        (target,), (source,) = (client.studies.find({"PatientID": each}) for each in ("1CT1", "4MR1"))
        client.studies.merge(target.orthanc_id, [each.orthanc_id for each in source.series], keep_source=False)
        assert not client.studies.exists(source.orthanc_id)
        (study,) = client.studies.find({})
        assert {each.info.main_dicom_tags.get("Modality") for each in study.series} == {"CT", "MR"}


class TestPyorthanc:
    def test_calls_that_need_nothing(self, orthanc: pyorthanc.Orthanc) -> None:
        for name in PLAIN:
            assert getattr(orthanc, f"get_{name}")() is not None, name

    def test_resources_as_objects(self, orthanc: pyorthanc.Orthanc) -> None:
        (patient,) = pyorthanc.find_patients(orthanc, {"PatientID": "1CT1"})
        (study,) = patient.studies
        (series,) = study.series
        (instance,) = series.instances
        assert (patient.patient_id, series.modality, study.parent_patient.id_) == ("1CT1", "CT", patient.id_)
        assert instance.parent_series.id_ == series.id_
        assert instance.get_pydicom().PatientID == "1CT1"
        assert instance.get_content_by_tag("PatientID") == "1CT1"
        for each in (patient, study, series, instance):
            each.add_label("seen")
            assert each.labels == ["seen"]
            each.remove_label("seen")
            assert each.get_main_information()["ID"] == each.id_
        assert patient.is_stable is False
        patient.protected = True
        assert patient.protected

    def test_reading_again(self, orthanc: pyorthanc.Orthanc) -> None:
        for kind in KINDS:
            getattr(orthanc, f"post_{kind}_id_reconstruct")(getattr(orthanc, f"get_{kind}")()[0])
        orthanc.post_tools_reconstruct()

    def test_splitting_and_merging(self, orthanc: pyorthanc.Orthanc) -> None:
        (study,) = pyorthanc.find_studies(orthanc, {"PatientID": "1CT1"})
        made = orthanc.post_studies_id_split(study.id_, {"Series": [study.series[0].id_], "KeepSource": True})
        new = pyorthanc.Study(made["TargetStudy"], orthanc)
        assert new.uid == made["TargetStudyUID"] != study.uid
        again = orthanc.post_studies_id_merge(study.id_, {"Resources": [new.id_]})
        assert again["TargetStudy"] == study.id_
        assert len(study.series) == 2
        assert pyorthanc.find_studies(orthanc, {"PatientID": "1CT1"})[0].id_ == study.id_
        instance = orthanc.post_tools_create_dicom({"Tags": {"ImageComments": "x"}, "Parent": study.series[0].id_})
        assert instance["ParentStudy"] == study.id_
