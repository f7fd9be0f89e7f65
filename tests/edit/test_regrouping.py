"""An instance becomes one of another study: its UIDs, references in every encoding, and the target's attributes."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.dicom.dictionary import KEYWORDS
from gateway.dicom.encode import Attribute, DataSet
from gateway.edit import draft
from gateway.edit.change_set import ChangeSet
from gateway.edit.regrouping import MAX_PARTS, StudyMove, StudyMoves, regrouping, writing
from gateway.errors import EditError
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, decode, encode, instance

MOVED = {"1.1.1.1", "1.1.1.2"}


def move(study: str = "1.1", *, moved: set[str] = MOVED, whole: bool = True, prefix: str = "9.") -> StudyMove:
    return StudyMove(study, "7", lambda uid: prefix + uid, moved.__contains__, {f"{study}.1": whole})


def item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, Sequence(value) if isinstance(value, list) else value)
    return made


def image(uid: str) -> Dataset:
    return item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)


def evidence(study: str, *series: tuple[str, list[str]]) -> Dataset:
    below = [item(SeriesInstanceUID=uid, ReferencedSOPSequence=[image(each) for each in uids]) for uid, uids in series]
    return item(StudyInstanceUID=study, ReferencedSeriesSequence=below)


def changed(
    data_set: Dataset,
    *moves: StudyMove,
    own: int = 0,
    attributes: DataSet | None = None,
    removed: tuple[str, ...] = (),
    syntax: str = EXPLICIT,
) -> Dataset:
    data = encode(data_set, syntax)
    steps = regrouping(own, StudyMoves(moves or (move(),)))
    steps += writing(attributes or {}, [KEYWORDS[name] for name in removed])
    change_set = ChangeSet.of_steps("test", steps, key=bytes(32))
    edited = change_set.apply(lambda offset, length: data[offset : offset + length], 0, len(data), syntax)
    try:
        found = decode(edited.read(0, edited.length), edited.transfer_syntax_uid)
        assert found.SOPInstanceUID == edited.sop_instance_uid
    finally:
        edited.close()
    return found


def one(**values: Any) -> Dataset:
    made = instance(**values)
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    return made


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_names_and_references_in_every_encoding(syntax: str) -> None:
    source = one(PatientName="Müller", SpecificCharacterSet="ISO_IR 100")
    source.ReferencedImageSequence = Sequence([image("1.1.1.2"), image("5.5")])
    source.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence("1.1", ("1.1.1", ["1.1.1.1", "1.1.1.2"]))])
    made = changed(source, syntax=syntax)
    assert (made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID) == ("7", "9.1.1.1", "9.1.1.1.1")
    assert [each.ReferencedSOPInstanceUID for each in made.ReferencedImageSequence] == ["9.1.1.1.2", "5.5"]
    (tree,) = made.CurrentRequestedProcedureEvidenceSequence
    assert tree.StudyInstanceUID == "7"
    (series,) = tree.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "9.1.1.1"
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence] == ["9.1.1.1.1", "9.1.1.1.2"]
    assert made.PatientName == "Müller"
    assert made.PixelData == source.PixelData


def tree(data_set: Dataset) -> list[Any]:
    """The references of an evidence sequence, as nested lists."""
    return [
        [
            each.StudyInstanceUID,
            *(
                [below.SeriesInstanceUID, *(image.ReferencedSOPInstanceUID for image in below.ReferencedSOPSequence)]
                for below in each.ReferencedSeriesSequence
            ),
        ]
        for each in data_set.CurrentRequestedProcedureEvidenceSequence
    ]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_branch_that_moves_in_part_becomes_two(syntax: str) -> None:
    source = one()
    branch = evidence("1.1", ("1.1.1", ["1.1.1.1"]), ("1.1.2", ["1.1.2.1"]), ("1.1.1", ["1.1.1.1", "1.1.1.9"]))
    branch.PurposeOfReferenceCodeSequence = Sequence([item(CodeValue="x")])
    source.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence("3.3", ("3.3.1", ["3.3.1.1"])), branch])
    made = changed(source, syntax=syntax)
    assert tree(made) == [
        ["3.3", ["3.3.1", "3.3.1.1"]],
        ["7", ["9.1.1.1", "9.1.1.1.1"], ["9.1.1.1", "9.1.1.1.1"]],
        ["1.1", ["1.1.2", "1.1.2.1"], ["1.1.1", "1.1.1.9"]],
    ]
    codes = [
        each.PurposeOfReferenceCodeSequence[0].CodeValue for each in made.CurrentRequestedProcedureEvidenceSequence[1:]
    ]
    assert codes == ["x", "x"]


def test_a_branch_of_series_alone_that_moves_in_part() -> None:
    source = one()
    branch = item(
        StudyInstanceUID="1.1", ReferencedSeriesSequence=[item(SeriesInstanceUID=uid) for uid in ("1.1.1", "1.1.2")]
    )
    source.StudiesContainingOtherReferencedInstancesSequence = Sequence([branch])
    found = changed(source).StudiesContainingOtherReferencedInstancesSequence
    assert [
        (each.StudyInstanceUID, [below.SeriesInstanceUID for below in each.ReferencedSeriesSequence]) for each in found
    ] == [("7", ["9.1.1.1"]), ("1.1", ["1.1.2"])]


def test_items_of_several_that_name_no_study_stay_one() -> None:
    source = one()
    source.ReferencedSeriesSequence = Sequence(
        [item(Modality="CT", ReferencedImageSequence=[image("1.1.1.1"), image("1.1.1.9"), image("2.2.1.1")])]
    )
    made = changed(source, move(), move("2.2", moved={"2.2.1.1"}, prefix="8."))
    (found,) = made.ReferencedSeriesSequence
    assert [each.ReferencedSOPInstanceUID for each in found.ReferencedImageSequence] == [
        *("9.1.1.1.1", "1.1.1.9", "8.2.2.1.1")
    ]


def test_a_branch_of_several_studies_that_move() -> None:
    source = one()
    source.CurrentRequestedProcedureEvidenceSequence = Sequence(
        [evidence("1.1", ("1.1.1", ["1.1.1.1"]), ("2.2.1", ["2.2.1.1"]), ("1.1.5", ["1.1.5.5"]))]
    )
    made = changed(source, move(), move("2.2", moved={"2.2.1.1"}, prefix="8."))
    assert tree(made) == [
        ["7", ["9.1.1.1", "9.1.1.1.1"]],
        ["1.1", ["8.2.2.1", "8.2.2.1.1"]],  # It was listed under another study before.
        ["1.1", ["1.1.5", "1.1.5.5"]],
    ]


def test_an_object_does_not_grow_without_a_limit() -> None:
    studies = [f"4.{number}" for number in range(MAX_PARTS + 1)]
    source = one()
    branch = evidence("1.1", *((f"{study}.1", [f"{study}.1.1"]) for study in studies))
    source.CurrentRequestedProcedureEvidenceSequence = Sequence([branch])
    made = changed(source, *(move(study, moved={f"{study}.1.1"}) for study in ("1.1", *studies)))
    ((study, *below),) = tree(made)
    assert study == "1.1"
    assert below == [[f"9.{study}.1", f"9.{study}.1.1"] for study in studies]


def test_what_is_in_every_part_counts_as_added(monkeypatch: pytest.MonkeyPatch) -> None:
    source = one()
    branch = evidence("1.1", ("1.1.1", ["1.1.1.1"]), ("2.2.1", ["2.2.1.1"]))
    branch.PurposeOfReferenceCodeSequence = Sequence([item(CodeValue=str(number)) for number in range(20)])
    source.CurrentRequestedProcedureEvidenceSequence = Sequence([branch])
    moves = move(), move("2.2", moved={"2.2.1.1"}, prefix="8.")
    assert len(tree(changed(source, *moves))) == 2
    monkeypatch.setattr(draft, "MAX_NEW_NODES", 40)
    with pytest.raises(EditError, match="add more than 40 elements"):
        changed(source, *moves)


@pytest.mark.parametrize(("whole", "expected"), [(True, "9.1.1.1"), (False, "1.1.1")])
def test_a_series_that_is_named_without_its_instances(whole: bool, expected: str) -> None:
    source = one()
    source.ReferencedSeriesSequence = Sequence([item(SeriesInstanceUID="1.1.1")])
    (found,) = changed(source, move(whole=whole)).ReferencedSeriesSequence
    assert found.SeriesInstanceUID == expected


def test_references_between_studies_that_move_together() -> None:
    source = one()
    source.ReferencedImageSequence = Sequence([image("1.1.1.2"), image("2.2.1.1")])
    source.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence("2.2", ("2.2.1", ["2.2.1.1"]))])
    other = move("2.2", moved={"2.2.1.1", "1.1.1.2"}, prefix="8.")
    for own, moves in ((0, (move(), other)), (1, (other, move()))):
        made = changed(source, *moves, own=own)
        # Its own study has an instance of that UID too, and goes first.
        assert [each.ReferencedSOPInstanceUID for each in made.ReferencedImageSequence] == ["9.1.1.1.2", "8.2.2.1.1"]
        (tree,) = made.CurrentRequestedProcedureEvidenceSequence
        assert (tree.StudyInstanceUID, tree.ReferencedSeriesSequence[0].SeriesInstanceUID) == ("7", "8.2.2.1")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_attributes_are_written_and_removed(syntax: str) -> None:
    source = one(PatientName="Müller", PatientComments="x", SpecificCharacterSet="ISO_IR 100", StationName="é")
    source.OtherPatientIDsSequence = Sequence([item(PatientID="old")])
    attributes: DataSet = {
        KEYWORDS["PatientName"]: Attribute("PN", ["王"]),
        KEYWORDS["PatientSex"]: Attribute("CS", []),
        KEYWORDS["StudyDate"]: Attribute("DA", ["no day, but stored like that"]),
        KEYWORDS["Rows"]: Attribute("US", [16]),
        KEYWORDS["FrameIncrementPointer"]: Attribute("AT", [0x00181063]),
        KEYWORDS["ICCProfile"]: Attribute("OB", [b"\1\2"]),
        KEYWORDS["OtherPatientIDsSequence"]: Attribute("SQ", [{0x00100020: Attribute("LO", ["new é"])}, {}]),
    }
    made = changed(source, attributes=attributes, removed=("PatientComments", "PatientName"), syntax=syntax)
    assert (made.SpecificCharacterSet, made.PatientName, made.StationName) == ("ISO_IR 192", "王", "é")
    assert made.PatientSex == ""
    assert "PatientComments" not in made
    assert made["StudyDate"].value == "no day, but stored like that"
    assert (made.Rows, made.FrameIncrementPointer, made.ICCProfile) == (16, 0x00181063, b"\1\2")
    assert [each.get("PatientID") for each in made.OtherPatientIDsSequence] == ["new é", None]


def test_no_reference_is_looked_for_in_every_study_again_and_again() -> None:
    asked: list[str] = []

    def has(uid: str) -> bool:
        asked.append(uid)
        return False

    many = [StudyMove(f"3.{number}", "7", str, has, {f"3.{number}.1": True}) for number in range(50)]
    source = one()
    source.ReferencedImageSequence = Sequence([image("2.2") for _ in range(30)])
    source.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence("1.1", ("1.1.1", ["1.1.1.2"]))])
    made = changed(source, move(), *many)
    assert tree(made) == [["7", ["9.1.1.1", "9.1.1.1.2"]]]
    assert asked == ["2.2"] * 50
