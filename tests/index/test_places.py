"""gateway/index/places.py: where a search at each level finds an attribute."""

from __future__ import annotations

import pytest

from gateway.dicom.levels import LEVELS
from gateway.index import attributes as tags
from gateway.index.attributes import AT_LEVEL
from gateway.index.places import Place, place_of

INDEXED, IN_ROW, MADE, IN_FILE, NOWHERE = Place


@pytest.mark.case("item 6 where an attribute is found is one question with one answer")
@pytest.mark.parametrize(
    ("tag", "places"),
    [
        (tags.PATIENT_ID, [INDEXED, INDEXED, INDEXED, INDEXED]),
        (0x00101000, [IN_ROW, IN_ROW, IN_ROW, IN_ROW]),  # Other Patient IDs
        (tags.NUMBER_OF_PATIENT_RELATED_STUDIES, [MADE, MADE, MADE, MADE]),
        (tags.ACCESSION_NUMBER, [IN_FILE, INDEXED, INDEXED, INDEXED]),
        (tags.MODALITIES_IN_STUDY, [NOWHERE, INDEXED, INDEXED, INDEXED]),
        (tags.MODALITY, [IN_FILE, IN_FILE, INDEXED, INDEXED]),
        (tags.NUMBER_OF_SERIES_RELATED_INSTANCES, [NOWHERE, NOWHERE, INDEXED, INDEXED]),
        (0x00280010, [IN_FILE, IN_FILE, IN_FILE, IN_ROW]),  # Rows
        (tags.AVAILABLE_TRANSFER_SYNTAX_UID, [NOWHERE, NOWHERE, NOWHERE, MADE]),
        (0x00091001, [IN_FILE, IN_FILE, IN_FILE, IN_FILE]),
        (tags.RETRIEVE_URL, [NOWHERE, NOWHERE, NOWHERE, NOWHERE]),
        (0x7FE00010, [NOWHERE, NOWHERE, NOWHERE, NOWHERE]),
    ],
)
def test_place_of(tag: int, places: list[Place]) -> None:
    assert [place_of(tag, level) for level in LEVELS] == places


def test_what_a_row_keeps_is_not_looked_for_in_files() -> None:
    for level in LEVELS:
        assert {place_of(tag, level) for tag in AT_LEVEL[level]} <= {INDEXED, IN_ROW}
