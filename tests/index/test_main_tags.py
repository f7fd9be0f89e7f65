"""The choice of further attributes for the index, and the records that are made with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.sections import MainTags
from gateway.dicom.elements import pick
from gateway.errors import ConfigurationError
from gateway.index import main_tags
from gateway.index.main_tags import FurtherTags, built
from gateway.index.record import INDEX_TAGS, RecordTemplate
from tests.support.datasets import EXPLICIT, encode
from tests.support.index import data_set

CHOICE = built(MainTags(("EthnicGroup",), ("KVP", "Modality"), ("KVP", "Modality"), ("SliceThickness", "Rows")))
KVP, THICKNESS = "00180060", "00180050"


def elements_of(further: FurtherTags, **values: Any) -> Any:
    tags = INDEX_TAGS | further.all
    return pick(encode(data_set(sop="1.2.3.4", **values), EXPLICIT), EXPLICIT, tags, max(tags))[0]


def members(fragment: str) -> dict[str, Any]:
    return json.loads(f"{{{fragment}}}")  # type: ignore[no-any-return]


def test_what_a_row_has_anyway_is_not_added() -> None:
    assert CHOICE.added["instance"] == (0x00180050,)
    assert CHOICE.added["series"] == (0x00180060,)
    assert CHOICE.added["study"] == (0x00080060, 0x00102160, 0x00180060)
    assert CHOICE.in_rows["patient"] == {0x00102160}
    assert CHOICE.in_rows["series"] == {0x00080060, 0x00102160, 0x00180060}
    assert built(MainTags()) is main_tags.NONE


def test_rows_say_of_each_what_there_is() -> None:
    record = RecordTemplate(elements_of(CHOICE, KVP="120"), EXPLICIT, CHOICE).record
    assert members(record.parents.series[-1])[KVP] == {"vr": "DS", "Value": [120]}  # type: ignore[arg-type]
    assert members(record.extras)[THICKNESS] == {"vr": "DS"}
    assert "00102160" in record.parents.patient[-1]
    assert THICKNESS not in RecordTemplate(elements_of(CHOICE), EXPLICIT, main_tags.NONE).record.extras


@pytest.mark.parametrize("changed", [{"KVP": "80"}, {"SliceThickness": "3"}, {"EthnicGroup": "X"}, {"Modality": "MR"}])
def test_a_template_and_a_record_of_its_own_are_the_same(changed: dict[str, str]) -> None:
    values = {"KVP": "120", "SliceThickness": "1", "EthnicGroup": "E", "Modality": "CT"}
    template = RecordTemplate(elements_of(CHOICE, **values), EXPLICIT, CHOICE)
    other = elements_of(CHOICE, **{**values, **changed})
    different = {tag: element for tag, element in other.items() if element.value != template.elements[tag].value}
    assert template.with_other(different) == RecordTemplate(other, EXPLICIT, CHOICE).record != template.record


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nonsense", "no keyword"),
        ("0008", "names no attribute"),
        ("0009,1010", "is private"),
        ("(0009,10,ACME)", "is private"),
        ("ReferencedStudySequence.StudyDate", "name the sequence"),
        ("PixelData", "before its pixels"),
        ("0002,0010", "before its pixels"),
        ("0010,0000", "before its pixels"),
    ],
)
def test_names_that_are_not_taken(name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        built(MainTags(study=(name,)))
    assert str(caught.value).startswith("storage.main_tags.study: ")


def test_too_many() -> None:
    with pytest.raises(ConfigurationError, match="at most 64"):
        built(MainTags(study=("StudyDate",) * 65))
