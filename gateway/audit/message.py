"""Entries of the audit log as DICOM audit messages (PS3.15 A.5): which event each action is, and its XML.

The log has studies, and what was done with them. The SOP classes that the messages of A.5.3 name are that of what came,
where the entry has it, and else those of which the study has instances when the message is sent.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from xml.etree import ElementTree

import msgspec

from gateway.audit.entry import AuditEntry
from gateway.config import Audit

Element = ElementTree.Element
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may have (XML 1.0 §2.2)."""
_DCM: Final = "DCM"
_RFC_3881: Final = "RFC-3881"
_OUTCOMES: Final = {"success": "0", "failure": "4", "denied": "8"}
"""EventOutcomeIndicator: success, minor failure, serious failure."""
_PERSON, _SYSTEM_OBJECT = "1", "2"
_PATIENT, _REPORT, _SECURITY_RESOURCE, _QUERY = "1", "3", "13", "24"
"""ParticipantObjectTypeCodeRole; a study is a report (A.5.3)."""
_LOG: Final = "/auth/audit-logs"
_SOP_CLASS: Final = "sop_class"
"""Member of the detail of an entry about instances that came."""


class Code(NamedTuple):
    """A coded value of the DICOM Controlled Terminology (PS3.16 Annex D)."""

    value: str
    meaning: str
    scheme: str = _DCM


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An event as A.5.3 describes it: its EventID, EventActionCode (C, R, U, D, E) and EventTypeCode."""

    id: Code
    action: str
    type: Code | None = None


_APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")
_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
_ORDER_RECORD: Final = Code("110109", "Order Record")
_SECURITY_ALERT: Final = Code("110113", "Security Alert")
_NETWORK_ENTRY: Final = Code("110108", "Network Entry")
_QUERIED: Final = AuditEvent(Code("110112", "Query"), "E")
_CONFIGURED: Final = AuditEvent(_SECURITY_ALERT, "E", Code("110131", "Software Configuration"))
_ROLES: Final = AuditEvent(_SECURITY_ALERT, "E", Code("110136", "Security Roles Changed"))
_ATTRIBUTES: Final = AuditEvent(_SECURITY_ALERT, "E", Code("110137", "User Security Attributes Changed"))
_RESTRICTED: Final = AuditEvent(_SECURITY_ALERT, "E", Code("110132", "Use of Restricted Function"))
_BEGUN: Final = AuditEvent(Code("110102", "Begin Transferring DICOM Instances"), "E")
_EXPORTED: Final = AuditEvent(Code("110106", "Export"), "R")
_STUDY_DELETED: Final = AuditEvent(Code("110105", "DICOM Study Deleted"), "D")
_SENT: Final = AuditEvent(_TRANSFERRED, "R")
EVENTS: Final = {
    "start": AuditEvent(_APPLICATION_ACTIVITY, "E", Code("110120", "Application Start")),
    "stop": AuditEvent(_APPLICATION_ACTIVITY, "E", Code("110121", "Application Stop")),
    "attach": AuditEvent(_NETWORK_ENTRY, "E", Code("110124", "Attach")),
    "detach": AuditEvent(_NETWORK_ENTRY, "E", Code("110125", "Detach")),
    "jobs": AuditEvent(_APPLICATION_ACTIVITY, "E"),
    "reindex": AuditEvent(_APPLICATION_ACTIVITY, "E"),
    "audit-logs": AuditEvent(Code("110101", "Audit Log Used"), "R"),
    "sign-in": AuditEvent(Code("110114", "User Authentication"), "E", Code("110122", "Login")),
    "sign-out": AuditEvent(Code("110114", "User Authentication"), "E", Code("110123", "Logout")),
    "break-glass": AuditEvent(_SECURITY_ALERT, "E", Code("110127", "Emergency Override Started")),
    "break-glass-end": AuditEvent(_SECURITY_ALERT, "E", Code("110138", "Emergency Override Stopped")),
    "tokens": _ATTRIBUTES,
    "account": _ATTRIBUTES,
    "connect": AuditEvent(_SECURITY_ALERT, "E", Code("110126", "Node Authentication")),
    "view": AuditEvent(_ACCESSED, "R"),
    "search": _QUERIED,
    "q-r-remote-modalities": _QUERIED,
    "download": _EXPORTED,
    "backup": _EXPORTED,
    "import": AuditEvent(Code("110107", "Import"), "C"),
    "restore": AuditEvent(Code("110107", "Import"), "C"),
    "upload": AuditEvent(_TRANSFERRED, "C"),
    "send": _SENT,
    "modify": AuditEvent(_ACCESSED, "U"),
    "edit-labels": AuditEvent(_ACCESSED, "U"),
    "anonymize": AuditEvent(_ACCESSED, "C"),
    "delete": AuditEvent(_ACCESSED, "D"),
    "storage-commitment": AuditEvent(_ACCESSED, "R"),
    "worklists": AuditEvent(_ORDER_RECORD, "R"),
    "share": _ROLES,
    "admin-permissions": _ROLES,
    "settings": _CONFIGURED,
    "route": _CONFIGURED,
}
"""Events by action; of another action it is a change of the configuration."""
_OF_INSTANCES: Final = frozenset({_ACCESSED, _TRANSFERRED, _BEGUN.id, _EXPORTED.id, _STUDY_DELETED.id})
"""Events whose messages name SOP classes (A.5.3.4, A.5.3.6 to A.5.3.8, A.5.3.12)."""
_WRITES: Final = {"POST": "C", "PUT": "U", "DELETE": "D"}


def event_of(one: AuditEntry) -> AuditEvent:
    """The event that an entry is."""
    event = EVENTS.get(one.action, _CONFIGURED)
    if one.outcome == "denied" and one.action not in ("sign-in", "connect"):
        return _RESTRICTED
    method = one.details.get("method")
    if one.action == "delete" and one.level in ("study", "patient"):
        return _STUDY_DELETED
    if one.action == "send" and method is not None:  # What came of it is another entry.
        return _BEGUN
    if one.action == "download" and "@" in one.origin:
        return _SENT
    if event.id == _ORDER_RECORD and isinstance(method, str):
        return AuditEvent(_ORDER_RECORD, _WRITES.get(method, "R"))
    return event


def names_classes(one: AuditEntry) -> bool:
    """Whether the message of an entry names the SOP classes of its study, which the entry does not have."""
    return bool(one.study_uid) and event_of(one).id in _OF_INSTANCES and _SOP_CLASS not in one.details


def audit_message(one: AuditEntry, settings: Audit, aet: str, classes: Mapping[str, int] | None = None) -> str:
    """An entry as an AuditMessage (PS3.15 A.5.1). `aet` is the AE title of the gateway; `classes` are the numbers of
    instances that the study has of each SOP class, where they are known."""
    event = event_of(one)
    root = Element("AuditMessage")
    moment = datetime.datetime.fromtimestamp(one.at, datetime.UTC).isoformat(timespec="milliseconds")
    identification = _child(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=moment.replace("+00:00", "Z"),
        EventOutcomeIndicator=_OUTCOMES[one.outcome],
    )
    _coded(identification, "EventID", event.id)
    if event.type is not None:
        _coded(identification, "EventTypeCode", event.type)
    _participants(root, one, event, aet)
    site = {"AuditEnterpriseSiteID": settings.site} if settings.site else {}
    _child(root, "AuditSourceIdentification", **site, AuditSourceID=settings.source or aet)
    _objects(root, one, event, classes or {})
    return ElementTree.tostring(root, encoding="unicode")


def _participants(root: Element, one: AuditEntry, event: AuditEvent, aet: str) -> None:
    """The gateway, who has asked it, and where instances went."""
    calling, _, address = one.origin.rpartition("@")
    transfers = event.id in (_TRANSFERRED, _BEGUN.id)
    receives = one.action == "upload"
    us = _child(
        root,
        "ActiveParticipant",
        UserID=aet,
        AlternativeUserID=f"AETITLES={aet}",
        UserIsRequestor=_yes(not one.origin and event.id != _NETWORK_ENTRY),
    )
    if event.id == _APPLICATION_ACTIVITY:
        _coded(us, "RoleIDCode", Code("110150", "Application"))
    elif transfers:
        _coded(us, "RoleIDCode", _DESTINATION if receives else _SOURCE)
    if one.origin:
        names = {"UserName": one.user} if one.user else {}
        if calling:
            names["AlternativeUserID"] = f"AETITLES={calling}"
        elif one.token:
            names["AlternativeUserID"] = one.token
        them = _child(root, "ActiveParticipant", UserID=one.user or calling or address, UserIsRequestor="true", **names)
        if _is_address(address):
            them.set("NetworkAccessPointID", address)
            them.set("NetworkAccessPointTypeCode", "2")
        if transfers and receives:
            _coded(them, "RoleIDCode", _SOURCE)
        elif transfers and calling and one.action == "download":
            _coded(them, "RoleIDCode", _DESTINATION)
    where = one.details.get("to", one.details.get("destination"))
    if transfers and isinstance(where, str):
        there = _child(root, "ActiveParticipant", UserID=where, UserIsRequestor="false")
        _coded(there, "RoleIDCode", _DESTINATION)


_SOURCE: Final = Code("110153", "Source Role ID")
_DESTINATION: Final = Code("110152", "Destination Role ID")


def _objects(root: Element, one: AuditEntry, event: AuditEvent, classes: Mapping[str, int]) -> None:
    """The study and the patient, the query, and the place of the entry in the log."""
    if one.study_uid:
        study = _object(root, one.study_uid, _SYSTEM_OBJECT, _REPORT, Code("110180", "Study Instance UID"))
        _child(study, "ParticipantObjectName").text = _clean(one.study_uid)
        if event.id in _OF_INSTANCES:
            came = one.details.get(_SOP_CLASS)
            _describe(study, {came: one.number} if isinstance(came, str) else classes)
    if one.patient_id:
        patient = _object(root, one.patient_id, _PERSON, _PATIENT, Code("2", "Patient Number", _RFC_3881))
        _child(patient, "ParticipantObjectName").text = _clean(one.patient_id)
    if event.id == _QUERIED.id:
        query = _object(root, one.action, _SYSTEM_OBJECT, _QUERY, Code("10", "Search Criteria", _RFC_3881))
        _child(query, "ParticipantObjectQuery").text = _base64(msgspec.json.encode(one.details.get("keys", {})))
    uri = Code("12", "URI", _RFC_3881)
    ours = _object(root, f"{_LOG}#{one.seq}", _SYSTEM_OBJECT, _SECURITY_RESOURCE, uri)
    _child(ours, "ParticipantObjectName").text = "Security Audit Log"
    details = {"action": one.action, "detail": one.detail, "hash": one.hash.hex(), "number": str(one.number)}
    details |= {"level": one.level, "public-id": one.public_id}
    for name, value in details.items():
        if value:
            _child(ours, "ParticipantObjectDetail", type=name, value=_base64(value.encode()))


def _describe(study: Element, classes: Mapping[str, int]) -> None:
    if not classes:
        return
    description = _child(study, "ParticipantObjectDescription")
    for uid, count in sorted(classes.items()):
        _child(description, "SOPClass", UID=uid, NumberOfInstances=str(count))


def _object(root: Element, identifier: str, kind: str, role: str, identified_by: Code) -> Element:
    made = _child(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(made, "ParticipantObjectIDTypeCode", identified_by)
    return made


def _child(parent: Element, name: str, **attributes: str) -> Element:
    values = {key.replace("_", "-"): _clean(value) for key, value in attributes.items()}
    return ElementTree.SubElement(parent, name, values)


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _coded(parent: Element, name: str, code: Code) -> None:
    _child(parent, name, csd_code=code.value, codeSystemName=code.scheme, originalText=code.meaning)


def _yes(truth: bool) -> str:
    return "true" if truth else "false"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
