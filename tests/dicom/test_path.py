"""Attributes by name: what is one, what is none, and what it leads to."""

from __future__ import annotations

import pytest

from gateway.dicom.encode import Attribute
from gateway.dicom.path import AttributePath
from gateway.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("PatientName", "PatientName"),
        ("00100010", "PatientName"),
        ("0010,0010", "PatientName"),
        ("(0010,0010)", "PatientName"),
        ("0009,1001", "(0009,1001)"),
        ("(0009,01,ACME 1.0)", "(0009,01,ACME 1.0)"),
        ("RequestAttributesSequence.00400009", "RequestAttributesSequence.ScheduledProcedureStepID"),
        ("RequestAttributesSequence[2].Modality", "RequestAttributesSequence[2].Modality"),
        ("(0009,01,A.B).PatientName", "(0009,01,A.B).PatientName"),
    ],
)
def test_what_is_one(text: str, written: str) -> None:
    assert str(AttributePath.parse(text)) == written
    assert AttributePath.parse(written) == AttributePath.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "PatientNme",
        "patientName",
        "PatientName.",
        "0010",
        "(0008,01,ACME)",
        "PatientName PatientID",
        "A" * 99,
        ".".join(["RequestAttributesSequence"] * 17),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadRequest):
        AttributePath.parse(text)


def test_every_item_or_the_one_that_is_named() -> None:
    items = [{0x00080060: Attribute("CS", [code])} for code in ("CT", "MR")]
    data_set = {0x00400275: Attribute("SQ", items)}

    def found(text: str) -> list[str]:
        return [attribute.text for attribute in AttributePath.parse(text).attributes(data_set)]

    assert found("RequestAttributesSequence.Modality") == ["CT", "MR"]
    assert found("RequestAttributesSequence[1].Modality") == ["MR"]
    assert found("RequestAttributesSequence[2].Modality") == []
    assert found("Modality") == []
    assert found("RequestAttributesSequence.Modality.Modality") == []
