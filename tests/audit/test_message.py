"""gateway/audit/message.py: entries as audit messages, by the schema of PS3.15 A.5.1 and the tables of A.5.3."""

from __future__ import annotations

import base64
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.entry import NO_SUBJECT, AuditEntry, AuditSubject, entry
from gateway.audit.message import EVENTS, audit_message, names_classes
from gateway.config import Audit
from gateway.database.actor import Actor
from gateway.scp.auditing import ACTIONS

STUDY: Final = AuditSubject("study", "a-b", "1.2.3", "P1")
CODED = ({"csd-code", "codeSystemName", "originalText"}, set(), [])
PARTICIPANT_OBJECT = (
    {"ParticipantObjectID", "ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"},
    {"ParticipantObjectDataLifeCycle", "ParticipantObjectSensitivity"},
    [
        ("ParticipantObjectIDTypeCode", 1, 1),
        ("ParticipantObjectName", 0, 1),
        ("ParticipantObjectQuery", 0, 1),
        ("ParticipantObjectDetail", 0, 99),
        ("ParticipantObjectDescription", 0, 1),
    ],
)
SCHEMA = {
    "AuditMessage": (
        set(),
        set(),
        [
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, 9),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, 99),
        ],
    ),
    "EventIdentification": (
        {"EventDateTime", "EventOutcomeIndicator"},
        {"EventActionCode"},
        [("EventID", 1, 1), ("EventTypeCode", 0, 9)],
    ),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
        [("RoleIDCode", 0, 9)],
    ),
    "AuditSourceIdentification": ({"AuditSourceID"}, {"AuditEnterpriseSiteID"}, []),
    "ParticipantObjectIdentification": PARTICIPANT_OBJECT,
    "EventID": CODED,
    "EventTypeCode": CODED,
    "RoleIDCode": CODED,
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": (set(), set(), []),
    "ParticipantObjectQuery": (set(), set(), []),
    "ParticipantObjectDetail": ({"type", "value"}, set(), []),
    "ParticipantObjectDescription": (set(), set(), [("SOPClass", 1, 99)]),
    "SOPClass": ({"NumberOfInstances"}, {"UID"}, []),
}
"""For each element: attributes that it must have, that it may have, and its children in order with their number."""
VALUES = {
    "EventActionCode": set("CRUDE"),
    "EventOutcomeIndicator": {"0", "4", "8", "12"},
    "UserIsRequestor": {"true", "false"},
    "NetworkAccessPointTypeCode": set("12345"),
    "ParticipantObjectTypeCode": set("1234"),
}


def check(element: ElementTree.Element) -> None:
    must, may, children = SCHEMA[element.tag]
    assert must <= set(element.attrib) <= must | may, element.tag
    for name, values in VALUES.items():
        assert element.get(name, min(values)) in values
    found = [child.tag for child in element]
    order = [name for name, _least, _most in children]
    assert found == sorted(found, key=order.index), element.tag
    if element.tag == "ParticipantObjectIdentification":  # One of the two, says the schema.
        assert found.count("ParticipantObjectName") + found.count("ParticipantObjectQuery") == 1
    for name, least, most in children:
        assert least <= found.count(name) <= most, name
    for child in element:
        check(child)


def message(
    one: AuditEntry, settings: Audit | None = None, classes: dict[str, int] | None = None
) -> ElementTree.Element:
    """A message, read again and checked."""
    root = ElementTree.fromstring(audit_message(one, settings or Audit(), "GATEWAY", classes))
    check(root)
    return root


def code(root: ElementTree.Element, name: str = "EventID") -> str:
    found = root.find(f".//{name}")
    return found.attrib["csd-code"] if found is not None else ""


@pytest.mark.parametrize("action", sorted({*EVENTS, *ACTIONS.values(), "something new"}))
@pytest.mark.parametrize("origin", ["", "10.0.0.1", "CT1@10.0.0.1", "command line"])
def test_every_action(action: str, origin: str) -> None:
    for outcome in ("success", "denied", "failure"):
        for subject in (NO_SUBJECT, STUDY):
            message(entry(action, Actor("ann" if origin else "", "", origin), subject, at=1.5, outcome=outcome))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "subject", "detail", "origin", "event", "does"),
    [
        ("start", NO_SUBJECT, {}, "", "110100", "E"),
        ("attach", NO_SUBJECT, {}, "", "110108", "E"),
        ("detach", NO_SUBJECT, {}, "", "110108", "E"),
        ("reindex", NO_SUBJECT, {}, "command line", "110100", "E"),
        ("restore", NO_SUBJECT, {}, "command line", "110107", "C"),
        ("audit-logs", NO_SUBJECT, {}, "10.0.0.1", "110101", "R"),
        ("send", STUDY, {"method": "POST", "name": "pacs"}, "10.0.0.1", "110102", "E"),
        ("send", STUDY, {"to": "pacs"}, "", "110104", "R"),
        ("view", STUDY, {}, "10.0.0.1", "110103", "R"),
        ("modify", STUDY, {}, "10.0.0.1", "110103", "U"),
        ("upload", STUDY, {}, "CT1@10.0.0.1", "110104", "C"),
        ("download", STUDY, {}, "CT1@10.0.0.1", "110104", "R"),
        ("download", STUDY, {}, "10.0.0.1", "110106", "R"),
        ("delete", STUDY, {}, "10.0.0.1", "110105", "D"),
        ("delete", STUDY._replace(level="series"), {}, "10.0.0.1", "110103", "D"),
        ("import", NO_SUBJECT, {}, "command line", "110107", "C"),
        ("worklists", NO_SUBJECT, {"method": "DELETE"}, "10.0.0.1", "110109", "D"),
        ("search", NO_SUBJECT, {"keys": {"PatientID": "P1"}}, "10.0.0.1", "110112", "E"),
        ("settings", NO_SUBJECT, {}, "10.0.0.1", "110113", "E"),
        ("sign-in", NO_SUBJECT, {}, "10.0.0.1", "110114", "E"),
    ],
)
def test_events_of_a_5_3(
    action: str, subject: AuditSubject, detail: dict[str, str], origin: str, event: str, does: str
) -> None:
    root = message(entry(action, Actor("ann", "", origin), subject, at=1.5, detail=detail))
    assert code(root) == event
    assert root[0].attrib["EventActionCode"] == does


def test_network_entry() -> None:
    """The node itself, which asks for nothing (Table A.5.3.9-1)."""
    for action, kind in (("attach", "110124"), ("detach", "110125")):
        root = message(entry(action, Actor(), at=1.5))
        assert code(root, "EventTypeCode") == kind
        (us,) = root.findall("ActiveParticipant")
        assert (us.attrib["UserID"], us.attrib["UserIsRequestor"]) == ("GATEWAY", "false")


def classes_of(root: ElementTree.Element) -> dict[str, str]:
    return {each.attrib["UID"]: each.attrib["NumberOfInstances"] for each in root.iter("SOPClass")}


def test_sop_classes() -> None:
    """Of what came that of the entry, else those of the study; where nothing is said of instances, none."""
    caller, found = Actor("", "", "CT1@10.0.0.1"), {"1.2": 3, "1.3": 1}
    came = entry("upload", caller, STUDY, at=1.5, number=7, detail={"association": 1, "sop_class": "1.9"})
    assert not names_classes(came)
    assert classes_of(message(came, classes=found)) == {"1.9": "7"}
    seen = entry("view", caller, STUDY, at=1.5)
    assert names_classes(seen)
    assert classes_of(message(seen, classes=found)) == {"1.2": "3", "1.3": "1"}
    assert classes_of(message(seen)) == {}
    for action, subject in (("view", NO_SUBJECT), ("search", STUDY), ("settings", STUDY)):
        other = entry(action, caller, subject, at=1.5)
        assert not names_classes(other)
        assert classes_of(message(other, classes=found)) == {}


def test_what_is_denied_is_a_security_alert() -> None:
    root = message(entry("delete", Actor("ann", "", "10.0.0.1"), STUDY, at=1.5, outcome="denied"))
    assert (code(root), code(root, "EventTypeCode")) == ("110113", "110132")
    assert root[0].attrib["EventOutcomeIndicator"] == "8"


def test_who_when_where_and_what() -> None:
    one = entry("view", Actor("ann", "viewer", "10.0.0.1"), STUDY, at=1795968921.25, number=7)
    root = message(one._replace(seq=12, hash=b"\1" * 32), Audit(source="Archive 1", site="North"))
    assert root[0].attrib["EventDateTime"] == "2026-11-29T16:15:21.250Z"
    us, them = root.findall("ActiveParticipant")
    assert us.attrib == {"UserID": "GATEWAY", "AlternativeUserID": "AETITLES=GATEWAY", "UserIsRequestor": "false"}
    assert them.attrib == {
        "UserID": "ann",
        "UserName": "ann",
        "AlternativeUserID": "viewer",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.1",
        "NetworkAccessPointTypeCode": "2",
    }
    source = root.find("AuditSourceIdentification")
    assert source is not None
    assert source.attrib == {"AuditSourceID": "Archive 1", "AuditEnterpriseSiteID": "North"}
    study, patient, log = root.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), code(study, "ParticipantObjectIDTypeCode")) == ("1.2.3", "110180")
    assert (patient.get("ParticipantObjectID"), patient.get("ParticipantObjectTypeCode")) == ("P1", "1")
    assert log.get("ParticipantObjectID") == "/auth/audit-logs#12"
    details = {each.get("type"): base64.b64decode(each.attrib["value"]) for each in log.iter("ParticipantObjectDetail")}
    assert (details["hash"], details["number"], details["public-id"]) == (b"01" * 32, b"7", b"a-b")


def test_a_transfer_has_its_source_and_destination() -> None:
    def roles(one: AuditEntry) -> list[tuple[str, str]]:
        return [(each.attrib["UserID"], code(each, "RoleIDCode")) for each in message(one).iter("ActiveParticipant")]

    caller = Actor("", "", "CT1@10.0.0.1")
    assert roles(entry("upload", caller, STUDY, at=1.0)) == [("GATEWAY", "110152"), ("CT1", "110153")]
    assert roles(entry("download", caller, STUDY, at=1.0)) == [("GATEWAY", "110153"), ("CT1", "110152")]
    moved = entry("send", caller, STUDY, at=1.0, detail={"destination": "PACS"})
    assert roles(moved) == [("GATEWAY", "110153"), ("CT1", ""), ("PACS", "110152")]


@given(st.text(max_size=40))
def test_any_text_is_well_formed(text: str) -> None:
    subject = AuditSubject("study", text, text, text)
    message(entry("search", Actor(text, text, text), subject, at=1.0, detail={"keys": {text: text}}))
    message(entry("send", Actor(text, text, f"{text}@{text}"), subject, at=1.0, detail={"to": text}))
