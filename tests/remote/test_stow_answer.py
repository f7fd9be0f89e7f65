"""Answers of DICOMweb servers that are no answers."""

from __future__ import annotations

import pytest

from gateway.remote.stow_answer import read_answer


@pytest.mark.parametrize("body", [b'{"\x80": 1}', b"[" * 100_000, b"{", b"3", b"\xff"])
@pytest.mark.parametrize("content_type", ["application/dicom+json", "application/dicom+xml"])
def test_what_cannot_be_read_names_nothing(content_type: str, body: bytes) -> None:
    stored = read_answer(content_type, body)
    assert not stored.named
    assert not stored.accepted
    assert not stored.failed
