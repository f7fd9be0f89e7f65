"""Rules against instances: which apply, in which order, and the words for those that do not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from gateway.config.routes import Rule
from gateway.dicom.encode import Attribute, DataSet
from gateway.errors import ConfigurationError
from gateway.routing.conditions import Facts
from gateway.routing.router import Router

CT = {
    0x00080060: Attribute("CS", ["CT"]),
    0x00080008: Attribute("CS", ["ORIGINAL", "PRIMARY", "AXIAL"]),
    0x00100010: Attribute("PN", ["Müller^Änne"]),
    0x00101010: Attribute("AS", ["044Y"]),
    0x00080020: Attribute("DA", ["20260131"]),
    0x00180050: Attribute("DS", ["1.25"]),
    0x00081030: Attribute("LO", []),
    0x00400275: Attribute("SQ", [{0x00400009: Attribute("SH", ["A1"])}, {0x00400009: Attribute("SH", ["A2"])}]),
    0x00190011: Attribute("LO", ["OTHER"]),
    0x00190012: Attribute("LO", ["ACME 1.0"]),
    0x00191208: Attribute("LO", ["secret"]),
}
TUESDAY = datetime.fromisoformat("2026-03-03T10:30").timestamp()


def facts(data_set: DataSet | None = None, **changes: Any) -> Facts:
    told = {"calling_aet": "CT1", "called_aet": "GATEWAY", "peer": "10.1.2.3", "via": "dimse", "received_at": TUESDAY}
    return Facts(**{**told, **changes}, data_set=CT if data_set is None else data_set)


def rule(**fields: Any) -> Rule:
    return msgspec.convert({"destinations": ["pacs"], **fields}, Rule)


def passes_for(test: dict[str, Any], data_set: DataSet | None = None) -> bool:
    return bool(list(Router({"r": rule(attributes=[test])}).route(facts(data_set))))


@pytest.mark.parametrize(
    ("fields", "applies"),
    [
        ({}, True),
        ({"calling_aets": ["MR1", "CT*"]}, True),
        ({"calling_aets": ["MR1"]}, False),
        ({"called_aets": ["GATE?AY"]}, True),
        ({"peers": ["10.1.0.0/16"]}, True),
        ({"peers": ["10.2.0.0/16", "::1"]}, False),
        ({"via": ["stow", "rest"]}, False),
        ({"hours": ["10:00-11:00"]}, True),
        ({"hours": ["11:00-10:00"]}, False),
        ({"days": ["tue"]}, True),
        ({"days": ["sat", "sun"]}, False),
        ({"calling_aets": ["CT1"], "days": ["sun"]}, False),
    ],
)
def test_where_it_came_from_and_when(fields: dict[str, Any], applies: bool) -> None:
    assert bool(list(Router({"r": rule(**fields)}).route(facts()))) is applies


@pytest.mark.parametrize(
    ("test", "passes"),
    [
        ({"attribute": "Modality", "equals": "CT"}, True),
        ({"attribute": "Modality", "equals": "MR"}, False),
        ({"attribute": "00080060", "one_of": ["MR", "CT"]}, True),
        ({"attribute": "ImageType", "equals": "AXIAL"}, True),
        ({"attribute": "ImageType", "like": "AX*"}, True),
        ({"attribute": "ImageType", "like": "ax*"}, False),
        ({"attribute": "PatientName", "equals": "MÜLLER^ÄNNE"}, True),
        ({"attribute": "PatientName", "like": "müller*"}, True),
        ({"attribute": "PatientName", "matches": "(?i)m.*"}, True),
        ({"attribute": "PatientAge", "matches": r"\d{3}Y"}, True),
        ({"attribute": "PatientAge", "matches": r"\d{3}"}, False),
        ({"attribute": "StudyDate", "at_least": "2026"}, True),
        ({"attribute": "StudyDate", "at_least": "20260201"}, False),
        ({"attribute": "StudyDate", "at_least": "2026", "at_most": "202601"}, True),
        ({"attribute": "SliceThickness", "at_most": "1.5"}, True),
        ({"attribute": "SliceThickness", "at_least": "10"}, False),
        ({"attribute": "Modality", "present": True}, True),
        ({"attribute": "StudyDescription", "present": True}, False),
        ({"attribute": "StudyDescription", "present": False}, True),
        ({"attribute": "Modality", "equals": "CT", "inverted": True}, False),
        ({"attribute": "BodyPartExamined", "equals": "HEAD", "inverted": True}, True),
        ({"attribute": "RequestAttributesSequence.ScheduledProcedureStepID", "equals": "A2"}, True),
        ({"attribute": "RequestAttributesSequence[0].ScheduledProcedureStepID", "equals": "A2"}, False),
        ({"attribute": "RequestAttributesSequence", "present": True}, True),
        ({"attribute": "(0019,08,ACME 1.0)", "equals": "secret"}, True),
        ({"attribute": "(0019,08,OTHER)", "equals": "secret"}, False),
    ],
)
def test_attributes(test: dict[str, Any], passes: bool) -> None:
    assert passes_for(test) is passes


def test_every_tag_that_a_rule_needs_is_wanted() -> None:
    router = Router(
        {"r": rule(attributes=[{"attribute": a, "present": True} for a in ("Modality", "(0019,08,ACME 1.0)")])}
    )
    assert {0x00080060, 0x00190010, 0x001900FF, 0x00191008, 0x0019FF08} <= router.wanted
    assert not Router({}).wanted


def test_all_that_match_apply_unless_one_is_the_last() -> None:
    rules = {
        "all": rule(),
        "other": rule(calling_aets=["MR1"], last=True),
        "ct": rule(calling_aets=["CT1"], last=True),
        "never": rule(),
    }
    assert [name for name, _ in Router(rules).route(facts())] == ["all", "ct"]
    verdicts = Router(rules).explain(facts())
    assert [(v.rule, v.matches, v.evaluated) for v in verdicts] == [
        ("all", True, True),
        ("other", False, True),
        ("ct", True, True),
        ("never", False, False),
    ]


def test_every_reason_is_told() -> None:
    (verdict,) = Router(
        {
            "r": rule(
                calling_aets=["MR1"],
                peers=["192.168.0.0/24"],
                hours=["20:00-21:00"],
                days=["sun"],
                attributes=[
                    {"attribute": "Modality", "equals": "MR"},
                    {"attribute": "StudyDescription", "like": "*HEAD*"},
                    {"attribute": "PatientAge", "present": False},
                ],
            )
        }
    ).explain(facts())
    assert verdict.reasons == (
        "the calling AE title is 'CT1', not MR1",
        "it came from 10.1.2.3, not from 192.168.0.0/24",
        "it came on tue, not on sun",
        "it came at 10:30, not within 20:00-21:00",
        "Modality is 'CT', and must be 'MR'",
        "StudyDescription has no value, and must be like '*HEAD*'",
        "PatientAge is '044Y', and must be absent",
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"peers": ["ten"]}, r"rules\.r\.peers"),
        ({"hours": ["noon"]}, r"rules\.r\.hours"),
        ({"attributes": [{"attribute": "Modality"}]}, r"rules\.r\.attributes\[0\].*equals"),
        ({"attributes": [{"attribute": "Modalty", "equals": "CT"}]}, r"attributes\[0\]\.attribute.*Modalty"),
        ({"attributes": [{"attribute": "Modality", "matches": "("}]}, r"attributes\[0\]\.matches"),
        ({"attributes": [{"attribute": "Modality", "at_least": " "}]}, r"attributes\[0\]\.at_least"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_place(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Router({"r": rule(**fields)})


def test_expressions_that_would_backtrack_take_no_time() -> None:
    hostile = {0x00104000: Attribute("LT", ["a" * 60000])}
    assert not passes_for({"attribute": "PatientComments", "matches": "(a*)*b"}, hostile)
    assert not passes_for({"attribute": "PatientComments", "like": "*a" * 20 + "b"}, hostile)
