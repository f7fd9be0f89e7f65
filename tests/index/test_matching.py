"""PS3.4 §C.2.2.2 against the real database: what each kind of matching finds among a few studies."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.database.sqlite import SQLite
from gateway.dicom.levels import Level
from gateway.errors import BadRequest
from gateway.index import attributes as tags
from gateway.index import matching
from gateway.index.search import Search
from gateway.retrieve.query import search_page
from tests.support.index import data_set, fill


async def found(database: SQLite, *filters: tuple[int, str], level: Level = "study") -> set[str]:
    """Last components of the Study Instance UIDs that match."""
    page = await search_page(database, Search(level, filters))
    return {match.study_uid.rpartition(".")[2] for match in page.matches}


class TestText:
    @pytest.fixture(autouse=True)
    async def studies(self, database: SQLite) -> None:
        values = ["A1", "a1", "A_1", "A%1", "A12", "B!1", "A*1", ""]
        await fill(database, [data_set(study=f"1.2.{n}", AccessionNumber=value) for n, value in enumerate(values)])

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("A1", "0"),
            (" A1 ", "0"),
            ("a1", "1"),
            ("A?1", "236"),
            ("A_1", "2"),
            ("A_*", "2"),
            ("A%*", "3"),
            ("?%1", "3"),
            ("A*", "02346"),
            ("A*1", "0236"),
            ("A**1", "0236"),
            ("*1", "012356"),
            ("*!?", "5"),
            ("?1", "01"),
            ("A1\\B!1", "05"),
            ("A12\\?_1", "24"),
            ("A12\\*", "01234567"),
            ("", "01234567"),
            ("*", "01234567"),
            ("**", "01234567"),
            ("nothing", ""),
            ("'; DROP TABLE studies; --", ""),
        ],
    )
    async def test_single_value_and_wild_card(self, database: SQLite, value: str, expected: str) -> None:
        """§C.2.2.2.1, §C.2.2.2.4: case counts; `%` and `_` are ordinary; a value without length is universal."""
        assert await found(database, (tags.ACCESSION_NUMBER, value)) == set(expected)


class TestPersonNames:
    @pytest.fixture(autouse=True)
    async def studies(self, database: SQLite) -> None:
        values = [
            "Doe^John",
            "DOE^JANE^^Dr",
            "Doe",
            "Müller^Jörg",
            "Muller^Jorg",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "Doering^Ann",
            "",
        ]
        sources = [
            data_set(
                study=f"1.2.{n}", SpecificCharacterSet="ISO_IR 192", PatientName=value, ReferringPhysicianName="Ref^X"
            )
            for n, value in enumerate(values)
        ]
        await fill(database, sources)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("doe^john", "0"),
            ("DOE^JOHN^^^", "0"),
            (" Doe ^ John ", "0"),
            ("doe", "2"),
            ("doe*", "0126"),
            ("doe^*", "012"),
            ("DOE^J*", "01"),
            ("*^J*", "0134"),
            ("d?e^john", "0"),
            ("MÜLLER*", "3"),
            ("mu\u0308ller*", "3"),
            ("muller*", "4"),
            ("m?ller*", "34"),
            ("山田*", "5"),
            ("yamada^tarou", "5"),
            ("yamada*=山田*", "5"),
            ("yamada*=田中*", ""),
            ("=山田^太郎", "5"),
            ("*ろう", "5"),
            ("doe^john\\山田*", "05"),
            ("", "01234567"),
            ("*", "01234567"),
            ("*^*", "01234567"),
            ("ref^x", ""),
        ],
    )
    async def test_any_group_without_regard_to_case(self, database: SQLite, value: str, expected: str) -> None:
        assert await found(database, (tags.PATIENT_NAME, value)) == set(expected)

    async def test_names_of_different_people_are_apart(self, database: SQLite) -> None:
        assert len(await found(database, (tags.REFERRING_PHYSICIAN_NAME, "REF^X"))) == 8
        assert await found(database, (tags.REFERRING_PHYSICIAN_NAME, "ref*"), (tags.PATIENT_NAME, "doe")) == {"2"}


class TestDatesAndTimes:
    @pytest.fixture(autouse=True)
    async def studies(self, database: SQLite) -> None:
        values = [("20260101", "101530"), ("20260131", "1015"), ("20260201", "235959.5"), ("", ""), ("19991231", "10")]
        sources = []
        for n, (date, time) in enumerate(values):
            sources.append(data_set(study=f"1.2.{n}", StudyDate=date, StudyTime=time))
        await fill(database, sources)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("20260101", "0"),
            ("2026.01.01", "0"),
            ("20260101-20260131", "01"),
            ("20260102 - 20260131", "1"),
            ("-20260101", "04"),
            ("20260131-", "12"),
            ("20260101-20260101", "0"),
            ("20260201-20260101", ""),
            ("", "01234"),
            ("*", "01234"),
        ],
    )
    async def test_dates(self, database: SQLite, value: str, expected: str) -> None:
        """§C.2.2.2.5: ends included; an absent date is in no range."""
        assert await found(database, (tags.STUDY_DATE, value)) == set(expected)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("101530", "0"),
            ("101530.000000", "0"),
            ("1015", "01"),
            ("10", "014"),
            ("1015-1015", "01"),
            ("-1015", "014"),
            ("10:15:30-", "02"),
            ("235959-235959", "2"),
            ("235959.6-", ""),
        ],
    )
    async def test_times(self, database: SQLite, value: str, expected: str) -> None:
        """A time with less precision means all of it, as a value and as an end of a range."""
        assert await found(database, (tags.STUDY_TIME, value)) == set(expected)

    @pytest.mark.parametrize(
        ("tag", "value"),
        [
            (tags.STUDY_DATE, "2026"),
            (tags.STUDY_DATE, "-"),
            (tags.STUDY_DATE, "20260101-x"),
            (tags.STUDY_DATE, "2026-01-01"),
            (tags.STUDY_DATE, "2026*"),
            (tags.STUDY_TIME, "noon"),
            (tags.STUDY_TIME, "1-2"),
        ],
    )
    async def test_nonsense_is_said(self, database: SQLite, tag: int, value: str) -> None:
        with pytest.raises(BadRequest, match=rf"\(0008,{tag & 0xFFFF:04X}\).*{re.escape(repr(value))}"):
            await found(database, (tag, value))


class TestCodesNumbersAndUids:
    @pytest.fixture(autouse=True)
    async def studies(self, database: SQLite) -> None:
        await fill(
            database,
            [
                data_set(study="1.2.0", series="1.2.0.1", Modality="CT", SeriesNumber=7),
                data_set(study="1.2.0", series="1.2.0.2", Modality="MR", SeriesNumber=-8),
                data_set(study="1.2.1", Modality="CTX", PatientSex="M"),
                data_set(study="1.2.2", Modality="US", PatientSex="F"),
                data_set(study="1.2.3", Modality=""),
            ],
        )

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("CT", "0"),
            ("MR", "0"),
            ("CT\\US", "02"),
            ("CT,US", "02"),
            ("C*", "01"),
            ("ct", ""),
            ("", "0123"),
            ("*", "0123"),
            ("_T", ""),
            ("XX", ""),
        ],
    )
    async def test_modalities_in_study(self, database: SQLite, value: str, expected: str) -> None:
        assert await found(database, (tags.MODALITIES_IN_STUDY, value)) == set(expected)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("1.2.1", "1"),
            ("1.2.1,1.2.2", "12"),
            ("1.2.1\\1.2.2\\9", "12"),
            ("1.2.1,", "1"),
            ("", "0123"),
            ("1.2.*", ""),
            (" 1.2.1 ", "1"),
        ],
    )
    async def test_lists_of_uids(self, database: SQLite, value: str, expected: str) -> None:
        """§C.2.2.2.2; a UID knows no wild cards."""
        assert await found(database, (tags.STUDY_INSTANCE_UID, value)) == set(expected)

    @pytest.mark.parametrize(("value", "count"), [("7", 1), ("007", 1), ("-8", 1), ("7\\-8", 2), ("", 5), ("*", 5)])
    async def test_numbers(self, database: SQLite, value: str, count: int) -> None:
        page = await search_page(database, Search("series", [(tags.SERIES_NUMBER, value)]))
        assert len(page.matches) == count

    async def test_a_code(self, database: SQLite) -> None:
        assert await found(database, (tags.PATIENT_SEX, "F,O")) == {"2"}

    @pytest.mark.parametrize(
        ("tag", "value"),
        [
            (tags.SERIES_NUMBER, "1*"),
            (tags.SERIES_NUMBER, "9" * 13),
            (tags.PATIENT_ID, "x" * 1025),
            (tags.PATIENT_ID, "x\\" * 100),
            (tags.STUDY_INSTANCE_UID, "1," * 2000),
        ],
    )
    async def test_what_is_too_much(self, database: SQLite, tag: int, value: str) -> None:
        with pytest.raises(BadRequest):
            await found(database, (tag, value), level="series")


class TestRequests:
    async def test_items_of_the_request_attributes_sequence(self, database: SQLite) -> None:
        from pydicom.dataset import Dataset

        items = []
        for step, procedure in (("S1", "R1"), ("S2", "R2")):
            item = Dataset()
            item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
            items.append(item)
        await fill(database, [data_set(study="1.2.0", RequestAttributesSequence=items), data_set(study="1.2.1")])
        for tag, value, expected in [
            (tags.SCHEDULED_STEP_ID, "S2", {"0"}),
            (tags.SCHEDULED_STEP_ID, "R2", set()),
            (tags.REQUESTED_PROCEDURE_ID, "R?", {"0"}),
            (tags.REQUESTED_PROCEDURE_ID, "R", set()),
        ]:
            assert await found(database, (tag, value), level="series") == expected


MATCHERS = [
    matching.text,
    matching.code,
    matching.uid,
    matching.date,
    matching.time,
    matching.integer,
    matching.listed,
    matching.name(tags.PATIENT_NAME),
]


@example(matching.text, "A\\*")
@given(st.sampled_from(MATCHERS), st.text(max_size=40) | st.from_regex(r"[0-9.\-*?\\,^=%_' ]{0,40}", fullmatch=True))
def test_values_reach_sql_as_parameters_only(matcher: matching.Matcher, value: str) -> None:
    """Whatever the value: a condition of our own words and numbers, as many parameters as it names, or BadRequest."""
    parameters = matching.Parameters()
    try:
        condition = matcher("t.x", value, parameters)
    except BadRequest:
        return
    if condition is None:
        assert parameters.values == []
        return
    assert [int(n) for n in re.findall(r"\$(\d+)", condition)] == list(range(1, len(parameters.values) + 1))
    words = set(re.findall(r"[A-Za-z_.]+", re.sub(r"\$\d+", "", condition)))
    ours = {"t.x", "t.id", "n.name", "n.tag", "n.study", "n", "person_names"}
    assert words <= ours | {"AND", "OR", "IN", "LIKE", "ESCAPE", "SELECT", "FROM", "WHERE"}
