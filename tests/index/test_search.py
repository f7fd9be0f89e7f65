"""Searches at the three levels: relational keys, what is returned, order, pages, and that indexes serve them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.dicom.levels import Level
from gateway.index import attributes as tags
from gateway.index.search import Match, Search, search, total
from gateway.retrieve.query import search_page
from tests.support.datasets import ct_header
from tests.support.index import data_set, fill

STUDY_TABLE = [
    *["00080020", "00080030", "00080050", "00080056", "00080061", "00080090", "00100010", "00100020", "00100030"],
    *["00100040", "0020000D", "00200010", "00201206", "00201208"],
]
"""PS3.18 Table 10.6.3-3 without Timezone Offset (present if known) and Retrieve URL."""
SERIES_TABLE = ["00080060", "0020000E", "00200011", "00201209"]
INSTANCE_TABLE = ["00080016", "00080018", "00200013", "00083002", "00080056"]


def values(match: Match) -> dict[str, Any]:
    return {tag: msgspec.json.decode(raw) for tag, raw in match.attributes.items()}


async def one(database: SQLite, wanted: Search) -> dict[str, Any]:
    page = await search_page(database, wanted)
    assert len(page.matches) == 1
    return values(page.matches[0])


@pytest.fixture
async def header(database: SQLite) -> Any:
    source = ct_header(TimezoneOffsetFromUTC="+0100", ReferringPhysicianName="Ref^One")
    source.Manufacturer = "ACME"
    await fill(database, [source])
    return source


class TestReturned:
    async def test_a_study(self, database: SQLite, header: Any) -> None:
        found = await one(database, Search("study"))
        assert set(found) >= {*STUDY_TABLE, "00080201"}
        assert set(found) <= {*STUDY_TABLE, "00080201", "00080005"}
        assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": str(header.PatientName)}]}
        assert found["00080061"] == {"vr": "CS", "Value": ["CT"]}
        assert found["00201206"] == {"vr": "IS", "Value": [1]}
        assert found["00201208"] == {"vr": "IS", "Value": [1]}
        assert found["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
        assert list(found) == sorted(found)

    async def test_a_series(self, database: SQLite, header: Any) -> None:
        everywhere = await one(database, Search("series"))
        assert set(everywhere) >= {*STUDY_TABLE, *SERIES_TABLE, "0008103E", "00400244", "00400245", "00400275"}
        assert everywhere["00400275"]["Value"][0]["00400009"] == {"vr": "SH", "Value": ["S1"]}
        below = await one(database, Search("series", study_uid=header.StudyInstanceUID))
        assert set(below) >= {*SERIES_TABLE, "0020000D"}
        assert not {"00100010", "00201208", "00081030"} & set(below)

    async def test_an_instance(self, database: SQLite, header: Any) -> None:
        everywhere = await one(database, Search("instance"))
        assert set(everywhere) >= {*STUDY_TABLE, *SERIES_TABLE, *INSTANCE_TABLE, "00280010", "00280011", "00280100"}
        study, series = header.StudyInstanceUID, header.SeriesInstanceUID
        in_study = await one(database, Search("instance", study_uid=study))
        assert set(in_study) >= {*SERIES_TABLE, *INSTANCE_TABLE}
        assert "00100010" not in in_study
        in_series = await one(database, Search("instance", study_uid=study, series_uid=series))
        assert set(in_series) >= {*INSTANCE_TABLE, "0020000D", "0020000E"}
        assert not {"00100010", "00080060"} & set(in_series)
        assert in_series["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}

    async def test_what_is_asked_for(self, database: SQLite, header: Any) -> None:
        study = header.StudyInstanceUID
        found = await one(database, Search("series", study_uid=study, include=frozenset({0x00081030, 0x00080070})))
        assert found["00081030"] == {"vr": "LO", "Value": ["Thorax nativ"]}
        assert found["00080070"] == {"vr": "LO", "Value": ["ACME"]}
        assert "00180015" not in found
        found = await one(database, Search("study", include=frozenset({0x00080070})))
        assert "00080070" not in found  # of a lower level
        found = await one(database, Search("series", study_uid=study, include=frozenset({0x00201208})))
        assert found["00201208"] == {"vr": "IS", "Value": [1]}

    async def test_everything(self, database: SQLite, header: Any) -> None:
        study, series = header.StudyInstanceUID, header.SeriesInstanceUID
        found = await one(database, Search("instance", study_uid=study, series_uid=series, include="all"))
        assert set(found) >= {*STUDY_TABLE, *SERIES_TABLE, *INSTANCE_TABLE, "00081030", "00180015", "00080008"}

    async def test_what_is_matched_is_returned(self, database: SQLite, header: Any) -> None:
        found = await one(database, Search("study", [(tags.STUDY_DESCRIPTION, "Thorax*")]))
        assert found["00081030"] == {"vr": "LO", "Value": ["Thorax nativ"]}

    async def test_the_character_set_is_said_where_it_matters(self, database: SQLite) -> None:
        await fill(database, [data_set(SpecificCharacterSet="ISO_IR 100", PatientName="Müller")])
        found = await one(database, Search("study"))
        assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
        assert found["00100010"]["Value"] == [{"Alphabetic": "Müller"}]


class TestRelational:
    @pytest.mark.parametrize("level", ["study", "series", "instance"])
    async def test_keys_of_the_levels_above(self, database: SQLite, level: Level) -> None:
        await fill(database, [data_set(study=f"1.2.{n}", PatientID=f"P{n}", AccessionNumber=f"A{n}") for n in range(3)])
        for filters in ([(tags.PATIENT_ID, "P1")], [(tags.ACCESSION_NUMBER, "A1"), (tags.PATIENT_NAME, "doe*")]):
            page = await search_page(database, Search(level, filters))
            assert [match.study_uid for match in page.matches] == ["1.2.1"]

    async def test_keys_of_lower_levels_are_left_out(self, database: SQLite) -> None:
        filters = [(tags.MODALITY, "CT"), (tags.PATIENT_ID, "P1"), (tags.SOP_CLASS_UID, "1"), (0x00091001, "x")]
        await fill(database, [data_set()])
        assert len((await search_page(database, Search("study", filters))).matches) == 1

    async def test_paths(self, database: SQLite) -> None:
        sources = [data_set(study=f"1.{n}", series=f"1.{n}.{m}") for n in range(2) for m in range(2) for _ in range(2)]
        await fill(database, sources)

        async def count(level: Level, **path: str) -> int:
            return len((await search_page(database, Search(level, **path))).matches)

        assert await count("series") == 4
        assert await count("series", study_uid="1.1") == 2
        assert await count("instance") == 8
        assert await count("instance", study_uid="1.1") == 4
        assert await count("instance", study_uid="1.1", series_uid="1.1.0") == 2
        assert await count("instance", study_uid="1.0", series_uid="1.1.0") == 0


class TestPages:
    async def test_studies_newest_first_and_stable(self, database: SQLite) -> None:
        days = ["20260101", "20260103", "", "20260102", "20260103"]
        await fill(database, [data_set(study=f"1.{n}", StudyDate=day) for n, day in enumerate(days)])
        seen: list[str] = []
        for offset in range(0, 6, 2):
            page = await search_page(database, Search("study", limit=2, offset=offset))
            seen += [match.study_uid for match in page.matches]
            assert page.more == (offset < 4)
        assert seen == ["1.4", "1.1", "1.3", "1.0", "1.2"]
        assert not (await search_page(database, Search("study", limit=0))).matches
        assert not (await search_page(database, Search("study", limit=10**30, offset=10**30))).matches

    async def test_series_and_instances_of_a_study_by_number(self, database: SQLite) -> None:
        for series, number in (("1.2.3.9", 1), ("1.2.3.1", 2)):
            for instance in (10, 9, 2):
                source = data_set(series=series, SeriesNumber=number, InstanceNumber=instance)
                await fill(database, [source])
        page = await search_page(database, Search("series", study_uid="1.2.3"))
        assert [match.series_uid for match in page.matches] == ["1.2.3.9", "1.2.3.1"]
        page = await search_page(database, Search("instance", study_uid="1.2.3"))
        numbers = [(match.series_uid[-1], values(match)["00200013"]["Value"][0]) for match in page.matches]
        assert numbers == [("9", 2), ("9", 9), ("9", 10), ("1", 2), ("1", 9), ("1", 10)]


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "filters",
    [
        [],
        [(tags.PATIENT_ID, "P1")],
        [(tags.PATIENT_ID, "P*")],
        [(tags.ACCESSION_NUMBER, "A1")],
        [(tags.ACCESSION_NUMBER, "A*")],
        [(tags.STUDY_DATE, "20260101-20260131")],
        [(tags.STUDY_DATE, "20260101")],
        [(tags.PATIENT_NAME, "Doe^J*")],
        [(tags.PATIENT_NAME, "Doe^John")],
        [(tags.STUDY_INSTANCE_UID, "1.2,1.3")],
        [(tags.PATIENT_NAME, "Doe*"), (tags.STUDY_DATE, "20260101-")],
    ],
)
async def test_an_index_serves_the_usual_searches(database: SQLite, filters: list[tuple[int, str]]) -> None:
    query, parameters = search(Search("study", filters, limit=25))
    plan = await database.fetch(Query("plan", f"EXPLAIN QUERY PLAN {query.sql}"), *parameters)
    steps = [row[3] for row in plan]
    assert not [step for step in steps if step.startswith("SCAN") and "USING INDEX studies_date" not in step], steps
    if filters:
        assert not [step for step in steps if step.startswith("SCAN")], steps
    else:
        assert not [step for step in steps if "TEMP B-TREE" in step], steps


class TestPlaces:
    """Pages that begin after a place in the order, as C-FIND streams them."""

    @pytest.mark.parametrize(
        "wanted",
        [
            *[Search("patient"), Search("study"), Search("series"), Search("instance")],
            *[Search("series", study_uid="1.1"), Search("instance", study_uid="1.1")],
        ],
    )
    async def test_every_order(self, database: SQLite, wanted: Search) -> None:
        sources = [
            data_set(
                study=f"1.{n}", series=f"1.{n}.{m}", PatientID=f"P{n}", StudyDate=f"2026010{n % 2}", SeriesNumber=-m
            )
            for n in range(4)
            for m in range(3)
            for _ in range(2)
        ]
        await fill(database, sources)
        whole = (await search_page(database, wanted)).matches
        assert len(whole) > 2
        seen: list[Match] = []
        while page := (
            await search_page(database, replace(wanted, limit=2, after=seen[-1].position if seen else None))
        ):
            seen += page.matches
            if not page.more:
                break
        assert [match.position for match in seen] == [match.position for match in whole]


class TestPatients:
    async def test_what_is_found_and_counted(self, database: SQLite) -> None:
        await fill(database, [data_set(study=f"1.{n}", PatientID=f"P{n % 2}", PatientName="Doe") for n in range(4)])
        await fill(database, [data_set(study="1.9", PatientID="Q", PatientName="Roe", PatientSex="F")])
        counts = frozenset({0x00201200, 0x00201202, 0x00201204})
        page = await search_page(database, Search("patient", [(tags.PATIENT_NAME, "doe*")], include=counts))
        found = [values(match) for match in page.matches]
        assert [each["00100020"]["Value"] for each in found] == [["P1"], ["P0"]]
        assert [found[0][f"{tag:08X}"]["Value"] for tag in sorted(counts)] == [[2], [2], [2]]
        assert "0020000D" not in found[0]
        found = [
            values(each) for each in (await search_page(database, Search("patient", [(tags.PATIENT_SEX, "F")]))).matches
        ]
        assert [each["00100020"]["Value"] for each in found] == [["Q"]]


class TestLowerLevels:
    @pytest.fixture(autouse=True)
    async def studies(self, database: SQLite) -> None:
        await fill(
            database,
            [
                data_set(study="1.1", series="1.1.1", Modality="CT", BodyPartExamined="HEAD", SOPClassUID="1.2.840.1"),
                data_set(study="1.1", series="1.1.2", Modality="MR", BodyPartExamined="KNEE", SOPClassUID="1.2.840.2"),
                data_set(study="1.2", series="1.2.1", Modality="CT", BodyPartExamined="KNEE", SOPClassUID="1.2.840.1"),
            ],
        )

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ([(tags.MODALITY, "CT"), (tags.BODY_PART_EXAMINED, "KNEE")], "2"),
            ([(tags.MODALITY, "MR")], "1"),
            ([(tags.SOP_CLASS_UID, "1.2.840.2")], "1"),
            ([(tags.SOP_CLASSES_IN_STUDY, "1.2.840.2\\1.2.840.3")], "1"),
            ([(tags.NUMBER_OF_STUDY_RELATED_SERIES, "2")], "1"),
            ([(tags.MODALITIES_IN_STUDY, "M?")], "1"),
        ],
    )
    async def test_something_below_matches(
        self, database: SQLite, filters: list[tuple[int, str]], expected: str
    ) -> None:
        page = await search_page(database, Search("study", filters, below=True))
        assert "".join(sorted(match.study_uid[-1] for match in page.matches)) == expected

    async def test_sop_classes(self, database: SQLite) -> None:
        include = frozenset({tags.SOP_CLASSES_IN_STUDY})
        page = await search_page(database, Search("study", [(tags.STUDY_INSTANCE_UID, "1.1")], include=include))
        assert sorted(values(page.matches[0])["00080062"]["Value"]) == ["1.2.840.1", "1.2.840.2"]

    @pytest.mark.parametrize(("level", "expected"), [("patient", 3), ("study", 3), ("series", 3), ("instance", 3)])
    async def test_the_instances_of_all_matches(self, database: SQLite, level: Level, expected: int) -> None:
        query, parameters = total(Search(level), 10)
        assert await database.fetch(query, *parameters) == [(expected,)]
        query, parameters = total(Search(level), 1)
        ((found,),) = await database.fetch(query, *parameters)
        assert found > 1


class TestNegotiated:
    async def test_fuzzy_names(self, database: SQLite) -> None:
        names = ["Meier^Hans", "Mayer^Johann", "Müller^Jürgen", "Smith^John"]
        await fill(
            database,
            [
                data_set(study=f"1.{n}", SpecificCharacterSet="ISO_IR 192", PatientName=name, PatientID=f"P{n}")
                for n, name in enumerate(names)
            ],
        )
        for key, expected in (("Meyer", "01"), ("hans maier", "0"), ("mueller", "2"), ("Smyth", "3"), ("M*", "012")):
            for level in ("study", "patient"):
                filters = [(tags.PATIENT_NAME, key)]
                found = (await search_page(database, Search(level, filters, fuzzy=True))).matches  # type: ignore[arg-type]
                assert len(found) == len(expected), key

    @pytest.mark.parametrize(
        ("date", "time", "expected"),
        [
            ("20260101-20260103", "1200-0800", "123"),
            ("20260101-20260103", "1200-", "1234"),
            ("20260102-", "1000-", "234"),
            ("-20260102", "-1000", "012"),
            ("20260102", "0900-1100", "2"),
            ("20260102", "", "2"),
        ],
    )
    async def test_combined_date_time(self, database: SQLite, date: str, time: str, expected: str) -> None:
        moments = [
            ("20260101", "1100"),
            ("20260101", "1300"),
            ("20260102", "1000"),
            ("20260103", "0800"),
            ("20260103", "0900"),
        ]
        sources = [data_set(study=f"1.{n}", StudyDate=day, StudyTime=hour) for n, (day, hour) in enumerate(moments)]
        await fill(database, sources)
        filters = [(tags.STUDY_DATE, date), (tags.STUDY_TIME, time)]
        page = await search_page(database, Search("study", filters, combined=True))
        assert "".join(sorted(match.study_uid[-1] for match in page.matches)) == expected
