"""C-FIND over a real socket, client and gateway in one process: levels, keys, statuses, cancel, scripts."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydicom.dataset import Dataset

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dimse import messages, status
from gateway.errors import AssociationLost
from gateway.net.requestor import Requestor, associate
from gateway.scp.query import PATIENT_ROOT_FIND, PATIENT_STUDY_ONLY_FIND, STUDY_ROOT_FIND
from gateway.ul.items import ExtendedNegotiation
from tests.support.datasets import BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT, decode, encode, instance
from tests.support.index import data_set, fill
from tests.support.intake import Intake, intake
from tests.support.waiting import until

MODELS = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND)


@asynccontextmanager
async def asking(gateway: Intake, syntax: str = EXPLICIT) -> AsyncIterator[Requestor]:
    contexts = [*[(model, [syntax]) for model in MODELS], (CT, [EXPLICIT])]
    async with associate(gateway.call(*contexts)) as association:
        yield association


class Answer:
    """All responses to one C-FIND: data sets of the pending ones, their statuses, and the final one."""

    def __init__(self) -> None:
        self.found: list[Dataset] = []
        self.pending: set[int] = set()
        self.final = messages.Command(0)

    @property
    def status(self) -> int:
        return self.final.status or 0

    def values(self, keyword: str) -> list[str]:
        return sorted(str(each[keyword].value) if keyword in each else "absent" for each in self.found)


def _identifier(keys: Mapping[Any, Any], level: str | None) -> Dataset:
    source = Dataset()
    for keyword, value in keys.items():
        setattr(source, keyword, value)
    if not source.get("SpecificCharacterSet"):
        source.SpecificCharacterSet = "ISO_IR 192"
    if level is not None:
        source.QueryRetrieveLevel = level
    return source


async def find(
    association: Requestor,
    keys: DataSet | Mapping[str, Any],
    level: str | None = "STUDY",
    model: str = STUDY_ROOT_FIND,
    raw: bytes | None = None,
) -> Answer:
    """`keys` by keyword, or as attributes."""
    context = association.context_for(model)
    if raw is None:
        if any(isinstance(key, str) for key in keys):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's about wild cards
                raw = encode(_identifier(keys, level), context.transfer_syntax)
        else:
            wanted = {**keys, 0x00080052: Attribute("CS", [level])}
            raw = encode_data_set(wanted, context.transfer_syntax)  # type: ignore[arg-type]
    answer = Answer()
    command = messages.c_find_request(association.next_message_id(), model)
    async with aclosing(association.requests(context, command, [raw])) as responses:
        async for response in responses:
            if response.is_pending:
                assert response.data_set is not None
                answer.found.append(decode(response.data_set, context.transfer_syntax))
                answer.pending.add(response.status)
            else:
                answer.final = response.command
    return answer


async def store(gateway: Intake, *sources: Dataset) -> None:
    """Instances with files, by C-STORE."""
    async with asking(gateway) as association:
        for source in sources:
            response = await association.store(
                association.context_for(CT), source.SOPInstanceUID, [encode(source, EXPLICIT)]
            )
            assert response.status == status.SUCCESS


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Intake]:
    async with asyncio.timeout(30), intake(tmp_path, query={"max_instances_read": 20}) as gateway:
        yield gateway


@pytest.fixture
async def hospital(gateway: Intake) -> Intake:
    """Patients P1 and P2; P1 has studies 1.1 (CT with two series, MR with one) and 1.2, P2 has 2.1."""
    rows = [
        ("P1", "Doe^John", "1.1", "1.1.1", "CT", "20260101"),
        ("P1", "Doe^John", "1.1", "1.1.1", "CT", "20260101"),
        ("P1", "Doe^John", "1.1", "1.1.2", "CT", "20260101"),
        ("P1", "Doe^John", "1.1", "1.1.3", "MR", "20260101"),
        ("P1", "Doe^John", "1.2", "1.2.1", "US", "20260102"),
        ("P2", "Roe^Jane", "2.1", "2.1.1", "CT", "20260103"),
    ]
    await fill(
        gateway.folder.database,
        [
            data_set(study, series, PatientID=patient, PatientName=name, Modality=modality, StudyDate=day)
            for patient, name, study, series, modality, day in rows
        ],
    )
    return gateway


class TestLevels:
    async def test_patient(self, hospital: Intake) -> None:
        async with asking(hospital) as association:
            keys = {"PatientID": "", "PatientName": "doe*", "NumberOfPatientRelatedStudies": ""}
            keys |= {"NumberOfPatientRelatedSeries": "", "NumberOfPatientRelatedInstances": ""}
            answer = await find(association, keys, "PATIENT", PATIENT_ROOT_FIND)
        (found,) = answer.found
        assert (found.PatientID, found.PatientName, found.QueryRetrieveLevel) == ("P1", "Doe^John", "PATIENT")
        assert found.NumberOfPatientRelatedStudies == 2
        assert found.NumberOfPatientRelatedSeries == 4
        assert found.NumberOfPatientRelatedInstances == 5
        assert (found.RetrieveAETitle, found.InstanceAvailability) == ("GATEWAY", "ONLINE")
        assert (answer.pending, answer.status) == ({status.PENDING}, status.SUCCESS)

    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
    async def test_study(self, hospital: Intake, syntax: str) -> None:
        async with asking(hospital, syntax) as association:
            keys = {
                "StudyInstanceUID": "",
                "StudyDate": "20260101-20260102",
                "ModalitiesInStudy": "MR",
                "StudyTime": "",
                "NumberOfStudyRelatedSeries": "",
                "NumberOfStudyRelatedInstances": "",
                "SOPClassesInStudy": "",
                "PatientID": "",
            }
            answer = await find(association, keys)
        (found,) = answer.found
        assert (found.StudyInstanceUID, found.PatientID, found.StudyDate) == ("1.1", "P1", "20260101")
        assert sorted(found.ModalitiesInStudy) == ["CT", "MR"]
        assert (found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances) == (3, 4)
        assert found.SOPClassesInStudy == CT
        assert found.StudyTime is None or found.StudyTime == ""
        assert answer.status == status.SUCCESS
        assert answer.pending == {status.PENDING}

    async def test_series_and_images(self, hospital: Intake) -> None:
        async with asking(hospital) as association:
            keys = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "", "Modality": "CT"}
            answer = await find(association, {**keys, "NumberOfSeriesRelatedInstances": ""}, "SERIES")
            assert answer.values("SeriesInstanceUID") == ["1.1.1", "1.1.2"]
            assert answer.values("NumberOfSeriesRelatedInstances") == ["1", "2"]
            assert answer.values("StudyInstanceUID") == ["1.1", "1.1"]
            keys = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": ""}
            answer = await find(association, keys, "IMAGE")
            assert len(answer.found) == 2
            assert answer.found[0].SOPInstanceUID.startswith("1.1.1.")

    async def test_the_retired_model(self, hospital: Intake) -> None:
        async with asking(hospital) as association:
            keys = {"PatientID": "P1", "StudyInstanceUID": ""}
            answer = await find(association, keys, "STUDY", PATIENT_STUDY_ONLY_FIND)
            assert answer.values("StudyInstanceUID") == ["1.1", "1.2"]
            answer = await find(association, keys, "SERIES", PATIENT_STUDY_ONLY_FIND)
            assert answer.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS

    async def test_list_of_uids(self, hospital: Intake) -> None:
        async with asking(hospital) as association:
            answer = await find(association, {"StudyInstanceUID": ["1.2", "2.1", "9.9"]})
            assert answer.values("StudyInstanceUID") == ["1.2", "2.1"]
            answer = await find(association, {"StudyInstanceUID": ""})
            assert len(answer.found) == 3


class TestTimeZones:
    """§C.4.1.1.3.2: where times of the answer are in a zone that the object names."""

    @pytest.mark.case("case 14 a C-FIND answer says in which time zone its times are, asked for or not")
    @pytest.mark.parametrize(
        ("level", "keys", "said"),
        [
            ("STUDY", {"StudyTime": ""}, "+0900"),
            ("STUDY", {"StudyDate": "20260102"}, "+0900"),
            ("SERIES", {"SeriesTime": "", "StudyInstanceUID": "1.1"}, "+0900"),
            ("IMAGE", {"StudyDate": "", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}, "+0900"),
            ("STUDY", {"StudyDescription": ""}, None),
            ("STUDY", {"PatientBirthDate": ""}, None),
            ("STUDY", {"PatientID": "", "TimezoneOffsetFromUTC": ""}, "+0900"),
            ("STUDY", {"StudyTime": "", "TimezoneOffsetFromUTC": "+0100"}, "+0900"),
        ],
    )
    async def test_said(self, gateway: Intake, level: str, keys: dict[str, str], said: str | None) -> None:
        times = {"StudyTime": "030405", "SeriesTime": "040000", "PatientBirthDate": "19700101"}
        await fill(gateway.folder.database, [data_set("1.1", "1.1.1", TimezoneOffsetFromUTC="+0900", **times)])
        async with asking(gateway) as association:
            (found,) = (await find(association, keys, level)).found
        assert found.get("TimezoneOffsetFromUTC") == said

    async def test_not_said(self, hospital: Intake) -> None:
        async with asking(hospital) as association:
            for found in (await find(association, {"StudyDate": ""})).found:
                assert "TimezoneOffsetFromUTC" not in found
            (found,) = (await find(association, {"StudyInstanceUID": "2.1", "TimezoneOffsetFromUTC": ""})).found
            assert found.TimezoneOffsetFromUTC == ""
            answer = await find(association, {"PatientID": "", "PatientBirthDate": ""}, "PATIENT", PATIENT_ROOT_FIND)
            assert all("TimezoneOffsetFromUTC" not in found for found in answer.found)


class TestHierarchy:
    """§C.4.1.2.2.1: each level above needs a single value in its unique key, where we are told to go by it."""

    @pytest.mark.parametrize(
        ("model", "level", "keys", "offending"),
        [
            (STUDY_ROOT_FIND, "SERIES", {"SeriesInstanceUID": ""}, 0x0020000D),
            (STUDY_ROOT_FIND, "SERIES", {"StudyInstanceUID": ""}, 0x0020000D),
            (STUDY_ROOT_FIND, "SERIES", {"StudyInstanceUID": "*"}, 0x0020000D),
            (STUDY_ROOT_FIND, "SERIES", {"StudyInstanceUID": ["1.1", "1.2"]}, 0x0020000D),
            (STUDY_ROOT_FIND, "STUDY", {"StudyInstanceUID": "*"}, 0x0020000D),
            (STUDY_ROOT_FIND, "STUDY", {"StudyInstanceUID": "1.1*"}, 0x0020000D),
            (STUDY_ROOT_FIND, "IMAGE", {"StudyInstanceUID": "1.1"}, 0x0020000E),
            (PATIENT_ROOT_FIND, "STUDY", {"StudyInstanceUID": "1.1"}, 0x00100020),
            (PATIENT_ROOT_FIND, "STUDY", {"PatientID": "P*"}, 0x00100020),
            (STUDY_ROOT_FIND, "PATIENT", {"PatientID": "P1"}, 0x00080052),
            (STUDY_ROOT_FIND, "FRAME", {}, 0x00080052),
            (STUDY_ROOT_FIND, "", {}, 0x00080052),
            (STUDY_ROOT_FIND, None, {"PatientID": "P1"}, 0x00080052),
        ],
    )
    async def test_refused(
        self, hospital: Intake, model: str, level: str | None, keys: dict[str, Any], offending: int
    ) -> None:
        strict = msgspec.structs.replace(hospital.settings.dicom, lenient_identifiers=False)
        hospital.settings = msgspec.structs.replace(hospital.settings, dicom=strict)
        async with asking(hospital) as association:
            answer = await find(association, keys, level, model)
            assert answer.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
            assert answer.final.offending_element == [offending]
            assert answer.final.error_comment
            assert not answer.found
            assert (await find(association, {"StudyInstanceUID": "1.1"})).status == status.SUCCESS

    @pytest.mark.parametrize("raw", [b"", b"x", b"\x08\0\x52\0CS\xff\0STUDY", b"\x08\0\x05\0"])
    async def test_no_identifier(self, hospital: Intake, raw: bytes) -> None:
        async with asking(hospital) as association:
            answer = await find(association, {}, raw=raw)
            assert status.category(answer.status) is status.Category.FAILURE

    async def test_nonsense_in_a_key(self, hospital: Intake) -> None:
        async with asking(hospital) as association:
            keys: DataSet = {0x00080020: Attribute("DA", ["yesterday"])}
            answer = await find(association, keys)
            assert answer.status == status.CANNOT_UNDERSTAND
            assert "yesterday" in (answer.final.error_comment or "")


class TestHostileIdentifiers:
    """Whatever a key holds: one answer, nothing outside the rules, and the association goes on."""

    KEYS: tuple[DataSet, ...] = (
        {0x0020000D: Attribute("UI", ["../x"])},
        {0x0020000D: Attribute("UI", ["/abs"])},
        {0x0020000D: Attribute("UI", ["1" * 65])},
        {0x0020000D: Attribute("UI", ["1.2\0.3"])},
        {0x0020000D: Attribute("UI", [f"1.{n}" for n in range(3000)])},
        {0x0020000D: Attribute("SQ", [{0x00080100: Attribute("SH", ["x"])}])},
        {0x00100020: Attribute("OB", [b"P1"])},
        {0x00100020: Attribute("LO", ["x" * 5000])},
        {0x00100020: Attribute("LO", ["x"] * 500)},
        {0x00100010: Attribute("PN", ["*" * 2000])},
        {0x00100010: Attribute("PN", ["=" * 2000])},
        {0x00100010: Attribute("PN", ["\ud800"])},
        {0x00200011: Attribute("IS", ["9" * 30])},
        {0x00080020: Attribute("DA", ["--"])},
        {0x00080030: Attribute("TM", ["99999999"])},
        {0x0008002A: Attribute("DT", ["2026-2027-2028"])},
        {0x00400275: Attribute("SQ", [{0x00400009: Attribute("SQ", [{}])}, {}])},
        {0x00080005: Attribute("SQ", [{0x00080100: Attribute("SH", ["x"])}])},
        {0x7FE00010: Attribute("OW", [b"x"]), 0xFFFCFFFC: Attribute("OB", [b"x"])},
        {0x00280010: Attribute("US", [1]), 0x00080001: Attribute("UL", [2]), 0x00200000 + 1: Attribute("UN", [b"y"])},
        {tag: Attribute("LO", ["?"]) for tag in range(0x00090010, 0x00090400)},
    )

    @pytest.mark.parametrize("keys", KEYS, ids=range(len(KEYS)))
    async def test_one_answer(self, hospital: Intake, keys: DataSet) -> None:
        async with asking(hospital) as association:
            answer = await find(association, keys)
            assert status.category(answer.status) in (status.Category.SUCCESS, status.Category.FAILURE)
            assert answer.status != status.PROCESSING_FAILURE, answer.final.error_comment
            assert len((await find(association, {"StudyInstanceUID": "1.1"})).found) == 1


class TestKeysTheIndexDoesNotHave:
    @pytest.fixture(autouse=True)
    async def files(self, gateway: Intake) -> None:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "SRT", "Kopf"
        sources = []
        for number in range(6):
            source = instance(
                PatientID=f"P{number // 3}", StudyInstanceUID=f"1.{number // 3}", SeriesInstanceUID=f"1.{number // 3}.1"
            )
            source.ExposureTime = str(100 + number)
            source.ImageComments = f"slice {number}"
            source.ContentDate = f"2026010{number + 1}"
            source.AnatomicRegionSequence = [item] if number == 4 else []
            source.add_new(0x00091001, "LO", f"private {number}")
            sources.append(source)
        await store(gateway, *sources)

    async def test_matched_and_returned_from_files(self, gateway: Intake) -> None:
        async with asking(gateway) as association:
            keys = {"StudyInstanceUID": "", "ExposureTime": "104"}
            answer = await find(association, keys)
            assert answer.values("StudyInstanceUID") == ["1.1"]
            assert answer.values("ExposureTime") == ["104"]
            assert answer.pending == {status.PENDING}
            answer = await find(association, {"StudyInstanceUID": "", "ExposureTime": ""})
            assert answer.values("ExposureTime") == ["100", "103"]
            answer = await find(association, {0x00091001: Attribute("LO", ["*5"])})
            assert answer.values("StudyInstanceUID") == ["1.1"]
            answer = await find(association, {"PatientID": "", "ExposureTime": "101"}, "PATIENT", PATIENT_ROOT_FIND)
            assert answer.values("PatientID") == ["P0"]

    async def test_what_the_index_keeps_without_a_column(self, gateway: Intake) -> None:
        async with asking(gateway) as association:
            keys = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": ""}
            answer = await find(association, {**keys, "ContentDate": "20260105-", "ImageComments": "*"}, "IMAGE")
            assert answer.values("ImageComments") == ["slice 4", "slice 5"]

    async def test_lower_levels(self, gateway: Intake) -> None:
        async with asking(gateway) as association:
            answer = await find(association, {"StudyInstanceUID": "1.1", "Modality": "C*", "SeriesDescription": ""})
            assert answer.values("Modality") == ["CT"]
            assert (await find(association, {"StudyInstanceUID": "1.1", "Modality": "MR"})).found == []

    async def test_sequences(self, gateway: Intake) -> None:
        item = Dataset()
        item.CodeValue, item.CodeMeaning = "T*", ""
        async with asking(gateway) as association:
            answer = await find(association, {"StudyInstanceUID": "", "AnatomicRegionSequence": [item]})
            (found,) = answer.found
            assert found.StudyInstanceUID == "1.1"
            (inner,) = found.AnatomicRegionSequence
            assert (inner.CodeValue, inner.CodeMeaning) == ("T-1", "Kopf")
            assert "CodingSchemeDesignator" not in inner
            item.CodeValue = "X"
            assert not (await find(association, {"AnatomicRegionSequence": [item]})).found

    async def test_too_many_files(self, gateway: Intake) -> None:
        await fill(gateway.folder.database, [data_set("7.7") for _ in range(30)])
        async with asking(gateway) as association:
            answer = await find(association, {"StudyInstanceUID": "", "ExposureTime": "104"})
            assert answer.status == status.OUT_OF_RESOURCES
            assert "(0018,1150)" in (answer.final.error_comment or "")
            answer = await find(association, {"StudyInstanceUID": "1.1", "ExposureTime": "104"})
            assert (answer.status, len(answer.found)) == (status.SUCCESS, 1)
            answer = await find(association, {"StudyInstanceUID": "", "ExposureTime": ""})  # only asked for
            assert (answer.status, len(answer.found)) == (status.SUCCESS, 3)
            assert answer.pending == {status.PENDING_WITH_WARNINGS}
            answer = await find(association, {"StudyInstanceUID": "", "Modality": "CT"})  # the index knows it below
            assert (len(answer.found), answer.pending) == (3, {status.PENDING_WITH_WARNINGS})

    async def test_an_optional_key_that_nothing_can_hold(self, gateway: Intake) -> None:
        async with asking(gateway) as association:
            answer = await find(association, {"StudyInstanceUID": "1.1", "NumberOfSeriesRelatedInstances": ""})
            assert answer.pending == {status.PENDING_WITH_WARNINGS}
            assert answer.found[0].NumberOfSeriesRelatedInstances is None


class TestScripts:
    NAMES = ("Müller^Jürgen", "Διονυσιος", "Люкceмбypг", "Wang^XiaoDong=王^小东", "שרון^דבורה", "قباني^لنزار")  # noqa: RUF001

    async def test_shown_right_whether_or_not_the_query_named_a_character_set(self, gateway: Intake) -> None:
        sources = [
            data_set(f"1.{n}", SpecificCharacterSet="ISO_IR 192", PatientName=name, PatientID=f"P{n}")
            for n, name in enumerate(self.NAMES)
        ]
        await fill(gateway.folder.database, sources)
        async with asking(gateway) as association:
            answer = await find(association, {0x00100010: Attribute("PN", [])})
            assert answer.values("PatientName") == sorted(self.NAMES)
            for name in self.NAMES:
                prefix = name.partition("^")[0][:4].lower()
                answer = await find(association, {"PatientName": f"{prefix}*"})
                assert answer.values("PatientName") == [name]
                assert answer.found[0].SpecificCharacterSet in ("ISO_IR 100", "ISO_IR 192")

    async def test_in_the_character_set_of_the_query(self, gateway: Intake) -> None:
        source = data_set("1.1", SpecificCharacterSet="ISO_IR 192", PatientName="Διονυσιος")
        await fill(gateway.folder.database, [source])
        async with asking(gateway) as association:
            answer = await find(association, {"PatientName": "διον*", "SpecificCharacterSet": "ISO_IR 126"})
            assert answer.found[0].SpecificCharacterSet == "ISO_IR 126"
            assert answer.values("PatientName") == ["Διονυσιος"]


class TestStreams:
    @pytest.fixture(autouse=True)
    async def many(self, gateway: Intake) -> None:
        await fill(gateway.folder.database, [data_set(f"1.{n}") for n in range(350)])

    async def test_page_after_page(self, gateway: Intake) -> None:
        async with asking(gateway) as association:
            answer = await find(association, {"StudyInstanceUID": ""})
            assert len(set(answer.values("StudyInstanceUID"))) == len(answer.found) == 350

    async def test_cancel(self, gateway: Intake) -> None:
        async with asking(gateway) as association:
            context = association.context_for(STUDY_ROOT_FIND)
            command = messages.c_find_request(association.next_message_id(), STUDY_ROOT_FIND)
            keys = {0x00080052: Attribute("CS", ["STUDY"]), 0x0020000D: Attribute("UI", [])}
            statuses = []
            async with aclosing(association.requests(context, command, [encode_data_set(keys, EXPLICIT)])) as responses:
                association.cancel_request(command.message_id or 0)
                async for response in responses:
                    if not statuses:
                        association.cancel_request(command.message_id or 0)
                    statuses.append(response.status)
            assert statuses[-1] == status.CANCEL
            assert len(statuses) <= 350
            assert len((await find(association, {"StudyInstanceUID": "1.1"})).found) == 1

    async def test_the_peer_goes_away(self, gateway: Intake) -> None:
        async with associate(gateway.call((STUDY_ROOT_FIND, [EXPLICIT]))) as association:
            context = association.context_for(STUDY_ROOT_FIND)
            command = messages.c_find_request(association.next_message_id(), STUDY_ROOT_FIND)
            keys = {0x00080052: Attribute("CS", ["STUDY"]), 0x0020000D: Attribute("UI", [])}
            async for _response in association.requests(context, command, [encode_data_set(keys, EXPLICIT)]):
                await association.abort()
                break
        async with asking(gateway) as association:
            assert len((await find(association, {"StudyInstanceUID": "1.1"})).found) == 1


async def dawdle(gateway: Intake, keys: DataSet) -> None:
    """Take one answer, then none until the gateway has no patience left, then what there is of the rest."""
    async with associate(gateway.call((STUDY_ROOT_FIND, [EXPLICIT]))) as association:
        context = association.context_for(STUDY_ROOT_FIND)
        command = messages.c_find_request(association.next_message_id(), STUDY_ROOT_FIND)
        responses = association.requests(context, command, [encode_data_set(keys, EXPLICIT)])
        await anext(responses)
        await until(lambda: not gateway.acceptor.established()["TEST"])
        async for _response in responses:
            pass


async def test_a_peer_that_takes_no_answers(tmp_path: Path) -> None:
    """It holds its own association for a while, and nothing else."""
    long = dict.fromkeys(("PatientComments", "AdditionalPatientHistory", "Occupation"), "x" * 8000)
    keys = {0x00080052: Attribute("CS", ["STUDY"]), 0x0020000D: Attribute("UI", [])}
    keys |= {tag: Attribute("LT", []) for tag in (0x00104000, 0x001021B0, 0x00102180)}
    async with asyncio.timeout(30), intake(tmp_path, dicom={"response_timeout": 0.2}) as gateway:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await fill(gateway.folder.database, [data_set(f"1.{n}", **long) for n in range(600)])
        with pytest.raises(AssociationLost, match="aborted"):
            await dawdle(gateway, keys)
        async with asking(gateway) as other:
            assert len((await find(other, {"StudyInstanceUID": "1.1"})).found) == 1


async def test_an_empty_archive(gateway: Intake) -> None:
    async with asking(gateway) as association:
        answer = await find(association, {"PatientName": "*"})
        assert (answer.found, answer.status) == ([], status.SUCCESS)


def test_identifiers_are_read_as_they_are_written() -> None:
    keys = {0x00080052: Attribute("CS", ["STUDY"])}
    assert decode_data_set(encode_data_set(keys, EXPLICIT), EXPLICIT) == keys


class TestExtendedNegotiation:
    """§C.5.1.1: what is offered and taken changes what a query may ask and what it finds."""

    @staticmethod
    def offering(gateway: Intake, flags: bytes) -> AbstractAsyncContextManager[Requestor]:
        extended = [ExtendedNegotiation(model, flags) for model in MODELS]
        return associate(gateway.call(*[(model, [EXPLICIT]) for model in MODELS], extended=extended))

    async def test_relational(self, hospital: Intake) -> None:
        async with self.offering(hospital, b"\1") as association:
            keys = {"PatientName": "doe*", "Modality": "CT", "SeriesInstanceUID": ""}
            answer = await find(association, keys, "SERIES")
            assert answer.values("SeriesInstanceUID") == ["1.1.1", "1.1.2"]
            assert answer.values("PatientName") == ["Doe^John", "Doe^John"]
            answer = await find(association, {"SOPInstanceUID": ""}, "IMAGE", PATIENT_ROOT_FIND)
            assert len(answer.found) == 6

    @pytest.mark.case("queries without a level or the keys above it are answered")
    @pytest.mark.parametrize("lenient", [True, False])
    async def test_lenient(self, tmp_path: Path, lenient: bool) -> None:
        """What is not relational is answered too; without a level, at the lowest whose unique key is there."""
        sources = [data_set("1.1", "1.1.1"), data_set("1.1", "1.1.2"), data_set("1.2", "1.2.1")]
        asked: list[tuple[str | None, str, dict[str, str], str, list[str]]] = [
            ("SERIES", STUDY_ROOT_FIND, {"SeriesInstanceUID": "1.1.2"}, "SeriesInstanceUID", ["1.1.2"]),
            ("STUDY", PATIENT_ROOT_FIND, {"StudyInstanceUID": "1.1"}, "StudyInstanceUID", ["1.1"]),
            ("IMAGE", PATIENT_ROOT_FIND, {"SeriesInstanceUID": "1.2.1"}, "StudyInstanceUID", ["1.2"]),
            (None, STUDY_ROOT_FIND, {"StudyInstanceUID": "1.1"}, "StudyInstanceUID", ["1.1"]),
            (None, PATIENT_ROOT_FIND, {"PatientID": "P1"}, "PatientID", ["P1"]),
        ]
        async with intake(tmp_path, dicom={"lenient_identifiers": lenient}) as gateway:
            await fill(gateway.folder.database, sources)
            async with self.offering(gateway, b"\0\1\1") as association:
                for level, model, keys, told, expected in asked:
                    answer = await find(association, {**keys, told: keys.get(told, "")}, level, model)
                    if lenient:
                        assert (answer.values(told), answer.status) == (expected, status.SUCCESS), keys
                    else:
                        assert answer.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
                answer = await find(association, {"PatientName": "Doe*"}, None)
                assert answer.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS

    async def test_fuzzy_names(self, gateway: Intake) -> None:
        names = ["Meier^Hans", "Mayer^Johann", "Smith^John"]
        sources = [data_set(f"1.{n}", PatientName=name, PatientID=f"P{n}") for n, name in enumerate(names)]
        await fill(gateway.folder.database, sources)
        async with self.offering(gateway, b"\0\0\1") as association:
            answer = await find(association, {"PatientName": "MEYER"})
            assert answer.values("PatientName") == ["Mayer^Johann", "Meier^Hans"]
        async with self.offering(gateway, b"\1\1\0\1\1\1\1") as association:
            assert not (await find(association, {"PatientName": "MEYER"})).found

    async def test_combined_date_time(self, gateway: Intake) -> None:
        moments = [("20260101", "1100"), ("20260101", "1300"), ("20260102", "0900")]
        sources = [data_set(f"1.{n}", StudyDate=day, StudyTime=time) for n, (day, time) in enumerate(moments)]
        await fill(gateway.folder.database, sources)
        keys = {"StudyDate": "20260101-20260102", "StudyTime": "1200-1000", "StudyInstanceUID": ""}
        async with self.offering(gateway, b"\1\1") as association:
            assert (await find(association, keys)).values("StudyInstanceUID") == ["1.1", "1.2"]
        async with self.offering(gateway, b"\1") as association:
            assert (await find(association, keys)).values("StudyInstanceUID") == []
