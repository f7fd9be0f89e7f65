"""What stands for what: the table, UIDs, pseudonyms, dates, text."""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.deidentify import DEIDENTIFICATION_OPTIONS, Deidentify, Rectangles
from gateway.dicom.uids import is_valid_uid
from gateway.edit.deid import dates, private, table
from gateway.edit.deid.keyed import Keyed
from gateway.edit.deid.profile import Profile
from gateway.edit.deid.pseudonyms import read_pseudonyms
from gateway.edit.deid.table import Action
from gateway.errors import ConfigurationError

KEY = b"0123456789abcdef"


class TestTable:
    """PS3.15 Table E.1-1."""

    def test_it_is_whole(self) -> None:
        assert len(table.rows()) == 652
        assert set(table.OPTIONS) == set(DEIDENTIFICATION_OPTIONS)
        assert len(private.standard()) == 479

    @pytest.mark.parametrize(
        ("tag", "basic", "options"),
        [
            (0x00100010, "Z", {}),
            (0x00100020, "Z/D", {}),
            (0x0020000D, "U", {"uids": "K"}),
            (0x00081030, "X", {"descriptors": "C"}),
            (0x00080020, "Z", {"full-dates": "K", "modified-dates": "C"}),
            (0x00181000, "X/Z/D", {"device": "K"}),
            (0x00080080, "X/Z/D", {"institution": "K"}),
            (0x00101010, "X", {"patient": "K"}),
            (0x00102110, "X", {"patient": "C", "descriptors": "C"}),
            (0x0040A730, "D", {"structure": "C"}),
            (0x00700001, "D", {"graphics": "C"}),
            (0x00082112, "X/Z/U*", {"uids": "K"}),
            (0x300C0127, "D", {"device": "K", "full-dates": "K", "modified-dates": "C"}),
        ],
    )
    def test_rows_are_as_printed(self, tag: int, basic: str, options: dict[str, str]) -> None:
        assert table.rows()[tag] == (basic, options)

    def test_a_choice_becomes_what_is_valid_for_every_type(self) -> None:
        actions = table.resolve(())
        resolved = {"Z/D": "D", "X/D": "D", "X/Z/D": "D", "X/Z": "Z", "X/Z/U*": "U"}
        for tag, (basic, _options) in table.rows().items():
            assert actions[tag] is Action(resolved.get(basic, basic))

    def test_an_option_changes_its_column_alone(self) -> None:
        basic = table.resolve(())
        for option, (column, _code, _meaning) in table.OPTIONS.items():
            for tag, action in table.resolve((option,)).items():
                said = table.rows()[tag][1].get(column)
                expected = {"K": Action.KEEP, "C": Action.CLEAN, None: basic[tag]}[said]
                assert action is (Action.SHIFT if column == "modified-dates" and said else expected)

    def test_where_dates_move_those_of_a_retained_device_move_too(self) -> None:
        assert table.resolve(("retain-device-identity", "retain-modified-dates"))[0x00181200] is Action.SHIFT


class TestKeyed:
    @given(st.text("0123456789.", min_size=1, max_size=64))
    @settings(deadline=None)
    def test_a_uid_is_valid_and_always_the_same(self, original: str) -> None:
        uid = Keyed(KEY).uid(original)
        assert is_valid_uid(uid)
        assert uid == Keyed(KEY).uid(original)
        assert uid != Keyed(KEY[::-1]).uid(original)
        assert uuid.UUID(int=int(uid.removeprefix("2.25."))).variant == uuid.RFC_4122

    def test_pseudonyms_differ_by_key_and_by_what_they_stand_for(self) -> None:
        one, other = Keyed(KEY), Keyed(KEY[::-1])
        made = {
            one.pseudonym("PatientID", "1"),
            one.pseudonym("AccessionNumber", "1"),
            other.pseudonym("PatientID", "1"),
        }
        assert len(made) == 3
        assert all(len(each) == 12 and each.isalnum() for each in made)

    def test_a_key_that_can_be_guessed_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="16 or more"):
            Keyed(b"secret")


class TestDates:
    """PS3.15 E.3.6."""

    @pytest.mark.parametrize(
        ("text", "vr", "moved"),
        [
            ("20200301", "DA", "20200229"),
            ("2020.03.01", "DA", "2020.02.29"),
            ("20200301\\20200101", "DA", "20200229\\20191231"),
            ("20200301101112.5+0100", "DT", "20200229101112.5+0100"),
            ("2020030110", "DT", "2020022910"),
            ("202003", "DT", "202003"),
            ("2020", "DT", "2020"),
            ("101112.123", "TM", "101112.123"),
            ("10:11:12", "TM", "10:11:12"),
            ("at ten", "TM", None),
            ("+0100", "SH", "+0100"),
            ("Berlin", "SH", None),
            ("", "DA", ""),
            ("20201301", "DA", None),
            ("yesterday", "DT", None),
            ("00010101", "DA", None),
        ],
    )
    def test_moved_by_a_day(self, text: str, vr: str, moved: str | None) -> None:
        assert dates.moved(text, vr, 1) == moved

    @given(st.dates(min_value=date(1900, 1, 1)), st.integers(1, 36500))
    @settings(deadline=None)
    def test_a_date_and_a_date_with_time_move_alike(self, day: date, days: int) -> None:
        text = f"{day:%Y%m%d}"
        assert dates.moved(text + "1200", "DT", days) == f"{dates.moved(text, 'DA', days)}1200"


class TestConfiguration:
    def test_pseudonyms_are_read(self, tmp_path: Path) -> None:
        file = tmp_path / "p.csv"
        file.write_text("attribute,original,pseudonym\nPatientID,123,SUBJ-1\n", "utf-8")
        assert read_pseudonyms(file, "here") == {0x00100020: {"123": "SUBJ-1"}}

    @pytest.mark.parametrize(
        ("rows", "why"),
        [
            ("a,b\n", "line 1: the columns"),
            ("attribute,original,pseudonym\nPatientID,1\n", "line 2: 2 columns"),
            ("attribute,original,pseudonym\nPatientIDs,1,2\n", "line 2: 'PatientIDs'"),
            ("attribute,original,pseudonym\nRows,1,2\n", "'Rows'"),
            ("attribute,original,pseudonym\nPatientID,1,a\\b\n", "backslash"),
            ("attribute,original,pseudonym\nPatientID,1,2\nPatientID,1,3\n", "line 3: PatientID '1' has another"),
        ],
    )
    def test_a_wrong_line_is_named(self, rows: str, why: str, tmp_path: Path) -> None:
        file = tmp_path / "p.csv"
        file.write_text(rows, "utf-8")
        with pytest.raises(ConfigurationError) as error:
            read_pseudonyms(file, "changes.x.deidentify.pseudonyms")
        assert why in str(error.value)
        assert str(error.value).startswith("changes.x.deidentify.pseudonyms")

    @pytest.mark.parametrize(
        ("section", "why"),
        [
            (Deidentify(options=("retain-full-dates", "retain-modified-dates")), "exclude"),
            (Deidentify(safe_private={"A": ("0019,10",)}), "retain-safe-private"),
            (Deidentify(options=("retain-safe-private",), safe_private={"A": ("0018,10",)}), "0019,10"),
            (Deidentify(shift_days=0), "1 to 36500"),
            (Deidentify(rectangles=(Rectangles(match={"Maker": "A"}),)), "entry 1: match: 'Maker'"),
            (Deidentify(rectangles=(Rectangles(match={}),)), "match is empty"),
            (Deidentify(rectangles=(Rectangles(match={"Rows": "1"}, areas=((0, 0, 0, 1),)),)), "is not a rectangle"),
            (Deidentify(sealed_for=("/nowhere.pem",)), "no certificate"),
            (Deidentify(pseudonyms="/nowhere.csv"), "cannot be read"),
        ],
    )
    def test_a_wrong_setting_is_named(self, section: Deidentify, why: str) -> None:
        with pytest.raises(ConfigurationError) as error:
            Profile.build(section, KEY, "changes.x.deidentify")
        assert why in str(error.value)
        assert str(error.value).startswith("changes.x.deidentify.")
