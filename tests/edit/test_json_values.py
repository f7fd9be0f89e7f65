"""Values as Orthanc's REST writes them: parsed, checked, written into objects in every encoding."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.edit import json_values
from gateway.edit.json_values import MAX_ATTRIBUTES, MAX_DEPTH, NamedAttribute, parse_replacements, parse_value
from gateway.errors import BadRequest, EditError
from tests.edit.test_draft import draft_of, result
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, instance

SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN)


def written(
    replace: dict[str, Any], data_set: Dataset | None = None, syntax: str = EXPLICIT, creator: str = ""
) -> Dataset:
    draft = draft_of(data_set or instance(), syntax)
    for place, value in parse_replacements(replace, creator):
        json_values.write(draft, draft.root, place, value)
    return result(draft, syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("name", "value", "after"),
    [
        ("PatientComments", "x", "x"),
        ("PatientComments", 5, "5"),
        ("PatientComments", None, ""),
        ("Rows", 7, 7),
        ("Rows", "7", 7),
        ("0028-0010", "7", 7),
        ("PatientWeight", 70.5, 70.5),
        ("SeriesNumber", 12, 12),
        ("PixelSpacing", "0.5\\0.25", [0.5, 0.25]),
        ("RecommendedDisplayFrameRateInFloat", 1.5, 1.5),
        ("FrameIncrementPointer", "FrameTime", 0x00181063),
        ("FrameIncrementPointer", "0018,1063\\0018-1065", [0x00181063, 0x00181065]),
        ("EncapsulatedDocument", "data:application/pdf;base64,JVBERg==", b"%PDF"),
        ("SmallestImagePixelValue", 65535, 65535),
    ],
)
def test_values(syntax: str, name: str, value: Any, after: Any) -> None:
    found = written({name: value}, syntax=syntax)[NamedAttribute.parse(name).tag].value
    assert (list(found) if isinstance(after, list) else found if found is not None else "") == after


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items(syntax: str) -> None:
    inner = [{"CodeValue": "c", "CodeMeaning": "Größe"}, {}]
    value = [{"0040,0009": "S", "RequestedProcedureCodeSequence": inner}, {"ScheduledProcedureStepID": None}]
    source = instance(SpecificCharacterSet="ISO_IR 100", RequestAttributesSequence=[Dataset()])
    one, two = written({"RequestAttributesSequence": value}, source, syntax).RequestAttributesSequence
    assert (one.ScheduledProcedureStepID, two.ScheduledProcedureStepID) == ("S", "")
    assert [item.get("CodeMeaning") for item in one.RequestedProcedureCodeSequence] == ["Größe", None]
    assert list(written({"RequestAttributesSequence": []}, source, syntax).RequestAttributesSequence) == []
    assert list(written({"RequestAttributesSequence": None}, source, syntax).RequestAttributesSequence) == []


def test_numbers_with_a_sign_follow_the_pixels() -> None:
    assert written({"SmallestImagePixelValue": -5}, instance(PixelRepresentation=1)).SmallestImagePixelValue == -5
    with pytest.raises(EditError, match="not a value of US"):
        written({"SmallestImagePixelValue": -5})


class TestPrivate:
    def test_the_block_that_is_named(self) -> None:
        after = written({"0019-2010": "x"}, creator="ACME")
        assert (after[0x00190020].value, after[0x00192010].value) == ("ACME", "x")

    def test_the_block_that_the_creator_has(self) -> None:
        source = instance()
        source.private_block(0x0019, "OTHER", create=True).add_new(1, "LO", "y")
        source.private_block(0x0019, "ACME", create=True).add_new(0x10, "US", 5)
        after = written({"0019-1010": 7}, source, creator="ACME")
        assert (after[0x00191110].VR, after[0x00191110].value) == ("US", 7)
        assert 0x00191010 not in after

    def test_the_tag_as_it_is_without_a_creator(self) -> None:
        assert written({"0019-1010": "x"})[0x00191010].value == "x"

    def test_the_vr_that_is_known(self) -> None:
        after = written({"0019-100C": "12"}, creator="SIEMENS MR HEADER")
        assert (after[0x0019100C].VR, after[0x0019100C].value) == ("IS", 12)

    def test_long_text(self) -> None:
        assert written({"0019-1010": "x" * 100})[0x00191010].VR == "UT"

    @pytest.mark.parametrize("creator", ["x" * 65, "a\\b", "a\nb"])
    def test_no_creator(self, creator: str) -> None:
        with pytest.raises(BadRequest, match="PrivateCreator"):
            NamedAttribute.parse("0019-1010", creator)


class TestLimits:
    def test_nesting(self) -> None:
        value: Any = []
        for _ in range(MAX_DEPTH + 1):
            value = [{"ContentSequence": value}]
        with pytest.raises(BadRequest, match="nested"):
            parse_value(NamedAttribute.parse("ContentSequence"), value)

    def test_attributes(self) -> None:
        with pytest.raises(BadRequest, match=str(MAX_ATTRIBUTES)):
            parse_value(NamedAttribute.parse("ContentSequence"), [{"CodeValue": "x"}] * (MAX_ATTRIBUTES + 1))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("CodeValue", "ContentSequence", "0019,1001", "Rows", "x")), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(("ContentSequence", "Rows", "PatientName", "FrameTime", "0019,1001", "FrameIncrementPointer")),
    JSON,
    st.sampled_from(SYNTAXES),
)
def test_any_json_is_written_or_refused_by_name(name: str, value: Any, syntax: str) -> None:
    with contextlib.suppress(BadRequest, EditError):
        assert NamedAttribute.parse(name).tag in written({name: value}, syntax=syntax)
