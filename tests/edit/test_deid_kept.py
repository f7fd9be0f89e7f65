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
