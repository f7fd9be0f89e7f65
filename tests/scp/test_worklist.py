"""The modality worklist over a real socket (PS3.4 Annex K): matching, answers, files."""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from gateway.config import Settings, Worklist
from gateway.database.sqlite import SQLite
from gateway.dicom.decode import decode_data_set
from gateway.dicom.json_reader import from_json
from gateway.dimse import status
from gateway.errors import BadRequest, NotFound
from gateway.workflow.worklist import Worklists
from gateway.workflow.worklist_items import follow_step
from tests.support.datasets import EXPLICIT, IMPLICIT, encode
from tests.support.intake import Intake, intake
from tests.support.workflow import modality


def step(**values: Any) -> Dataset:
    made = Dataset()
    made.ScheduledStationAETitle = "CT1"
    made.ScheduledProcedureStepStartDate = "20261122"
    made.ScheduledProcedureStepStartTime = "0930"
    made.Modality = "CT"
    made.ScheduledPerformingPhysicianName = "House^Gregory"
    made.ScheduledProcedureStepID = "SPS1"
    made.ScheduledProcedureStepDescription = "Thorax"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def item(*steps: Dataset, **values: Any) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.AccessionNumber = "A1"
    made.PatientName = "Doe^Jane"
    made.PatientID = "P1"
    made.RequestedProcedureID = "RP1"
    made.ScheduledProcedureStepSequence = list(steps) or [step()]
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def query(of_step: dict[str, Any] | None = None, **values: Any) -> Dataset:
    """Keys as a modality sends them: return keys empty."""
    made = Dataset()
    made.PatientName = made.PatientID = made.AccessionNumber = made.RequestedProcedureID = ""
    made.StudyInstanceUID = ""
    asked = Dataset()
    for keyword in ("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"):
        setattr(asked, keyword, "")
    asked.Modality = asked.ScheduledPerformingPhysicianName = asked.ScheduledProcedureStepID = ""
    asked.ScheduledProcedureStepStatus = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's about wild cards and ranges
        for keyword, value in (of_step or {}).items():
            setattr(asked, keyword, value)
        made.ScheduledProcedureStepSequence = [asked]
        for keyword, value in values.items():
            setattr(made, keyword, value)
    return made


async def add(gateway: Intake, *items: Dataset) -> list[str]:
    worklists = gateway.context.use_cases.worklists
    return [await worklists.create(decode_data_set(encode(each), EXPLICIT)) for each in items]


async def found(gateway: Intake, keys: Dataset, syntax: str = EXPLICIT) -> list[Dataset]:
    async with modality(gateway, syntax) as asking:
        answers, final = await asking.find(keys)
        assert final.status == status.SUCCESS
        return answers


def ids(answers: list[Dataset]) -> list[str]:
    return sorted(each.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID for each in answers)


class TestMatching:
    """PS3.4 Table K.6-1, by what a modality asks."""

    @pytest.mark.parametrize(
        ("of_step", "values", "expected"),
        [
            ({}, {}, ["1", "2", "3", "4"]),
            ({"ScheduledStationAETitle": "CT1"}, {}, ["1", "2"]),
            ({"ScheduledStationAETitle": "CT*"}, {}, ["1", "2", "3"]),
            ({"Modality": "MR"}, {}, ["4"]),
            ({"ScheduledProcedureStepStartDate": "20261122"}, {}, ["1", "3"]),
            ({"ScheduledProcedureStepStartDate": "20261123-"}, {}, ["2", "4"]),
            ({"ScheduledProcedureStepStartDate": "-20261122"}, {}, ["1", "3"]),
            ({"ScheduledProcedureStepStartDate": "20261122-20261123"}, {}, ["1", "2", "3"]),
            ({"ScheduledProcedureStepStartTime": "0900-1000"}, {}, ["1", "4"]),
            # One period, from its first moment to its last, not the same hours of every day:
            (
                {
                    "ScheduledProcedureStepStartDate": "20261122-20261123",
                    "ScheduledProcedureStepStartTime": "1000-0800",
                },
                {},
                ["2", "3"],
            ),
            ({"ScheduledPerformingPhysicianName": "house^*"}, {}, ["1", "2", "3"]),
            ({"ScheduledProcedureStepStatus": "SCHEDULED"}, {}, ["1", "2", "4"]),
            ({"ScheduledProcedureStepStatus": "ARRIVED"}, {}, ["3"]),
            ({}, {"PatientName": "doe^j*"}, ["1", "2"]),
            ({}, {"PatientName": "D?E*"}, ["1", "2"]),
            ({}, {"PatientID": "P2"}, ["3"]),
            ({}, {"PatientID": "P_"}, []),
            ({}, {"AccessionNumber": "A3"}, ["4"]),
            ({}, {"RequestedProcedureID": "RP2"}, ["3", "4"]),
            ({}, {"PatientName": "ΔΗΜΉΤΡΙΟΣ", "SpecificCharacterSet": "ISO_IR 126"}, ["4"]),
            ({"Modality": "CT"}, {"PatientID": "P3"}, []),
            ({"ScheduledStationAETitle": "CT1", "ScheduledProcedureStepStartDate": "20261122"}, {}, ["1"]),
        ],
    )
    async def test_what_matches(
        self, tmp_path: Path, of_step: dict[str, Any], values: dict[str, Any], expected: list[str]
    ) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(
                gateway,
                item(
                    step(ScheduledProcedureStepID="1"),
                    step(
                        ScheduledProcedureStepID="2",
                        ScheduledProcedureStepStartDate="20261123",
                        ScheduledProcedureStepStartTime="0700",
                    ),
                ),
                item(
                    step(
                        ScheduledProcedureStepID="3",
                        ScheduledStationAETitle="CT2",
                        ScheduledProcedureStepStartTime="161500",
                        ScheduledProcedureStepStatus="ARRIVED",
                    ),
                    PatientName="Roe^Richard",
                    PatientID="P2",
                    AccessionNumber="A2",
                    RequestedProcedureID="RP2",
                ),
                item(
                    step(
                        ScheduledProcedureStepID="4",
                        ScheduledStationAETitle="MR1",
                        Modality="MR",
                        ScheduledProcedureStepStartDate="20261201",
                        ScheduledPerformingPhysicianName="Wilson^James",
                    ),
                    PatientName="Δημήτριος",
                    PatientID="P3",
                    AccessionNumber="A3",
                    RequestedProcedureID="RP2",
                ),
            )
            assert ids(await found(gateway, query(of_step, **values))) == expected

    @pytest.mark.parametrize("value", ["yesterday", "2026-11-22-", "20261122--"])
    async def test_a_date_that_is_none(self, tmp_path: Path, value: str) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as asking:
            answers, final = await asking.find(query({"ScheduledProcedureStepStartDate": value}))
            assert answers == []
            assert final.status == status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
            assert value in final.error_comment


class TestAnswers:
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    async def test_one_for_each_step_with_what_was_asked_for(self, tmp_path: Path, syntax: str) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, item(step(ScheduledProcedureStepID="1"), step(ScheduledProcedureStepID="2")))
            keys = Dataset()
            keys.PatientName = ""
            keys.ReferringPhysicianName = ""
            asked = Dataset()
            asked.ScheduledProcedureStepID = ""
            asked.ScheduledStationName = ""
            keys.ScheduledProcedureStepSequence = [asked]
            answers = await found(gateway, keys, syntax)
            assert ids(answers) == ["1", "2"]
            for each in answers:
                assert {element.keyword for element in each} == {
                    "PatientName",
                    "ReferringPhysicianName",
                    "ScheduledProcedureStepSequence",
                }
                (of_step,) = each.ScheduledProcedureStepSequence
                assert of_step.ScheduledStationName == ""
                assert "Modality" not in of_step

    async def test_a_sequence_without_keys_comes_whole(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, item())
            keys = Dataset()
            keys.ScheduledProcedureStepSequence = []
            (answer,) = await found(gateway, keys)
            assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription == "Thorax"

    @pytest.mark.parametrize(
        ("asked", "name", "term"),
        [
            ("", "Doe^Jane", None),
            ("", "Müller^Jürgen", "ISO_IR 100"),
            ("", "山田^太郎", "ISO_IR 192"),
            ("ISO_IR 192", "山田^太郎", "ISO_IR 192"),
            ("ISO_IR 126", "Δημήτριος", "ISO_IR 126"),
            ("ISO_IR 100", "Δημήτριος", "ISO_IR 192"),
        ],
    )
    async def test_names_in_any_script(self, tmp_path: Path, asked: str, name: str, term: str | None) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, item(PatientName=name))
            keys = query()
            if asked:
                keys.SpecificCharacterSet = asked
            (answer,) = await found(gateway, keys)
            assert answer.PatientName == name
            assert answer.get("SpecificCharacterSet") == term

    async def test_a_study_uid_is_there_for_the_images(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, item(), item(StudyInstanceUID="1.2.3"))
            uids = {answer.StudyInstanceUID for answer in await found(gateway, query())}
            assert "1.2.3" in uids
            assert any(uid.startswith("2.25.") for uid in uids)

    async def test_finished_steps_are_left_out_unless_asked_for(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, item(StudyInstanceUID="1.2.3"))
            database = gateway.folder.database
            await database.write(lambda: follow_step("1.2.3", frozenset({"SPS1"}), "COMPLETED", 5.0))
            assert await found(gateway, query()) == []
            assert len(await found(gateway, query({"ScheduledProcedureStepStatus": "COMPLETED"}))) == 1
            gateway.configure(worklist={"show_finished": True})
            assert len(await found(gateway, query())) == 1

    async def test_too_many(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path, worklist={"max_results": 3}) as gateway:
            await add(gateway, *[item() for _ in range(4)])
            async with modality(gateway) as asking:
                answers, final = await asking.find(query())
                assert len(answers) == 3
                assert final.status == status.OUT_OF_RESOURCES
                assert "worklist.max_results" in final.error_comment

    async def test_cancel(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, *[item() for _ in range(500)])
            async with modality(gateway) as asking:
                answers, final = await asking.find(query(), cancel_after=1)
                assert final.status == status.CANCEL
                assert 1 <= len(answers) < 500

    async def test_pages(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, *[item(step(ScheduledProcedureStepID=str(n))) for n in range(450)])
            assert len(set(ids(await found(gateway, query())))) == 450


class TestTimeZones:
    """K.4.1.1.3: of what is answered, and of what is asked for."""

    TOKYO = step(ScheduledProcedureStepStartDate="20240105", ScheduledProcedureStepStartTime="0100")
    """1600 of the day before in UTC."""

    @pytest.fixture
    async def gateway(self, tmp_path: Path) -> AsyncIterator[Intake]:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            await add(gateway, item(self.TOKYO, TimezoneOffsetFromUTC="+0900", PatientID="TOKYO"))
            await add(gateway, item(self.TOKYO, PatientID="NOWHERE"))
            yield gateway

    @pytest.mark.case("case 14 a worklist answer says in which time zone its times are, asked for or not")
    async def test_said(self, gateway: Intake) -> None:
        answers = await found(gateway, query(PatientID=""))
        zones = {answer.PatientID: answer.get("TimezoneOffsetFromUTC") for answer in answers}
        assert zones == {"TOKYO": "+0900", "NOWHERE": None}
        answers = await found(gateway, query(PatientID="", TimezoneOffsetFromUTC=""))
        zones = {answer.PatientID: answer.TimezoneOffsetFromUTC for answer in answers}
        assert zones == {"TOKYO": "+0900", "NOWHERE": ""}
        without = Dataset()
        without.PatientID = "TOKYO"
        (answer,) = await found(gateway, without)
        assert "TimezoneOffsetFromUTC" not in answer

    @pytest.mark.case("case 14 dates and times of a worklist query are in the zone that it names")
    @pytest.mark.parametrize(
        ("zone", "date", "time", "expected"),
        [
            ("+0000", "20240104", "1500-1700", {"TOKYO"}),
            ("+0000", "20240104", "", {"TOKYO"}),
            ("+0000", "20240104", "1600", {"TOKYO"}),
            ("+0000", "20240104-20240104", "1500-1700", {"TOKYO"}),
            ("+0000", "20240105", "", {"NOWHERE"}),
            ("+0000", "", "1600", {"TOKYO"}),
            ("+0900", "20240105", "0100", {"TOKYO", "NOWHERE"}),
            ("-1200", "20240104", "0400", {"TOKYO"}),
            ("+0530", "20240104", "2130", {"TOKYO"}),
            ("", "20240105", "0100", {"TOKYO", "NOWHERE"}),
            ("", "20240104", "", set()),
        ],
    )
    async def test_heeded(self, gateway: Intake, zone: str, date: str, time: str, expected: set[str]) -> None:
        keys = {"ScheduledProcedureStepStartDate": date, "ScheduledProcedureStepStartTime": time}
        more = {"TimezoneOffsetFromUTC": zone} if zone else {}
        answers = await found(gateway, query(keys, PatientID="", **more))
        assert {answer.PatientID for answer in answers} == expected
        for answer in answers:
            (told,) = answer.ScheduledProcedureStepSequence
            assert (told.ScheduledProcedureStepStartDate, told.ScheduledProcedureStepStartTime) == ("20240105", "0100")

    @pytest.mark.parametrize("zone", ["0900", "+1500", "-1300", "+0960", "CET"])
    async def test_no_zone(self, gateway: Intake, zone: str) -> None:
        async with modality(gateway) as asking:
            answers, final = await asking.find(query(TimezoneOffsetFromUTC=zone))
            assert (answers, final.status) == ([], status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS)
            assert "+0100" in final.error_comment


class TestItems:
    """Items one by one, as the REST API has them."""

    @pytest.fixture
    async def worklists(self, tmp_path: Path) -> AsyncIterator[Worklists]:
        database = await SQLite.open(tmp_path / "index.db")
        yield Worklists(database, Settings)
        await database.close()

    async def test_created_changed_removed(self, worklists: Worklists) -> None:
        first = await worklists.create(decode_data_set(encode(item()), EXPLICIT))
        found = await worklists.get(first)
        assert found.data_set[0x00100010].values == ["Doe^Jane"]
        await worklists.change(first, decode_data_set(encode(item(PatientName="Roe^R")), EXPLICIT))
        assert [each.data_set[0x00100010].values async for each in worklists.items()] == [["Roe^R"]]
        await worklists.remove(first)
        with pytest.raises(NotFound):
            await worklists.get(first)
        for lost in (worklists.remove(first), worklists.change(first, found.data_set)):
            with pytest.raises(NotFound):
                await lost

    async def test_without_a_step(self, worklists: Worklists) -> None:
        for steps in ([], [Dataset()]):
            without = item()
            without.ScheduledProcedureStepSequence = steps
            with pytest.raises(BadRequest, match="ScheduledProcedureStepSequence"):
                await worklists.create(decode_data_set(encode(without), EXPLICIT))

    async def test_steps_that_are_no_sequence(self, worklists: Worklists) -> None:
        without = from_json(item().to_json_dict() | {"00400100": {"vr": "UN", "InlineBinary": "AAE="}})
        with pytest.raises(BadRequest, match="ScheduledProcedureStepSequence"):
            await worklists.create(without)

    async def test_a_study_uid_that_is_none(self, worklists: Worklists) -> None:
        strange = from_json(item().to_json_dict() | {"0020000D": {"vr": "UN", "InlineBinary": "MS4yLjOA"}})
        with pytest.raises(BadRequest, match="StudyInstanceUID"):
            await worklists.create(strange)


def write_wl(path: Path, source: Dataset) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = EXPLICIT
    meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = FileDataset(path, source, preamble=bytes(128), file_meta=meta)
    file.save_as(path, enforce_file_format=True)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestFiles:
    """Files in a folder are items for as long as they are there."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "worklist"
        folder.mkdir()
        return folder

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def worklists(self, tmp_path: Path, folder: Path, clock: Clock) -> AsyncIterator[Worklists]:
        database = await SQLite.open(tmp_path / "index.db")
        settings = Settings(worklist=Worklist(folder=str(folder)))
        yield Worklists(database, lambda: settings, clock=clock)
        await database.close()

    async def names(self, worklists: Worklists, clock: Clock) -> list[str]:
        clock.now += 10
        return sorted([each.data_set[0x00100010].text async for each in worklists.items()])

    async def test_dicom_and_json(self, worklists: Worklists, folder: Path, clock: Clock) -> None:
        write_wl(folder / "a.wl", item(PatientName="A"))
        (folder / "b.json").write_text(json.dumps(item(PatientName="Björn").to_json_dict()))
        (folder / "c.json").write_text(json.dumps([item(PatientName="C").to_json_dict()]))
        (folder / "readme.txt").write_text("no item")
        assert await self.names(worklists, clock) == ["A", "Björn", "C"]

    async def test_what_changes_and_goes(self, worklists: Worklists, folder: Path, clock: Clock) -> None:
        write_wl(folder / "a.wl", item(PatientName="A"))
        write_wl(folder / "b.wl", item(PatientName="B"))
        await self.names(worklists, clock)
        (before,) = [each.public_id async for each in worklists.items() if each.source == "b.wl"]
        (folder / "a.wl").unlink()
        write_wl(folder / "b.wl", item(PatientName="B changed"))
        assert await self.names(worklists, clock) == ["B changed"]
        assert (await worklists.get(before)).source == "b.wl"

    async def test_what_cannot_be_read(
        self, worklists: Worklists, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Said once for each content; read when it has been mended."""
        (folder / "bad.wl").write_bytes(b"not DICOM")
        (folder / "bad.json").write_text('{"00100010": 3}')
        (folder / "bytes.json").write_bytes(b'{"\x80": 1}')
        (folder / "empty.json").write_text("{}")
        (folder / "no-steps.json").write_text('{"00400100": {"vr": "UN", "InlineBinary": "AAE="}}')
        os.mkfifo(folder / "pipe.wl")
        assert await self.names(worklists, clock) == []
        assert await self.names(worklists, clock) == []
        assert len([record for record in caplog.records if "is no worklist item" in record.message]) == 5
        (folder / "bad.json").write_text(json.dumps(item(PatientName="Good").to_json_dict()))
        assert await self.names(worklists, clock) == ["Good"]

    async def test_a_folder_that_is_away_removes_nothing(
        self, worklists: Worklists, folder: Path, clock: Clock, tmp_path: Path
    ) -> None:
        write_wl(folder / "a.wl", item(PatientName="A"))
        await self.names(worklists, clock)
        folder.rename(tmp_path / "elsewhere")
        assert await self.names(worklists, clock) == ["A"]

    async def test_a_status_outlives_the_next_look(self, worklists: Worklists, folder: Path, clock: Clock) -> None:
        write_wl(folder / "a.wl", item(PatientName="A", StudyInstanceUID="1.2.3"))
        await self.names(worklists, clock)
        await worklists._database.write(lambda: follow_step("1.2.3", frozenset(), "STARTED", clock.now))
        await self.names(worklists, clock)
        (only,) = [each async for each in worklists.items()]
        assert only.data_set[0x00400100].values[0][0x00400020].values == ["STARTED"]

    async def test_two_gateways_over_one_folder(self, worklists: Worklists, folder: Path, clock: Clock) -> None:
        other = Worklists(worklists._database, worklists._settings, clock=clock)
        for n in range(20):
            write_wl(folder / f"{n}.wl", item(PatientName=f"N{n:02}"))
        await asyncio.gather(worklists.folders.scan(), other.folders.scan())
        assert await self.names(worklists, clock) == [f"N{n:02}" for n in range(20)]
