"""Attributes in sequences that a request keeps while everything else is de-identified."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.config.deidentify import Deidentify
from gateway.dicom.path import AttributePath
from gateway.edit.deid.deidentify import Deidentifier
from tests.support.datasets import EXPLICIT, decode, encode, instance

PLAIN = Deidentifier.build(Deidentify(), b"0123456789abcdef", "test")


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def deidentified(source: Dataset, *paths: str, **more: Any) -> Dataset:
    data = encode(source, EXPLICIT)
    kept = [AttributePath.parse(path) for path in paths]
    edited = PLAIN.adapted(kept_paths=kept, **more).apply(
        lambda offset, length: data[offset : offset + length], 0, len(data), EXPLICIT
    )
    return decode(edited.read(0, edited.length), EXPLICIT)


def source() -> Dataset:
    """OtherPatientIDsSequence goes under the Basic Profile (X), ReferencedImageSequence stays (X/Z/U*)."""
    made = instance(SpecificCharacterSet="ISO_IR 100")
    made.OtherPatientIDsSequence = [
        item(PatientID="first", IssuerOfPatientID="they"),
        item(PatientID="second", IssuerOfPatientID="they"),
    ]
    return made


def test_without_them_the_sequence_goes() -> None:
    assert "OtherPatientIDsSequence" not in deidentified(source())


def test_one_of_a_sequence_that_would_go() -> None:
    after = deidentified(source(), "OtherPatientIDsSequence[1].IssuerOfPatientID").OtherPatientIDsSequence
    assert [[element.keyword for element in each] for each in after] == [[], ["IssuerOfPatientID"]]


def test_one_in_every_item() -> None:
    after = deidentified(source(), "OtherPatientIDsSequence[*].PatientID").OtherPatientIDsSequence
    assert [[str(element.value) for element in each] for each in after] == [["first"], ["second"]]


def test_text_that_is_kept_is_in_its_character_set() -> None:
    made = source()
    made.OtherPatientIDsSequence[0].SpecificCharacterSet = "ISO_IR 192"
    made.OtherPatientIDsSequence[0].IssuerOfPatientID = "Größe"
    after = deidentified(made, "OtherPatientIDsSequence[0].IssuerOfPatientID").OtherPatientIDsSequence
    assert after[0].IssuerOfPatientID == "Größe"


def test_one_of_a_sequence_that_stays() -> None:
    made = instance()
    made.RequestAttributesSequence = [item(ScheduledProcedureStepID="S", RequestedProcedureDescription="D")]
    made.ProcedureCodeSequence = [item(CodeValue="x", CodeMeaning="y")]
    path = "RequestAttributesSequence[*].RequestedProcedureDescription"
    (kept,) = deidentified(made, path).RequestAttributesSequence
    assert kept.RequestedProcedureDescription == "D"
    assert kept.get("ScheduledProcedureStepID") != "S"


def test_one_in_a_private_sequence() -> None:
    made = instance()
    made.private_block(0x0019, "ACME", create=True).add_new(1, "SQ", [item(CodeValue="kept", CodeMeaning="gone")])
    after = deidentified(made, "0019,1001[0].CodeValue")
    assert [element.value for element in after[0x00191001].value[0]] == ["kept"]


@pytest.mark.parametrize("path", ["OtherPatientIDsSequence[9].PatientID", "RequestAttributesSequence[0].CodeValue"])
def test_one_that_is_not_there(path: str) -> None:
    after = deidentified(source(), path)
    assert "first" not in str(after)


def test_private_ones_by_their_tags() -> None:
    made = instance()
    block = made.private_block(0x0019, "ACME", create=True)
    block.add_new(1, "LO", "kept")
    block.add_new(2, "LO", "gone")
    after = deidentified(made, keep={0x00190010, 0x00191001})
    assert [element.value for element in after if element.tag.is_private] == ["ACME", "kept"]


def with_two_creators() -> Dataset:
    made = instance()
    for creator in ("OTHER", "ACME"):
        block = made.private_block(0x0019, creator, create=True)
        block.add_new(1, "LO", f"{creator} 1")
        block.add_new(2, "LO", f"{creator} 2")
    inner = item(CodeValue="code", CodeMeaning="meaning")
    inner.private_block(0x0019, "ACME", create=True).add_new(1, "LO", "inner 1")
    made.private_block(0x0019, "ACME").add_new(3, "SQ", [inner])
    made.RequestAttributesSequence = [inner]
    return made


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("(0019,01,ACME)", {0x00190011: "ACME", 0x00191101: "ACME 1"}),
        ("(0019,01,OTHER)", {0x00190010: "OTHER", 0x00191001: "OTHER 1"}),
        ("(0019,01,NOBODY)", {}),
        ("(0021,01,ACME)", {}),
    ],
)
def test_private_ones_by_their_creator(path: str, expected: dict[int, str]) -> None:
    """Whichever block an object has reserved for it."""
    after = deidentified(with_two_creators(), path)
    assert {int(element.tag): element.value for element in after if element.tag.is_private} == expected


def test_one_in_a_private_sequence_of_a_creator() -> None:
    after = deidentified(with_two_creators(), "(0019,03,ACME)[0].CodeValue")
    assert [int(element.tag) for element in after if element.tag.is_private] == [0x00190011, 0x00191103]
    assert [(element.keyword, element.value) for element in after[0x00191103].value[0]] == [("CodeValue", "code")]


@pytest.mark.parametrize("named", ["(0019,01,ACME)", "0019,1001"])
@pytest.mark.parametrize("around", ["RequestAttributesSequence[*]", "(0019,03,ACME)[*]"])
def test_private_ones_in_sequences_with_what_reserves_their_block(named: str, around: str) -> None:
    after = deidentified(with_two_creators(), f"{around}.{named}")
    (kept,) = after[0x00191103].value if around.startswith("(") else after.RequestAttributesSequence
    assert [element.value for element in kept if element.tag.is_private] == ["ACME", "inner 1"]


def with_a_patient_in_a_private_sequence() -> Dataset:
    made = instance(PatientName="ZZNAME^A", PatientID="ZZID")
    inner = item(PatientName="ZZNAME^A", PatientID="ZZID", OtherPatientIDs="ZZOTHER", PatientAddress="ZZADDRESS")
    inner.StudyInstanceUID, inner.Rows = made.StudyInstanceUID, 7
    inner.private_block(0x0019, "ACME", create=True).add_new(2, "LO", "inner")
    block = made.private_block(0x0019, "ACME", create=True)
    block.add_new(1, "SQ", [item(CodeMeaning="around", ReferencedImageSequence=[item(PatientName="ZZ")])])
    block[1].value[0].private_block(0x0019, "ACME", create=True).add_new(1, "SQ", [inner])
    block.add_new(2, "LO", "outer")
    return made


def test_private_ones_and_what_is_public_in_them_by_the_profile() -> None:
    after = deidentified(with_a_patient_in_a_private_sequence(), keep_private=True)
    assert "ZZ" not in str(after)
    assert after[0x00191002].value == "outer"
    (around,) = after[0x00191001].value
    assert around.CodeMeaning == "around"
    (inner,) = around[0x00191001].value
    assert (inner[0x00190010].value, inner[0x00191002].value, inner.Rows) == ("ACME", "inner", 7)
    assert inner.StudyInstanceUID == after.StudyInstanceUID


@pytest.mark.parametrize("vr", ["UN", "OB", "OW"])
def test_private_ones_that_cannot_be_examined_go(vr: str) -> None:
    made = instance()
    block = made.private_block(0x0019, "ACME", create=True)
    inner = encode(item(PatientName="ZZNAME^A"), EXPLICIT)
    block.add_new(1, vr, b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner)
    block.add_new(2, vr, b"\xfe\xff")
    block.add_new(3, vr, b"")
    after = deidentified(made, keep_private=True)
    assert "ZZNAME" not in str(after)
    assert [element.tag.element for element in after if element.tag.is_private] == [0x0010, 0x1002, 0x1003]
