"""C-FIND as DCMTK and pynetdicom ask it, against the gateway as its own process: every script, every level."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pydicom.valuerep import PersonName

from tests.support import peers
from tests.support.datasets import CT, EXPLICIT, instance, read_sample
from tests.support.processes import Gateway

pytestmark = pytest.mark.interop

FLAGS = ("relational", "combined", "fuzzy")
GB2312 = ["", "ISO 2022 IR 58"]
STUDY_ROOT = UID("1.2.840.10008.5.1.4.1.2.2.1")
FILES = {
    "chrArab.dcm": ("قب*", "ISO_IR 127"),
    "chrFren.dcm": ("buc^jérô*", "ISO_IR 100"),
    "chrGerm.dcm": ("ÄNEAS^r?diger", "ISO_IR 100"),
    "chrGreek.dcm": ("Διον*", "ISO_IR 126"),
    "chrHbrw.dcm": ("שרון^*", "ISO_IR 138"),
    "chrRuss.dcm": ("люк*", "ISO_IR 144"),
    "chrH31.dcm": ("*=山田^太*", "\\ISO 2022 IR 87"),
    "chrH32.dcm": ("ﾔﾏﾀﾞ*", "ISO 2022 IR 13\\ISO 2022 IR 87"),
    "chrI2.dcm": ("*=洪*=홍*", "\\ISO 2022 IR 149"),
    "chrKoreanMulti.dcm": ("김*", "\\ISO 2022 IR 149"),
    "chrJapMulti.dcm": ("やまだ^た*", "\\ISO 2022 IR 87"),
    "chrX1.dcm": ("王^小東", "ISO_IR 192"),
    "chrX2.dcm": ("*=王^小东", "GB18030"),
    "gb2312": ("Zhang*=张^小*", "\\ISO 2022 IR 58"),
}
"""pydicom's character set files and one of our own, to a key that finds it and the character set of the query."""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """The data sets by file name, each a study of its own."""
    folder = Path(pydicom.__file__).parent / "data" / "charset_files"
    found = {name: read_sample(folder / name) for name in FILES if name.endswith(".dcm")}
    # PS3.5 §K.2: the set is designated again in every component.
    written = PersonName(b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", convert_encodings(GB2312))
    found["gb2312"] = ours = instance(SpecificCharacterSet=GB2312, PatientName=written, PatientID="GB2312")
    ours.file_meta = FileMetaDataset()
    ours.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    return found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Dataset]) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("find")
    sources = folder / "files"
    sources.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, source in names.items():
            source.save_as(sources / name, enforce_file_format=True)
    with Gateway(folder / "data") as gateway:
        run(
            peers.need("dcmsend"),
            "--scan-directories",
            "--no-uid-checks",
            gateway.host,
            str(gateway.port),
            str(sources),
        )
        yield gateway


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def shown(source: Dataset) -> str:
    """The name, as it is meant: pydicom does not understand the escape sequences of GB 2312."""
    name = str(source.PatientName)
    return "Zhang^XiaoDong=张^小东" if name.startswith("Zhang^XiaoDong=\x1b") else name


def findscu(gateway: Gateway, folder: Path, *arguments: str, query: Path | None = None) -> list[Dataset]:
    """What findscu writes down of the answers."""
    folder.mkdir(exist_ok=True)
    files = [str(query)] if query else []
    run(peers.need("findscu"), "-X", "-od", str(folder), *arguments, gateway.host, str(gateway.port), *files)
    return [read_sample(path) for path in sorted(folder.glob("rsp*.dcm"))]


def a_query(name: str, charset: str) -> Dataset:
    query = Dataset()
    query.SpecificCharacterSet = charset.split("\\")
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = ""
    query.PatientName = name
    query.PatientID = ""
    return query


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("own", [True, False], ids=["its-own-set", "utf-8"])
def test_names_by_wild_card(gateway: Gateway, names: dict[str, Dataset], tmp_path: Path, name: str, own: bool) -> None:
    key, charset = FILES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        query = a_query(key, charset if own else "ISO_IR 192")
        query.file_meta = FileMetaDataset()
        query.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        query.file_meta.MediaStorageSOPClassUID = STUDY_ROOT
        query.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
        pydicom.dcmwrite(tmp_path / "query.dcm", query, enforce_file_format=True)
        found = findscu(gateway, tmp_path / "answers", "-S", query=tmp_path / "query.dcm")
        assert shown(names[name]) in map(shown, found)
        assert set(map(shown, found)) <= set(map(shown, names.values()))


def test_a_query_that_names_no_character_set(gateway: Gateway, names: dict[str, Dataset], tmp_path: Path) -> None:
    found = findscu(gateway, tmp_path / "all", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName")
    assert set(map(shown, found)) == set(map(shown, names.values()))
    found = findscu(gateway, tmp_path / "one", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=Διον*")
    assert list(map(shown, found)) == ["Διονυσιος"]


@pytest.mark.parametrize("syntax", ["-xe", "-xb", "-xi"])
def test_findscu_at_every_level(gateway: Gateway, tmp_path: Path, syntax: str) -> None:
    def ask(level: str, *keys: str) -> Dataset:
        arguments = [part for key in (f"QueryRetrieveLevel={level}", *keys) for part in ("-k", key)]
        (found,) = findscu(gateway, tmp_path / level, "-P", syntax, *arguments)
        return found

    patient = ask("PATIENT", "PatientID=GB*", "NumberOfPatientRelatedStudies")
    assert patient.NumberOfPatientRelatedStudies == 1
    study = ask("STUDY", f"PatientID={patient.PatientID}", "StudyInstanceUID", "ModalitiesInStudy")
    assert study.ModalitiesInStudy == "CT"
    above = [f"PatientID={patient.PatientID}", f"StudyInstanceUID={study.StudyInstanceUID}"]
    series = ask("SERIES", *above, "SeriesInstanceUID", "Modality")
    above.append(f"SeriesInstanceUID={series.SeriesInstanceUID}")
    image = ask("IMAGE", *above, "SOPInstanceUID", "SOPClassUID", "BitsStored")
    assert (image.SOPClassUID, image.BitsStored) == (CT, 12)


class TestPynetdicom:
    @staticmethod
    def ask(gateway: Gateway, query: Dataset, flags: dict[str, bool] | None = None) -> list[tuple[int, Any]]:
        from pynetdicom import AE
        from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

        entity = AE("PYNETDICOM")
        entity.add_requested_context(STUDY_ROOT)
        extended = SOPClassExtendedNegotiation()
        extended.sop_class_uid = STUDY_ROOT
        extended.service_class_application_information = bytes((flags or {}).get(name, False) for name in FLAGS)
        association = entity.associate(
            gateway.host, gateway.port, ae_title=gateway.aet, ext_neg=[extended] if flags else []
        )
        assert association.is_established
        try:
            return [(answer.Status, identifier) for answer, identifier in association.send_c_find(query, STUDY_ROOT)]
        finally:
            association.release()
            entity.shutdown()

    def test_find(self, gateway: Gateway) -> None:
        answers = self.ask(gateway, a_query("zhang*", "ISO_IR 192"))
        assert [code for code, _ in answers] == [0xFF00, 0x0000]
        assert str(answers[0][1].PatientName) == "Zhang^XiaoDong=张^小东"

    def test_relational_and_fuzzy(self, gateway: Gateway) -> None:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.PatientName = "Schang Xiaodong"
        query.SOPInstanceUID = ""
        assert [code for code, _ in self.ask(gateway, query)] == [0x0000]  # nobody has just that name
        query.PatientName = "Xiaodang Wang"
        answers = self.ask(gateway, query, {"relational": True, "fuzzy": True})
        assert [code for code, _ in answers] == [0xFF00, 0xFF00, 0x0000]
