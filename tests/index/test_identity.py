"""Public identifiers, as a live Orthanc 1.10.1 made them for the same Patient IDs."""

from __future__ import annotations

import pytest

from gateway.index.identity import canonical_patient_id, public_id


@pytest.mark.parametrize(
    ("patient_id", "expected"),
    [
        ("ABC", "3c01bdbb-26f358ba-b27f2679-24aa2c9a-03fcfdb8"),
        ("  ABC  ", "6b5bf70b-d22d1056-4ce0d324-585a435b-6dada7cf"),
        ("", "da39a3ee-5e6b4b0d-3255bfef-95601890-afd80709"),
        ("   ", "da39a3ee-5e6b4b0d-3255bfef-95601890-afd80709"),
        ("José", "8f72d20b-6370ad3d-02b63bbe-e52bfa7b-5d75aa15"),
        ("山田", "747c5ddd-6fc7769f-4de87205-bdb12ec8-bb5dd96e"),
        ("A\\B", "9ccc6040-cd7ba89f-c31d2e11-aa08f8bd-b2c6cedb"),
        ("A\tB\t", "06169619-53155ed6-e556a79e-aebc8528-443b0604"),
    ],
)
def test_patients(patient_id: str, expected: str) -> None:
    assert public_id(canonical_patient_id(patient_id)) == expected


def test_the_levels_below() -> None:
    assert public_id("  ABC", "1.2.3.1") == "f77344bb-43818352-27944e40-6a7e0d93-e6fc913b"
    assert public_id("  ABC", "1.2.3.1", "1.2.3.1.1") == "658d7473-76a84e18-62dfbf1e-d30a7263-4e7028ae"
    assert public_id("  ABC", "1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1") == "abbd6bce-1f106e3f-d607406b-d2a68bbf-f88d6759"


@pytest.mark.parametrize(
    ("value", "canonical"), [("XYZ\0", "XYZ"), ("XYZ \0", "XYZ "), ("X\0Z", "X"), (" P\r\n", " P\r\n"), ("\tP", "\tP")]
)
def test_spaces_and_nuls(value: str, canonical: str) -> None:
    assert canonical_patient_id(value) == canonical
