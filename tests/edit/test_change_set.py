"""Change sets: what each step makes of an object, read back by pydicom; what nobody changed stays, byte for byte."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.config.edits import Changes
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.edit.change_set import ChangeSet, Received
from gateway.edit.edited import Edited
from gateway.errors import ConfigurationError, DataSetError, EditError
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    data_sets,
    decode,
    encode,
    instance,
)

KEY = "0123456789abcdef"
NATIVE = [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]


def change_set(*steps: dict[str, Any], **section: Any) -> ChangeSet:
    return ChangeSet.build("test", msgspec.convert({"steps": steps, **section}, Changes))


def apply(data: bytes, syntax: str, *steps: dict[str, Any], **section: Any) -> Edited:
    read = lambda offset, length: data[offset : offset + length]  # noqa: E731
    return change_set(*steps, **section).apply(read, 0, len(data), syntax, received=Received("CT1", 1.7e9))


def whole(edited: Edited) -> bytes:
    data = b"".join(edited.read(at, 1000) for at in range(0, edited.length, 1000))
    assert len(data) == edited.length
    edited.close()
    return data


def changed(data_set: Dataset, *steps: dict[str, Any], syntax: str = EXPLICIT, **section: Any) -> Dataset:
    edited = apply(encode(data_set, syntax), syntax, *steps, **section)
    found = decode(whole(edited), edited.transfer_syntax_uid)
    assert (found.SOPInstanceUID, found.StudyInstanceUID) == (edited.sop_instance_uid, edited.study_instance_uid)
    return found


def item(**values: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def step(do: str, attribute: str = "", **more: Any) -> dict[str, Any]:
    return {"do": do, **({"attribute": attribute} if attribute else {}), **more}


class TestSteps:
    @pytest.mark.parametrize("syntax", NATIVE)
    def test_a_value_is_set_and_all_else_stays(self, syntax: str) -> None:
        before = instance(PatientName="Old^Name", PatientComments="c")
        after = changed(
            before,
            step("set", "PatientName", value="New^Name"),
            step("set", "InstitutionName", value="Here"),
            step("set", "Rows", value="16"),
            syntax=syntax,
        )
        expected = decode(encode(before, syntax), syntax)
        expected.PatientName, expected.InstitutionName = "New^Name", "Here"
        assert after == expected

    def test_a_path_leads_into_every_item_or_one(self) -> None:
        sequence = Sequence([item(Modality="CT"), item(Modality="MR")])
        data_set = instance(RequestAttributesSequence=sequence)
        after = changed(data_set, step("set", "RequestAttributesSequence[1].Modality", value="US"))
        assert [each.Modality for each in after.RequestAttributesSequence] == ["CT", "US"]
        after = changed(data_set, step("remove", "RequestAttributesSequence.Modality"))
        assert all("Modality" not in each for each in after.RequestAttributesSequence)

    def test_everywhere_is_where_it_stands(self) -> None:
        data_set = instance(PatientID="A1", ReferencedStudySequence=Sequence([item(PatientID="B2"), item()]))
        after = changed(data_set, step("prefix", "*.PatientID", text="X-"))
        assert after.PatientID == "X-A1"
        first, second = after.ReferencedStudySequence
        assert first.PatientID == "X-B2"
        assert "PatientID" not in second

    def test_replace_map_copy_and_hash(self) -> None:
        data_set = instance(PatientID="123-45", StationName="ct\\mr", AccessionNumber="A")
        after = changed(
            data_set,
            step("copy", "OtherPatientNames", source="PatientID"),
            step("replace", "PatientID", pattern="([0-9]+)-([0-9]+)", replacement=r"\2/\1"),
            step("map", "StationName", table={"ct": "CT1"}, unlisted="empty"),
            step("hash", "AccessionNumber"),
            key=KEY,
        )
        assert after.OtherPatientNames == "123-45"
        assert after.PatientID == "45/123"
        assert list(after.StationName) == ["CT1", ""]
        assert len(after.AccessionNumber) == 12

    def test_what_is_found_may_become_any_letters(self) -> None:
        data_set = instance(PatientName="Muller^A", SpecificCharacterSet="ISO_IR 100")
        after = changed(data_set, step("replace", "PatientName", pattern="(M)u", replacement=r"\1ü"))
        assert str(after.PatientName) == "Müller^A"

    def test_a_value_that_the_table_lacks_is_refused_with_its_place(self) -> None:
        with pytest.raises(EditError, match="PatientID: the table does not list its value"):
            changed(instance(PatientID="P"), step("map", "PatientID", table={}, unlisted="refuse"))

    def test_private_attributes_by_their_creator(self) -> None:
        data_set = instance()
        block = data_set.private_block(0x0019, "ACME", create=True)
        block.add_new(0x10, "LO", "secret")
        after = changed(data_set, step("set", "(0019,10,ACME)", value="new"), step("set", "(0019,11,OTHER)", value="o"))
        assert after.private_block(0x0019, "ACME")[0x10].value == "new"
        assert after.private_block(0x0019, "OTHER")[0x11].value == "o"
        after = changed(data_set, step("remove-private"))
        assert not any(element.tag.is_private for element in after.iterall())

    def test_new_uids_are_the_same_wherever_they_stand_and_every_time(self) -> None:
        data_set = instance(SourceImageSequence=Sequence([item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2")]))
        data_set.SourceImageSequence[0].ReferencedSOPInstanceUID = data_set.SOPInstanceUID
        after = changed(data_set, step("new-uids"), key=KEY)
        assert after == changed(data_set, step("new-uids"), key=KEY)
        assert after.SOPInstanceUID != data_set.SOPInstanceUID
        assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == after.SOPInstanceUID
        assert after.SOPClassUID == data_set.SOPClassUID
        assert after.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"

    def test_dates_of_a_patient_keep_their_distance(self) -> None:
        after = changed(
            instance(PatientID="P", StudyDate="20260110", AcquisitionDateTime="20260112080000"),
            step("shift-dates"),
            key=KEY,
        )
        assert after.StudyDate < "20260110"
        assert after.AcquisitionDateTime[8:] == "080000"
        days = [datetime.strptime(text[:8], "%Y%m%d") for text in (after.StudyDate, after.AcquisitionDateTime)]
        assert days[1] - days[0] == timedelta(days=2)


def test_group_lengths_go_where_something_changes() -> None:
    """PS3.5 §7.2: retired, and wrong by then."""
    data = b"\x08\0\0\0UL\x04\0\xff\0\0\0" + encode(instance(PatientID="P"))
    assert whole(apply(data, EXPLICIT, step("remove", "StationName"))) == data
    after = decode(whole(apply(data, EXPLICIT, step("set", "PatientID", value="Q"))))
    assert (after.PatientID, 0x00080000 in after) == ("Q", False)


class TestText:
    def test_all_text_becomes_utf_8(self) -> None:
        data_set = instance(SpecificCharacterSet="ISO_IR 100", PatientName="Äneas^Ü")
        data_set.RequestAttributesSequence = Sequence([item(RequestedProcedureDescription="Schädel")])
        after = changed(data_set, step("to-utf-8"), original_attributes=True)
        assert after.SpecificCharacterSet == "ISO_IR 192"
        assert str(after.PatientName) == "Äneas^Ü"
        assert after.RequestAttributesSequence[0].RequestedProcedureDescription == "Schädel"
        original = after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
        assert original.SpecificCharacterSet == "ISO_IR 100"
        assert str(original.PatientName) == "Äneas^Ü"

    def test_letters_that_the_character_set_has_not_change_it(self) -> None:
        data_set = instance(SpecificCharacterSet="ISO_IR 100", PatientName="Äneas", StudyDescription="Bein groß")
        after = changed(data_set, step("set", "PatientName", value="Ωmega"))
        assert (str(after.PatientName), after.StudyDescription) == ("Ωmega", "Bein groß")
        assert after.SpecificCharacterSet == "ISO_IR 192"
        assert changed(data_set, step("set", "PatientName", value="Ö")).SpecificCharacterSet == "ISO_IR 100"

    @pytest.mark.case("case 04 modified text is in its character set, with its escape sequences")
    def test_under_code_extensions_it_keeps_its_character_set(self) -> None:
        data_set = instance(SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName="Hong^Gildong=洪^吉洞=홍^길동")
        after = changed(data_set, step("set", "StudyDescription", value="두부 CT"))
        assert list(after.SpecificCharacterSet) == ["", "ISO 2022 IR 149"]
        assert after.StudyDescription == "두부 CT"
        after = changed(data_set, step("prefix", "StudyDescription", text="x"), step("set", "PatientName", value="뷁"))
        assert (after.SpecificCharacterSet, str(after.PatientName)) == ("ISO_IR 192", "뷁")

    def test_a_value_that_is_too_long_is_refused(self) -> None:
        with pytest.raises(EditError, match=r"AccessionNumber: .* SH holds 16"):
            changed(instance(AccessionNumber="1234567890"), step("prefix", "AccessionNumber", text="X" * 8))


class TestOriginalAttributes:
    """PS3.3 C.12.1.1.9"""

    @pytest.mark.parametrize("syntax", NATIVE)
    def test_they_say_what_was_there(self, syntax: str) -> None:
        data_set = instance(PatientID="P1", RequestAttributesSequence=Sequence([item(Modality="CT")]))
        first = changed(data_set, step("set", "PatientID", value="P2"), syntax=syntax, original_attributes=True)
        after = changed(
            first,
            step("set", "PatientID", value="P3"),
            step("remove", "RequestAttributesSequence.Modality"),
            original_attributes=True,
        )
        earlier, later = after.OriginalAttributesSequence
        assert earlier.ModifiedAttributesSequence[0].PatientID == "P1"
        assert later.ModifiedAttributesSequence[0].PatientID == "P2"
        assert later.ModifiedAttributesSequence[0].RequestAttributesSequence[0].Modality == "CT"
        assert later.SourceOfPreviousValues == "CT1"
        assert later.AttributeModificationDateTime == "20231114221320+0000"
        assert later.ReasonForTheAttributeModification == "COERCE"
        assert (after.PatientID, len(after.RequestAttributesSequence[0])) == ("P3", 0)

    def test_only_where_asked_for_and_never_where_the_set_hides(self) -> None:
        assert "OriginalAttributesSequence" not in changed(instance(PatientID="P"), step("remove", "PatientID"))
        with pytest.raises(ConfigurationError, match=r"changes\.test\.original_attributes"):
            change_set(step("new-uids"), key=KEY, original_attributes=True)


class TestSettings:
    @pytest.mark.case("rules with invalid values are refused")
    @pytest.mark.parametrize(
        ("steps", "place"),
        [
            ([step("set", "PatientNam", value="x")], r"changes\.test\.steps\[0\]\.attribute: 'PatientNam'"),
            ([step("hash", "PatientID")], r"changes\.test\.key: .*key_file"),
            ([step("replace", "PatientID", pattern="(")], r"steps\[0\]\.pattern"),
            ([step("replace", "PatientID", pattern="(a)", replacement=r"\2")], r"steps\[0\]\.replacement: .* 1 groups"),
            ([step("replace", "PatientID", pattern="a", replacement="x\\")], r"steps\[0\]\.replacement"),
            ([step("remove", "SOPInstanceUID")], "is not an instance"),
            ([step("set", "PixelData", value="x")], "cannot be changed by a step"),
            ([step("set", "Rows", value="many")], "not a value of US"),
            ([step("set", "StudyDate", value="2026-01-01")], r"steps\[0\]\.value: '2026-01-01' is no DA"),
            ([step("set", "StudyDate", value="20261399")], "a day as YYYYMMDD"),
            ([step("set", "Modality", value="ct")], "capital letters"),
            ([step("set", "*.ReferencedSOPInstanceUID", value="1.02")], "leading zeros"),
            ([step("set", "AccessionNumber", value="x" * 17)], "SH holds 16"),
            ([step("map", "PatientSex", table={"m": "male"})], r"steps\[0\]\.table: 'male' is no CS"),
        ],
    )
    def test_problems_name_their_place(self, steps: list[dict[str, Any]], place: str) -> None:
        with pytest.raises(ConfigurationError, match=place):
            change_set(*steps)

    @pytest.mark.case("what rules make of values is checked too, what was there before is not")
    def test_values_that_come_of_others(self) -> None:
        for one, why in (
            (step("prefix", "StudyDate", text="x"), "StudyDate: 'x20260102' is no DA"),
            (step("copy", "StudyDate", source="PatientName"), "StudyDate: 'Doe.Jane' is no DA"),
            (step("replace", "StudyTime", pattern="10", replacement="10:"), "StudyTime: '10:1112' is no TM"),
        ):
            with pytest.raises(EditError, match=why):
                changed(instance(), one)
        with pytest.raises(ConfigurationError, match="DA, which cannot hold the letters"):
            change_set(step("hash", "PatientBirthDate"), key=KEY)
        data = encode(instance(ImageType="ORIGINAL\\PRIMARY")).replace(b"ORIGINAL", b"original")
        edited = apply(data, EXPLICIT, step("map", "ImageType", table={"PRIMARY": "SECONDARY"}))
        assert b"original\\SECONDARY" in whole(edited)
        old = encode(instance()).replace(b"DA\x08\x0020260102", b"DA\x0a\x002026.01.02")
        shifted = whole(apply(old, EXPLICIT, step("shift-dates"), key=KEY))
        assert b"2026.01.02" not in shifted
        assert b"DA\x0a\x0020" in shifted

    def test_the_version_follows_what_is_said_and_the_key(self) -> None:
        one = step("hash", "PatientID")
        versions = {
            change_set(one, key=KEY).version,
            change_set(one, key=KEY + "x").version,
            change_set(one, one, key=KEY).version,
        }
        assert len(versions) == 3
        assert change_set(one, key=KEY).version in versions


class TestTransferSyntax:
    def test_the_result_is_in_another_without_loss(self) -> None:
        edited = apply(encode(instance()), EXPLICIT, transfer_syntax="1.2.840.10008.1.2.5")
        assert edited.transfer_syntax_uid == "1.2.840.10008.1.2.5"
        whole(edited)

    def test_loss_makes_another_instance_that_says_so(self) -> None:
        edited = apply(
            encode(instance(rows=64, columns=64)),
            EXPLICIT,
            transfer_syntax="1.2.840.10008.1.2.4.91",
            quality=50,
            key=KEY,
        )
        after = decode(whole(edited), EXPLICIT)
        assert after.SOPInstanceUID == edited.sop_instance_uid != instance().SOPInstanceUID
        assert after.LossyImageCompression == "01"


EVERY = [
    step("set", "PatientName", value="Changed^Name"),
    step("remove", "*.StudyDescription"),
    step("remove-private"),
    step("shift-dates"),
    step("new-uids"),
    step("hash", "*.PatientID"),
]


class TestEveryFile:
    def test_nothing_said_is_nothing_changed(self) -> None:
        for path, syntax, data in data_sets():
            if syntax in TRANSFER_SYNTAXES:
                try:
                    edited = apply(data, syntax, step("remove", "(0099,10,NOBODY)"))
                except (DataSetError, EditError):
                    continue
                assert whole(edited) == data, path

    @pytest.mark.filterwarnings("ignore")  # pydicom's, about values of its own files
    def test_the_result_reads_as_meant_and_has_the_same_pixels(self) -> None:
        count = 0
        for path, syntax, data in data_sets():
            if syntax not in TRANSFER_SYNTAXES:
                continue
            try:
                edited = apply(data, syntax, *EVERY, key=KEY)
            except (DataSetError, EditError):
                continue
            after = decode(whole(edited), edited.transfer_syntax_uid)
            before = decode(data, syntax)
            assert after.get("PatientName") == "Changed^Name", path
            assert not any(element.tag.is_private for element in after.iterall()), path
            assert after.get("PixelData") == before.get("PixelData"), path
            kept = {element.tag for element in before} - {0x00081030}
            kept = {tag for tag in kept if not tag.is_private and tag.element}
            assert kept <= {element.tag for element in after}, path
            count += 1
        assert count > 100


@given(st.binary(max_size=200), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_mutated_input_is_an_error_or_an_object(junk: bytes, at: int) -> None:
    data = encode(instance())
    place = len(data) * at // 4
    mutated = data[:place] + junk + data[place + len(junk) :]
    try:
        whole(apply(mutated, EXPLICIT, *EVERY, key=KEY))
    except (DataSetError, EditError):
        pass


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\\\"), max_size=64),
    st.sampled_from(NATIVE),
    st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "GB18030", "\\\\ISO 2022 IR 87"]),
)
@settings(deadline=None, max_examples=200)
def test_what_is_set_is_what_is_read(text: str, syntax: str, charset: str) -> None:
    data_set = instance(SpecificCharacterSet=charset, StudyDescription="plain")
    after = changed(data_set, step("set", "InstitutionName", value=text), syntax=syntax)
    assert (after.InstitutionName or "", after.StudyDescription) == (text, "plain")


def test_lengths_that_lie_and_many_items() -> None:
    lie = encode(instance())[:-300] + b"\x09\x00\x10\x10OB\0\0\xfe\xff\xff\xff"
    with pytest.raises(DataSetError, match="at offset"):
        apply(lie, EXPLICIT, step("remove-private"))
    data_set = instance(ReferencedStudySequence=Sequence([item(PatientID=str(number)) for number in range(10_000)]))
    after = changed(data_set, step("prefix", "*.PatientID", text="X"))
    assert {each.PatientID[0] for each in after.ReferencedStudySequence} == {"X"}


def test_many_items_take_a_moment() -> None:
    """Time grows with what there is, not with its square: anybody may send this."""
    one = b"\xfe\xff\x00\xe0\x12\0\0\0" + b"\x10\0\x20\0LO\x02\0P1" + b"\x08\0\x60\0CS\0\0"
    items = one * 30_000
    head = encode(instance(), EXPLICIT)
    at = head.index(b"\x10\0\x10\0PN")
    sequence = b"\x08\0\x10\x11SQ\0\0" + len(items).to_bytes(4, "little") + items
    data = head[:at] + sequence + head[at:]
    edited = apply(data, EXPLICIT, step("prefix", "*.PatientID", text="X"))
    assert edited.length > len(data)
    assert len(edited.changes) == 10_000
    whole(edited)


def test_many_elements_take_a_moment() -> None:
    elements = [b"\x09\0" + number.to_bytes(2, "little") + b"DA\x08\x0020200101" for number in range(0x1000, 0xF000)]
    head = encode(instance(), EXPLICIT)
    at = head.index(b"\x10\0\x10\0PN")
    data = head[:at] + b"".join(elements) + head[at:]
    shifted = apply(data, EXPLICIT, step("shift-dates"), key=KEY)
    assert b"20200101" not in whole(shifted)[at : at + 1000]
    assert len(whole(apply(data, EXPLICIT, step("shift-dates"), step("remove-private"), key=KEY))) < len(head) + 100
