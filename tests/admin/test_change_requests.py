"""Requests for changes, compiled and applied: whatever is asked for is done, or refused in words."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admin.change_requests import ChangeRequest, compile_request
from gateway.config.deidentify import Deidentify
from gateway.config.edits import Changes, PrefixStep
from gateway.dicom.levels import LEVELS
from gateway.edit.modification import Modification
from gateway.errors import BadRequest, DataSetError, EditError
from tests.edit.test_json_values import JSON
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, decode, encode, instance

KEY = b"0123456789abcdef"
NAMES = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientName", "Rows"),
    *("0010,0010", "0019-1001", "0019-0010", "(0019,10,ACME)", "ReferencedImageSequence[0].ReferencedSOPInstanceUID"),
    *("ReferencedImageSequence[*].CodeMeaning", "ReferencedImageSequence", "PixelRepresentation", "BitsAllocated"),
    "RequestAttributesSequence.ScheduledProcedureStepID",
)
WRONG = ("PixelData", "SpecificCharacterSet", "x", "", "A[0]", "0002,0010")
TEXTS = st.sampled_from(
    ("", "x", "1.2.3", "12", "0018,1063", "ISO_IR 192", "Größe", "a\\b", "data:;base64,eA==", "\x1b")
)
ANY_NAME = st.sampled_from((*NAMES, *NAMES, *NAMES, *WRONG))
MODIFICATIONS = st.builds(
    Modification,
    level=st.sampled_from(LEVELS),
    replace=st.dictionaries(ANY_NAME, TEXTS | TEXTS | TEXTS | JSON, max_size=3),
    remove=st.lists(ANY_NAME, max_size=2).map(tuple),
    keep=st.lists(ANY_NAME, max_size=2).map(tuple),
    private_creator=st.sampled_from(("", "ACME", "x" * 65, "\n")),
    remove_private=st.booleans(),
    keep_private=st.booleans(),
    force=st.booleans(),
)
SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)


def sample(syntax: str) -> bytes:
    made = instance(SpecificCharacterSet="ISO_IR 100", ReferencedImageSequence=[instance(PixelData=None)])
    made.private_block(0x0019, "ACME", create=True).add_new(1, "LO", "secret")
    return encode(made, syntax)


def applied(wanted: ChangeRequest, syntax: str = EXPLICIT, **known: Changes) -> Any:
    data = sample(syntax)
    changes = compile_request(wanted, KEY, known)
    edited = changes.apply(lambda offset, length: data[offset : offset + length], 0, len(data), syntax)
    try:
        return decode(edited.read(0, edited.length), edited.transfer_syntax_uid)
    finally:
        edited.close()


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(("modify", "anonymize")),
    MODIFICATIONS,
    st.sampled_from(
        ("", "", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "x")
    ),
    st.sampled_from(SYNTAXES),
)
def test_anything_is_done_or_refused(what: Any, modification: Modification, transcode: str, syntax: str) -> None:
    wanted = ChangeRequest(what, modification, transcode=transcode)
    assert msgspec.convert(msgspec.to_builtins(wanted), ChangeRequest) == wanted, "a job has it from the database"
    with contextlib.suppress(BadRequest, EditError, DataSetError):
        assert "SOPInstanceUID" in applied(wanted, syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nothing_private_is_left_by_chance(syntax: str) -> None:
    assert "secret" not in str(applied(ChangeRequest("anonymize", Modification("patient")), syntax))


def test_a_repetition_makes_the_same() -> None:
    first, second = (compile_request(ChangeRequest("anonymize", Modification("patient")), KEY, {}) for _ in range(2))
    data = sample(EXPLICIT)
    results = []
    for changes in (first, second):
        edited = changes.apply(lambda offset, length: data[offset : offset + length], 0, len(data), EXPLICIT)
        results.append(edited.read(0, edited.length))
    assert results[0] == results[1]


class TestSetsOfTheConfiguration:
    PLAIN = Changes(steps=(PrefixStep("PatientName", text="X-"),))

    def test_one_of_them(self) -> None:
        after = applied(ChangeRequest("modify", Modification("study"), "plain"), plain=self.PLAIN)
        assert after.PatientName == "X-Doe^Jane"

    def test_into_another_transfer_syntax(self) -> None:
        wanted = ChangeRequest("modify", Modification("study"), "plain", transcode="1.2.840.10008.1.2")
        assert applied(wanted, plain=self.PLAIN).PatientName == "X-Doe^Jane"

    @pytest.mark.parametrize(
        ("what", "name", "why"),
        [("modify", "none", "there is no"), ("anonymize", "plain", "does not de-identify"), ("modify", "wrong", "key")],
    )
    def test_what_cannot_be_used(self, what: Any, name: str, why: str) -> None:
        known = {"plain": self.PLAIN, "wrong": Changes(deidentify=Deidentify())}
        with pytest.raises(BadRequest, match=why):
            compile_request(ChangeRequest(what, Modification("study"), name), KEY, known)
