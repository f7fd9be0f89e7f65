"""Modifications compiled: which UIDs become others, what follows them, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.levels import Level
from gateway.edit.deid.keyed import Keyed
from gateway.edit.modification import Modification, compiled, detected_level
from gateway.errors import BadRequest
from tests.edit.test_draft import draft_of, result
from tests.support.datasets import instance

KEYED = Keyed(b"0123456789abcdef")


class Some:
    """The UIDs of one object, as members."""

    def __init__(self, one: Dataset) -> None:
        self.uids = {"study": one.StudyInstanceUID, "series": one.SeriesInstanceUID, "instance": one.SOPInstanceUID}

    def has(self, level: Level, uid: str) -> bool:
        return self.uids[level] == uid


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def modified(source: Dataset, wanted: Modification, of: Dataset | None = None) -> Dataset:
    draft = draft_of(source)
    made = compiled(wanted)
    for step in [*made.identity_steps(KEYED, Some(of) if of is not None else None), *made.value_steps()]:
        step(draft)
    return result(draft)


def structures(image: Dataset) -> Dataset:
    """A structure set of an image, which references another study too."""
    made = instance(StudyInstanceUID=image.StudyInstanceUID, FrameOfReferenceUID=image.SOPInstanceUID)
    made.ReferencedFrameOfReferenceSequence = [
        item(
            FrameOfReferenceUID=image.StudyInstanceUID,
            RTReferencedStudySequence=[
                item(
                    ReferencedSOPInstanceUID=image.StudyInstanceUID,
                    RTReferencedSeriesSequence=[
                        item(
                            SeriesInstanceUID=image.SeriesInstanceUID,
                            ContourImageSequence=[
                                item(ReferencedSOPInstanceUID=image.SOPInstanceUID),
                                item(ReferencedSOPInstanceUID="1.2.3"),
                            ],
                        )
                    ],
                ),
                item(ReferencedSOPInstanceUID="1.2.4", StudyInstanceUID="1.2.4"),
            ],
        )
    ]
    return made


def test_references_to_what_is_modified_follow_and_others_stay() -> None:
    image = instance()
    after = modified(structures(image), Modification("study"), image)
    (frame,) = after.ReferencedFrameOfReferenceSequence
    ours, other = frame.RTReferencedStudySequence
    (series,) = ours.RTReferencedSeriesSequence
    assert after.StudyInstanceUID == ours.ReferencedSOPInstanceUID == KEYED.uid(image.StudyInstanceUID)
    assert series.SeriesInstanceUID == KEYED.uid(image.SeriesInstanceUID)
    assert [each.ReferencedSOPInstanceUID for each in series.ContourImageSequence] == [
        KEYED.uid(image.SOPInstanceUID),
        "1.2.3",
    ]
    assert (other.ReferencedSOPInstanceUID, other.StudyInstanceUID) == ("1.2.4", "1.2.4")
    # A frame of reference is none of them, even where a device has given it the UID of a study or an image.
    assert (after.FrameOfReferenceUID, frame.FrameOfReferenceUID) == (image.SOPInstanceUID, image.StudyInstanceUID)


def test_references_follow_uids_of_the_request() -> None:
    image = instance()
    wanted = Modification("study", {"StudyInstanceUID": "1.9"}, keep=("SeriesInstanceUID",), force=True)
    after = modified(structures(image), wanted, image)
    (ours, _other) = after.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    assert after.StudyInstanceUID == ours.ReferencedSOPInstanceUID == "1.9"
    assert ours.RTReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID


def test_a_reference_in_the_request_is_not_changed() -> None:
    image = instance()
    image.ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.2.3")]
    replace = {"ReferencedImageSequence[*].ReferencedSOPInstanceUID": image.SOPInstanceUID}
    after = modified(image, Modification("instance", replace), image)
    assert after.ReferencedImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID


LEVELS: tuple[tuple[Level, tuple[bool, bool, bool]], ...] = (
    ("study", (True, True, True)),
    ("series", (False, True, True)),
    ("instance", (False, False, True)),
)


@pytest.mark.parametrize(("level", "new"), LEVELS)
def test_the_uids_from_a_level_down_are_new(level: Level, new: tuple[bool, bool, bool]) -> None:
    image = instance()
    after = modified(image, Modification(level))
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    assert tuple(after[name].value != image[name].value for name in names) == new


def test_private_attributes_that_are_kept_keep_their_creator() -> None:
    source = instance()
    block = source.private_block(0x0019, "ACME", create=True)
    block.add_new(0x10, "LO", "kept")
    block.add_new(0x11, "LO", "gone")
    source.RequestAttributesSequence = [item(ScheduledProcedureStepID="S")]
    source.RequestAttributesSequence[0].private_block(0x0019, "ACME", create=True).add_new(0x10, "LO", "gone")
    after = modified(source, Modification("instance", keep=("0019-1010",), remove_private=True))
    assert [element.value for element in after if element.tag.is_private] == ["ACME", "kept"]
    assert [element.keyword for element in after.RequestAttributesSequence[0]] == ["ScheduledProcedureStepID"]


def test_a_creator_is_written_before_what_it_says() -> None:
    after = modified(instance(), Modification("instance", {"0019-100C": 5, "0019-0010": "SIEMENS MR HEADER"}))
    assert (after[0x0019100C].VR, after[0x0019100C].value) == ("IS", 5)


def test_text_becomes_utf_8_where_that_is_asked_for() -> None:
    source = instance(SpecificCharacterSet="ISO_IR 100", PatientName="Müller")
    after = modified(source, Modification("instance", {"SpecificCharacterSet": "ISO_IR 192"}))
    assert (after.SpecificCharacterSet, after.PatientName) == ("ISO_IR 192", "Müller")


@pytest.mark.parametrize(
    ("replace", "level"),
    [
        ({}, "instance"),
        ({"PatientName": ""}, "instance"),
        ({"RequestAttributesSequence[0].StudyInstanceUID": ""}, "instance"),
        ({"SeriesInstanceUID": "", "0020,000d": ""}, "study"),
        ({"PatientID": "", "SeriesInstanceUID": ""}, "patient"),
    ],
)
def test_the_level_that_is_meant(replace: dict[str, Any], level: Level) -> None:
    assert detected_level(replace) == level


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Modification("patient"), "PatientID is required"),
        (Modification("series", {"PatientID": "x"}, force=True), "StudyInstanceUID to be replaced or kept"),
        (Modification("instance", {"StudyInstanceUID": "1.2"}, force=True), "SeriesInstanceUID to be replaced or kept"),
        (Modification("study", {"SeriesInstanceUID": ""}, force=True), "must not be empty"),
        (Modification("study", {"SeriesInstanceUID": "1.02"}, force=True), "UID"),
        (Modification("study", {"x" * 3: ""}), "names no attribute"),
        (
            Modification("study", {f"0009,10{at % 256:02x}[0].PatientID": "" for at in range(900)}, ("A",) * 999),
            "more than",
        ),
        (Modification("study", remove=("SOPClassUID",)), "not an instance"),
    ],
)
def test_what_is_refused(wanted: Modification, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        compiled(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        Modification("study", {"PatientID": "x"}, force=True),
        Modification("series", {"PatientID": "x", "StudyInstanceUID": "1.2"}, force=True),
        Modification("series", {"PatientID": "x"}, keep=("StudyInstanceUID",), force=True),
        Modification("series", {"StudyInstanceUID": "1.2"}, force=True),
    ],
)
def test_identifiers_above_are_taken_by_force(wanted: Modification) -> None:
    after = modified(instance(), wanted)
    assert after.PatientID == wanted.replace.get("PatientID", "P1")


class TestPrivateOnesThatAreKept:
    def source(self) -> Dataset:
        made = instance(ReferencedImageSequence=[item(CodeMeaning="public"), item()])
        for each in (made, *made.ReferencedImageSequence):
            block = each.private_block(0x0009, "ACME", create=True)
            block.add_new(1, "LO", "one")
            block.add_new(2, "LO", "two")
        inner = item(CodeMeaning="inner", CodeValue="x")
        inner.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "inmost")
        made.private_block(0x0019, "ACME", create=True).add_new(1, "SQ", [inner, item(CodeValue="y")])
        return made

    def left(self, *kept: str) -> list[tuple[int, list[int]]]:
        """What is left of private elements and of what is in them, with the tags of each level."""
        after = modified(self.source(), Modification("instance", keep=kept, remove_private=True))
        found = []
        pending = [(0, after)]
        while pending:
            depth, level = pending.pop(0)
            tags = [int(each.tag) for each in level if each.tag.is_private or depth > 1]
            found += [(depth, tags)] if tags else []
            for each in level:
                if each.VR == "SQ":
                    pending += [(depth + 1 + each.tag.is_private, below) for below in each.value]
        return found

    def test_none(self) -> None:
        assert self.left() == []
        assert self.left("ReferencedImageSequence", "(0009,01,OTHER)", "ReferencedImageSequence[7].0009,1001") == []

    @pytest.mark.parametrize("name", ["0009,1001", "(0009,01,ACME)"])
    def test_in_a_sequence(self, name: str) -> None:
        block = [0x00090010, 0x00091001]
        assert self.left(f"ReferencedImageSequence[0].{name}") == [(1, block)]
        assert self.left(f"ReferencedImageSequence[*].{name}") == [(1, block), (1, block)]
        assert self.left(name) == [(0, block)]

    def test_a_private_sequence_for_what_is_in_it(self) -> None:
        around = (0, [0x00190010, 0x00191001])
        assert self.left("0019,1001[0].0009,1001") == [around, (2, [0x00090010, 0x00091001])]
        assert self.left("0019,1001[0].CodeValue") == [around, (2, [0x00080100])]

    def test_a_private_sequence_with_all_that_is_in_it(self) -> None:
        inner = [0x00080100, 0x00080104, 0x00090010, 0x00091001]
        assert self.left("0019,1001") == [(0, [0x00190010, 0x00191001]), (2, inner), (2, [0x00080100])]
