"""PS3.7 §9.3 and §10.3: each message, byte for byte as pynetdicom writes it."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from pynetdicom import dimse_messages, dimse_primitives

from gateway.dimse import messages
from gateway.dimse.command import Command
from tests.support.links import CT

UID = "1.2.826.0.1.3680043.8.498.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def theirs(message: str, **fields: object) -> bytes:
    """The command set of a message, as pynetdicom encodes it from a primitive of the same kind."""
    primitive = getattr(dimse_primitives, message.rsplit("_", 1)[0])()
    for name, value in fields.items():
        setattr(primitive, name, BytesIO(b"xx") if value is BytesIO else value)
    encoder = getattr(dimse_messages, message)()
    encoder.primitive_to_message(primitive)
    (value, *_) = encoder.encode_msg(1, 0)
    context_id, data = value.presentation_data_value_list[0]
    assert context_id == 1
    return data[1:]


STORE = messages.c_store_request(7, CT, UID)
ECHO = messages.c_echo_request(7)
FINDING = messages.c_find_request(7, FIND)
GETTING = messages.c_get_request(7, FIND)
MOVING = messages.c_move_request(7, FIND, "DEST")
ASKED = {"MessageIDBeingRespondedTo": 7}
NUMBERS = {
    "NumberOfRemainingSuboperations": 4,
    "NumberOfCompletedSuboperations": 3,
    "NumberOfFailedSuboperations": 2,
    "NumberOfWarningSuboperations": 1,
}
OURS = {"remaining": 4, "completed": 3, "failed": 2, "warning": 1}
QUERY = {"AffectedSOPClassUID": FIND, "MessageID": 7, "Priority": 0, "Identifier": BytesIO}
AFFECTED = {"AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": UID}
REQUESTED = {"RequestedSOPClassUID": CT, "RequestedSOPInstanceUID": UID}

CASES: list[tuple[Command, str, dict[str, object]]] = [
    (ECHO, "C_ECHO_RQ", {"AffectedSOPClassUID": "1.2.840.10008.1.1", "MessageID": 7}),
    (messages.c_echo_response(ECHO), "C_ECHO_RSP", ASKED | {"AffectedSOPClassUID": "1.2.840.10008.1.1", "Status": 0}),
    (STORE, "C_STORE_RQ", AFFECTED | {"MessageID": 7, "Priority": 0, "DataSet": BytesIO}),
    (
        messages.c_store_request(9, CT, UID, priority=2, move_originator_aet="MOVER", move_originator_message_id=3),
        "C_STORE_RQ",
        AFFECTED
        | {"MessageID": 9, "Priority": 2, "DataSet": BytesIO}
        | {"MoveOriginatorApplicationEntityTitle": "MOVER", "MoveOriginatorMessageID": 3},
    ),
    (messages.c_store_response(STORE), "C_STORE_RSP", ASKED | AFFECTED | {"Status": 0}),
    (
        messages.c_store_response(STORE, 0xA700, "the disk is full"),
        "C_STORE_RSP",
        ASKED | AFFECTED | {"Status": 0xA700, "ErrorComment": "the disk is full"},
    ),
    (FINDING, "C_FIND_RQ", QUERY),
    (messages.c_find_response(FINDING), "C_FIND_RSP", ASKED | {"AffectedSOPClassUID": FIND, "Status": 0}),
    (
        messages.c_find_response(FINDING, 0xFF00),
        "C_FIND_RSP",
        ASKED | {"AffectedSOPClassUID": FIND, "Status": 0xFF00, "Identifier": BytesIO},
    ),
    (GETTING, "C_GET_RQ", QUERY),
    (
        messages.c_get_response(GETTING, 0xFF00, **OURS),
        "C_GET_RSP",
        ASKED | NUMBERS | {"AffectedSOPClassUID": FIND, "Status": 0xFF00},
    ),
    (MOVING, "C_MOVE_RQ", QUERY | {"MoveDestination": "DEST"}),
    (
        messages.c_move_response(MOVING, 0xFF00, **OURS),
        "C_MOVE_RSP",
        ASKED | NUMBERS | {"AffectedSOPClassUID": FIND, "Status": 0xFF00},
    ),
    (messages.c_cancel_request(7), "C_CANCEL_RQ", ASKED),
    (
        messages.n_event_report_request(7, CT, UID, 1),
        "N_EVENT_REPORT_RQ",
        AFFECTED | {"MessageID": 7, "EventTypeID": 1, "EventInformation": BytesIO},
    ),
    (
        messages.n_response(messages.n_event_report_request(7, CT, UID, 1)),
        "N_EVENT_REPORT_RSP",
        AFFECTED | ASKED | {"EventTypeID": 1, "Status": 0},
    ),
    (
        messages.n_get_request(7, CT, UID, [0x00100010, 0x7FE00010]),
        "N_GET_RQ",
        REQUESTED | {"MessageID": 7, "AttributeIdentifierList": [0x00100010, 0x7FE00010]},
    ),
    (
        messages.n_response(messages.n_get_request(7, CT, UID), data_set=True),
        "N_GET_RSP",
        AFFECTED | ASKED | {"Status": 0, "AttributeList": BytesIO},
    ),
    (
        messages.n_set_request(7, CT, UID),
        "N_SET_RQ",
        REQUESTED | {"MessageID": 7, "ModificationList": BytesIO},
    ),
    (
        messages.n_action_request(7, CT, UID, 1, data_set=False),
        "N_ACTION_RQ",
        REQUESTED | {"MessageID": 7, "ActionTypeID": 1},
    ),
    (
        messages.n_response(messages.n_action_request(7, CT, UID, 1), 0x0112),
        "N_ACTION_RSP",
        AFFECTED | ASKED | {"ActionTypeID": 1, "Status": 0x0112},
    ),
    (
        messages.n_create_request(7, CT, UID),
        "N_CREATE_RQ",
        AFFECTED | {"MessageID": 7, "AttributeList": BytesIO},
    ),
    (messages.n_delete_request(7, CT, UID), "N_DELETE_RQ", REQUESTED | {"MessageID": 7}),
    (
        messages.n_response(messages.n_delete_request(7, CT, UID)),
        "N_DELETE_RSP",
        AFFECTED | ASKED | {"Status": 0},
    ),
]


@pytest.mark.parametrize(("command", "message", "fields"), CASES, ids=lambda value: getattr(value, "name", None))
def test_byte_for_byte_as_pynetdicom(command: Command, message: str, fields: dict[str, object]) -> None:
    assert command.encode() == theirs(message, **fields)
    assert command.name == message.replace("_", "-").replace("EVENT-REPORT", "EVENT-REPORT")


def test_a_response_that_ends_a_retrieve_names_no_remaining_suboperations() -> None:
    answer = messages.c_get_response(GETTING, 0, completed=3)
    assert answer.remaining_suboperations is None
    assert answer.completed_suboperations == 3
    failed = messages.c_move_response(MOVING, 0xB000, completed=3, failed=1, data_set=True, error_comment="one failed")
    assert failed.has_data_set
    assert failed.error_comment == "one failed"


def test_an_instance_may_be_named_by_the_performer() -> None:
    assert messages.n_create_request(7, CT, data_set=False).affected_sop_instance_uid is None


@pytest.mark.parametrize("make", [messages.c_echo_response, messages.c_store_response, messages.c_find_response])
def test_a_response_answers_its_request(make: Callable[[Command, int], Command]) -> None:
    answer = make(STORE, 0xC000)
    assert answer.message_id_being_responded_to == STORE.message_id
    assert answer.status == 0xC000
    assert not answer.has_data_set
