"""An object while it is changed: finding attributes, their text in its character set, and what is told of changes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.dicom.uids import transfer_syntax
from gateway.edit import draft as module
from gateway.edit.draft import Draft, Level, Target
from gateway.edit.tree import Node, Tree
from gateway.errors import DataSetError, EditError
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, decode, encode, instance

NAME, PATIENT_ID, COMMENTS, ROWS = 0x00100010, 0x00100020, 0x00104000, 0x00280010


def draft_of(data_set: Dataset, syntax: str = EXPLICIT) -> Draft:
    data = encode(data_set, syntax)
    return Draft(Tree(lambda offset, length: data[offset : offset + length], 0, len(data), transfer_syntax(syntax)))


def result(draft: Draft, syntax: str = EXPLICIT) -> Dataset:
    segments = draft.tree.segments()
    return decode(segments.read(0, segments.length), syntax)


def item(**values: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def found(draft: Draft, text: str) -> list[str]:
    return [draft.text(level, node).strip() for level, node in draft.found(Target.parse(text))]


def only(draft: Draft, text: str) -> tuple[Level, Node]:
    (one,) = draft.found(Target.parse(text))
    return one


def set_text(draft: Draft, path: str, vr: str, text: str) -> None:
    for level, step in list(draft.places(Target.parse(path))):
        draft.set_text(level, draft.reserved(level, step), vr, text, "test")


def two_items() -> Dataset:
    return instance(
        PatientID="top",
        OtherPatientIDsSequence=Sequence([item(PatientID="first"), item(PatientID="second", IssuerOfPatientID="they")]),
    )


class TestFinding:
    @pytest.mark.parametrize(
        ("path", "texts"),
        [
            ("PatientID", ["top"]),
            ("OtherPatientIDsSequence.PatientID", ["first", "second"]),
            ("OtherPatientIDsSequence[1].PatientID", ["second"]),
            ("OtherPatientIDsSequence[2].PatientID", []),
            ("OtherPatientIDsSequence.IssuerOfPatientID", ["they"]),
            ("PatientComments", []),
            ("PatientID.PatientID", []),
        ],
    )
    def test_by_path(self, path: str, texts: list[str]) -> None:
        assert found(draft_of(two_items()), path) == texts

    def test_everywhere(self) -> None:
        assert sorted(found(draft_of(two_items()), "*.PatientID")) == ["first", "second", "top"]

    def test_a_place_is_there_before_its_attribute_is(self) -> None:
        draft = draft_of(two_items())
        places = list(draft.places(Target.parse("OtherPatientIDsSequence.IssuerOfPatientID")))
        assert len(places) == 2
        assert len(list(draft.found(Target.parse("OtherPatientIDsSequence.IssuerOfPatientID")))) == 1

    def test_outer_levels_come_first_and_have_names(self) -> None:
        draft = draft_of(two_items())
        names = [level.name(PATIENT_ID) for level in draft.levels()]
        assert names[0] == "PatientID"
        assert sorted(names[1:]) == ["OtherPatientIDsSequence[0].PatientID", "OtherPatientIDsSequence[1].PatientID"]
        assert draft.root.name(0x00091001) == "(0009,1001)"


class TestPrivateAttributes:
    def draft(self) -> Draft:
        data_set = instance()
        data_set.private_block(0x0009, "THEIRS", create=True).add_new(1, "LO", "theirs")
        data_set.private_block(0x0009, "OURS", create=True).add_new(1, "LO", "ours")
        return draft_of(data_set)

    def test_are_found_by_their_creator(self) -> None:
        draft = self.draft()
        assert found(draft, "(0009,01,OURS)") == ["ours"]

    def test_reserve_a_block_of_their_own(self) -> None:
        draft = self.draft()
        set_text(draft, "(0009,02,NEW)", "LO", "new")
        data_set = result(draft)
        assert data_set.private_block(0x0009, "NEW")[2].value == "new"
        assert data_set.private_block(0x0009, "OURS")[1].value == "ours"
        assert [change.path for change in draft.changes] == ["(0009,0012)", "(0009,1202)"]


class TestText:
    def test_in_the_character_set_of_its_item(self) -> None:
        data_set = instance(SpecificCharacterSet="ISO_IR 100", PatientName="Bär")
        data_set.OtherPatientIDsSequence = Sequence([item(SpecificCharacterSet="ISO_IR 192", PatientID="Bär")])
        draft = draft_of(data_set)
        assert found(draft, "PatientName") == ["Bär"]
        assert found(draft, "OtherPatientIDsSequence.PatientID") == ["Bär"]

    def test_that_the_character_set_has_stays_in_it(self) -> None:
        draft = draft_of(instance(SpecificCharacterSet="ISO_IR 100", PatientName="Bär"))
        set_text(draft, "PatientName", "PN", "Ölf")
        assert result(draft).SpecificCharacterSet == "ISO_IR 100"
        assert result(draft).PatientName == "Ölf"

    def test_that_it_has_not_makes_all_of_it_utf_8(self) -> None:
        data_set = instance(SpecificCharacterSet="ISO_IR 100", PatientName="Bär")
        data_set.OtherPatientIDsSequence = Sequence([item(SpecificCharacterSet="ISO_IR 100", PatientID="Bär")])
        draft = draft_of(data_set)
        set_text(draft, "PatientID", "LO", "山田")
        after = result(draft)
        assert after.SpecificCharacterSet == "ISO_IR 192"
        assert (after.PatientName, after.PatientID) == ("Bär", "山田")
        inner = after.OtherPatientIDsSequence[0]
        assert "SpecificCharacterSet" not in inner
        assert inner.PatientID == "Bär"

    def test_bytes_that_are_no_text_are_not_guessed_at(self) -> None:
        draft = draft_of(instance(SpecificCharacterSet="ISO_IR 166", PatientID="ab"))
        level, node = only(draft, "PatientID")
        draft.set_bytes(level, PATIENT_ID, "LO", b"\xff\xfe", "test", "", node)
        with pytest.raises(EditError, match=r"PatientID: has bytes that are no text in its character set"):
            draft.to_utf_8("test")

    def test_too_long_to_change(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_TEXT_BYTES", 4)
        draft = draft_of(instance(PatientID="abcd", PatientComments="abcdef"))
        assert found(draft, "PatientID") == ["abcd"]
        with pytest.raises(DataSetError, match="a text of 6 bytes is too long to change"):
            found(draft, "PatientComments")

    @pytest.mark.parametrize("path", ["Rows", "PixelData", "OtherPatientIDsSequence"])
    def test_what_is_none(self, path: str) -> None:
        draft = draft_of(instance(OtherPatientIDsSequence=Sequence([item(PatientID="x")])))
        with pytest.raises(EditError, match="is not text"):
            found(draft, path)

    @pytest.mark.parametrize(("vr", "text"), [("LO", "x" * 65), ("DA", "yesterday"), ("UI", "1.a"), ("CS", "lower")])
    def test_what_the_vr_cannot_hold(self, vr: str, text: str) -> None:
        draft = draft_of(instance())
        with pytest.raises(EditError, match="PatientID: "):
            draft.set_text(draft.root, PATIENT_ID, vr, text, "test")
        draft.set_text(draft.root, PATIENT_ID, vr, text, "test", unchecked={text})

    def test_values_that_were_there_before_may_be_wrong(self) -> None:
        draft = draft_of(instance(PatientID="a"))
        long = "x" * 70 + "\\b"
        draft.set_bytes(draft.root, PATIENT_ID, "LO", long.encode(), "test", long)
        level, node = only(draft, "PatientID")
        draft.change_values(level, node, lambda value: value.replace("b", "c"), "test")
        assert draft.values(level, node) == ["x" * 70, "c"]


class TestWriting:
    def test_of_what_is_the_same_is_no_change(self) -> None:
        draft = draft_of(instance(PatientID="abc"))
        set_text(draft, "PatientID", "LO", "abc")
        assert not draft.changed
        assert draft.changes == []

    @pytest.mark.parametrize(
        ("vr", "value", "padded"),
        [("LO", b"a", b"a "), ("UI", b"1", b"1\0"), ("OB", b"\1", b"\1\0"), ("LO", b"ab", b"ab")],
    )
    def test_pads_to_even_length(self, vr: str, value: bytes, padded: bytes) -> None:
        draft = draft_of(instance())
        draft.set_bytes(draft.root, PATIENT_ID, vr, value, "test", "")
        level, node = only(draft, "PatientID")
        assert draft.tree.value(node) == padded
        assert node.length == len(padded)
        assert level is draft.root

    @pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
    def test_in_an_item(self, syntax: str) -> None:
        draft = draft_of(two_items(), syntax)
        set_text(draft, "OtherPatientIDsSequence[0].PatientID", "LO", "new")
        after = result(draft, syntax)
        assert [each.PatientID for each in after.OtherPatientIDsSequence] == ["new", "second"]
        assert after.PatientID == "top"
        assert draft.changes[0].path == "OtherPatientIDsSequence[0].PatientID"
        assert (draft.changes[0].before, draft.changes[0].after) == ("first", "new")

    def test_removes_what_is_named_and_nothing_else(self) -> None:
        draft = draft_of(two_items())
        for level, node in list(draft.found(Target.parse("*.PatientID"))):
            draft.remove(level, [node], "test")
        after = result(draft)
        assert "PatientID" not in after
        assert [len(each) for each in after.OtherPatientIDsSequence] == [0, 1]
        assert {change.after for change in draft.changes} == {None}
        assert len(draft.changes) == 3

    def test_originals_are_those_of_the_beginning(self) -> None:
        draft = draft_of(two_items())
        set_text(draft, "PatientID", "LO", "one")
        set_text(draft, "PatientID", "LO", "two")
        set_text(draft, "OtherPatientIDsSequence[0].PatientID", "LO", "three")
        set_text(draft, "PatientComments", "LT", "new")
        assert draft.tree.original(draft.originals[PATIENT_ID]).strip() == b"top"
        sequence = draft.originals[0x00101002]
        assert sequence.items is not None
        assert COMMENTS not in draft.originals

    def test_tells_no_more_changes_than_may_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_CHANGES", 2)
        draft = draft_of(two_items())
        set_text(draft, "*.PatientID", "LO", "new")
        assert len(draft.changes) == 2
        assert {text.strip() for text in found(draft, "*.PatientID")} == {"new"}

    def test_group_lengths_go_where_they_would_be_wrong(self) -> None:
        length = b"\x10\0\0\0UL\x04\0" + struct.pack("<I", 10)
        identifier = b"\x10\0\x20\0LO\x02\0ab"
        items = b"\xfe\xff\0\xe0" + struct.pack("<I", len(length + identifier)) + length + identifier
        sequence = b"\x10\0\x02\x10SQ\0\0" + struct.pack("<I", len(items)) + items
        data = length + identifier + sequence
        draft = Draft(Tree(lambda at, size: data[at : at + size], 0, len(data), transfer_syntax(EXPLICIT)))
        draft.drop_group_lengths()
        segments = draft.tree.segments()
        assert segments.read(0, segments.length) == identifier + sequence  # Nothing is written anew in the item.
        set_text(draft, "OtherPatientIDsSequence[0].PatientID", "LO", "cd")
        draft.drop_group_lengths()
        segments = draft.tree.segments()
        assert length not in segments.read(0, segments.length)

    def test_is_shown_to_a_person_in_few_letters(self) -> None:
        data_set = two_items()
        data_set.PatientComments = "x" * 500
        draft = draft_of(data_set)
        shown = {
            path: draft.shown(*only(draft, path)) for path in ("PatientComments", "Rows", "OtherPatientIDsSequence")
        }
        assert shown == {"PatientComments": "x" * 120, "Rows": "(US)", "OtherPatientIDsSequence": "(sequence of 2)"}


class TestTooMuch:
    """One step writes in every item that the steps before it have made."""

    def grown(self, draft: Draft, times: int) -> None:
        path = "ReferencedImageSequence"
        for _ in range(times):
            for level, step in list(draft.places(Target.parse(path))):
                draft.set_items(level, step.tag, 12, "test")
            path += "[*].ReferencedImageSequence"

    def test_items_within_items(self) -> None:
        draft = draft_of(instance())
        self.grown(draft, 3)
        with pytest.raises(EditError, match="ReferencedImageSequence: the changes add more than 200000 elements"):
            self.grown(draft, 8)

    def test_elements_in_every_item(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_NEW_NODES", 3)
        draft = draft_of(two_items())
        set_text(draft, "OtherPatientIDsSequence[*].PatientName", "PN", "one")
        set_text(draft, "OtherPatientIDsSequence[*].PatientName", "PN", "other")
        with pytest.raises(EditError, match="add more than 3"):
            set_text(draft, "OtherPatientIDsSequence[*].PatientSex", "CS", "O")

    def test_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_NEW_BYTES", 1000)
        draft = draft_of(two_items())
        longest = 1000 + draft.tree.length
        with pytest.raises(EditError, match=r"\[1\].PatientComments: the changes write more than 1000 bytes"):
            set_text(draft, "OtherPatientIDsSequence[*].PatientComments", "LT", "x" * (longest // 2 + 2))

    def test_items_entered_again_and_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_ITEMS_ENTERED", 5)
        draft = draft_of(two_items())
        for _ in range(2):
            assert found(draft, "OtherPatientIDsSequence.PatientID") == ["first", "second"]
        with pytest.raises(EditError, match=r"OtherPatientIDsSequence: .* lead through more than 5 items"):
            found(draft, "OtherPatientIDsSequence.PatientID")

    def test_no_more_than_there_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_NEW_BYTES", 0)
        draft = draft_of(instance(PatientComments="x" * 10_000))
        set_text(draft, "PatientComments", "LT", "y" * 10_000)
        assert result(draft).PatientComments == "y" * 10_000

    def test_equal_values_share_their_bytes(self) -> None:
        draft = draft_of(two_items())
        set_text(draft, "OtherPatientIDsSequence[*].PatientComments", "LT", "x" * 1001)
        one, other = (node.fresh for _, node in draft.found(Target.parse("OtherPatientIDsSequence.PatientComments")))
        assert one is not None
        assert one is other
