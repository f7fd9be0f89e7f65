"""The messages of PS3.7 §9.3 (DIMSE-C) and §10.3 (DIMSE-N) as command sets.

Here: one function for each message, with the elements that its table in the standard lists. A response is made from its
request, and takes message ID and UIDs from there. Not here: data sets, and what the services mean.
"""

from __future__ import annotations

from gateway.dimse import command as c
from gateway.dimse.command import DATA_SET, NO_DATA_SET, Command


def c_echo_request(message_id: int, sop_class_uid: str = "1.2.840.10008.1.1") -> Command:
    """C-ECHO-RQ (§9.3.5.1)."""
    return Command(c.C_ECHO_RQ, affected_sop_class_uid=sop_class_uid, message_id=message_id)


def c_echo_response(request: Command, status: int = 0) -> Command:
    """C-ECHO-RSP (§9.3.5.2)."""
    return response(request, status)


def c_store_request(
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    *,
    priority: int = c.PRIORITY_MEDIUM,
    move_originator_aet: str | None = None,
    move_originator_message_id: int | None = None,
) -> Command:
    """C-STORE-RQ (§9.3.1.1); the move originator is named when a C-MOVE is the cause."""
    return Command(
        c.C_STORE_RQ,
        DATA_SET,
        affected_sop_class_uid=sop_class_uid,
        message_id=message_id,
        priority=priority,
        affected_sop_instance_uid=sop_instance_uid,
        move_originator_aet=move_originator_aet,
        move_originator_message_id=move_originator_message_id,
    )


def c_store_response(request: Command, status: int = 0, error_comment: str | None = None) -> Command:
    """C-STORE-RSP (§9.3.1.2)."""
    return response(request, status, error_comment)


def c_find_request(message_id: int, sop_class_uid: str, *, priority: int = c.PRIORITY_MEDIUM) -> Command:
    """C-FIND-RQ (§9.3.2.1); the identifier follows."""
    return Command(
        c.C_FIND_RQ, DATA_SET, affected_sop_class_uid=sop_class_uid, message_id=message_id, priority=priority
    )


def c_find_response(request: Command, status: int = 0, error_comment: str | None = None) -> Command:
    """C-FIND-RSP (§9.3.2.2); an identifier follows with the pending statuses only."""
    return response(request, status, error_comment, data_set=status in (0xFF00, 0xFF01))


def c_get_request(message_id: int, sop_class_uid: str, *, priority: int = c.PRIORITY_MEDIUM) -> Command:
    """C-GET-RQ (§9.3.3.1); the identifier follows."""
    return Command(c.C_GET_RQ, DATA_SET, affected_sop_class_uid=sop_class_uid, message_id=message_id, priority=priority)


def c_move_request(
    message_id: int, sop_class_uid: str, move_destination: str, *, priority: int = c.PRIORITY_MEDIUM
) -> Command:
    """C-MOVE-RQ (§9.3.4.1); the identifier follows."""
    return Command(
        c.C_MOVE_RQ,
        DATA_SET,
        affected_sop_class_uid=sop_class_uid,
        message_id=message_id,
        priority=priority,
        move_destination=move_destination,
    )


def retrieve_response(
    request: Command,
    status: int,
    *,
    remaining: int | None = None,
    completed: int = 0,
    failed: int = 0,
    warning: int = 0,
    error_comment: str | None = None,
    data_set: bool = False,
) -> Command:
    """C-GET-RSP (§9.3.3.2) or C-MOVE-RSP (§9.3.4.2): numbers of sub-operations; `data_set` if the list of failed
    SOP instance UIDs follows. `remaining` belongs in pending and cancel responses only: None leaves it out.
    """
    answer = response(request, status, error_comment, data_set=data_set)
    answer.remaining_suboperations = remaining
    answer.completed_suboperations = completed
    answer.failed_suboperations = failed
    answer.warning_suboperations = warning
    return answer


def c_get_response(request: Command, status: int, **numbers: int | None) -> Command:
    """C-GET-RSP; `numbers` as of `retrieve_response`."""
    return retrieve_response(request, status, **numbers)  # type: ignore[arg-type]


def c_move_response(request: Command, status: int, **numbers: int | None) -> Command:
    """C-MOVE-RSP; `numbers` as of `retrieve_response`."""
    return retrieve_response(request, status, **numbers)  # type: ignore[arg-type]


def c_cancel_request(message_id_being_responded_to: int) -> Command:
    """C-CANCEL-RQ of a find, get or move (§9.3.2.3); it has no message ID of its own and no response."""
    return Command(c.C_CANCEL_RQ, message_id_being_responded_to=message_id_being_responded_to)


def n_event_report_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type_id: int, *, data_set: bool = True
) -> Command:
    """N-EVENT-REPORT-RQ (§10.3.1.1)."""
    return Command(
        c.N_EVENT_REPORT_RQ,
        _type(data_set),
        affected_sop_class_uid=sop_class_uid,
        message_id=message_id,
        affected_sop_instance_uid=sop_instance_uid,
        event_type_id=event_type_id,
    )


def n_get_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, attributes: list[int] | None = None
) -> Command:
    """N-GET-RQ (§10.3.2.1): `attributes` are the requested tags, None for all."""
    return Command(
        c.N_GET_RQ,
        requested_sop_class_uid=sop_class_uid,
        message_id=message_id,
        requested_sop_instance_uid=sop_instance_uid,
        attribute_identifier_list=attributes,
    )


def n_set_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> Command:
    """N-SET-RQ (§10.3.3.1); the modification list follows."""
    return Command(
        c.N_SET_RQ,
        DATA_SET,
        requested_sop_class_uid=sop_class_uid,
        message_id=message_id,
        requested_sop_instance_uid=sop_instance_uid,
    )


def n_action_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type_id: int, *, data_set: bool = True
) -> Command:
    """N-ACTION-RQ (§10.3.4.1)."""
    return Command(
        c.N_ACTION_RQ,
        _type(data_set),
        requested_sop_class_uid=sop_class_uid,
        message_id=message_id,
        requested_sop_instance_uid=sop_instance_uid,
        action_type_id=action_type_id,
    )


def n_create_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str | None = None, *, data_set: bool = True
) -> Command:
    """N-CREATE-RQ (§10.3.5.1); without an instance UID the performer makes one."""
    return Command(
        c.N_CREATE_RQ,
        _type(data_set),
        affected_sop_class_uid=sop_class_uid,
        message_id=message_id,
        affected_sop_instance_uid=sop_instance_uid,
    )


def n_delete_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> Command:
    """N-DELETE-RQ (§10.3.6.1)."""
    return Command(
        c.N_DELETE_RQ,
        requested_sop_class_uid=sop_class_uid,
        message_id=message_id,
        requested_sop_instance_uid=sop_instance_uid,
    )


def n_response(
    request: Command, status: int = 0, *, data_set: bool = False, error_comment: str | None = None
) -> Command:
    """The response to any DIMSE-N request (§10.3), with the affected or requested UIDs of the request."""
    answer = response(request, status, error_comment, data_set=data_set)
    answer.event_type_id = request.event_type_id
    answer.action_type_id = request.action_type_id
    return answer


def response(request: Command, status: int, error_comment: str | None = None, *, data_set: bool = False) -> Command:
    """A response to any request: its command field, message ID and UIDs, with `status`."""
    answer = Command.__new__(Command)
    values, field = answer.__dict__, request.__dict__.get
    values["affected_sop_class_uid"] = field("affected_sop_class_uid") or field("requested_sop_class_uid")
    values["command_field"] = request.command_field | 0x8000
    values["message_id_being_responded_to"] = field("message_id")
    values["command_data_set_type"] = _type(data_set)
    values["status"] = status
    values["affected_sop_instance_uid"] = field("affected_sop_instance_uid") or field("requested_sop_instance_uid")
    if error_comment is not None:
        values["error_comment"] = error_comment
    return answer


def _type(data_set: bool) -> int:
    return DATA_SET if data_set else NO_DATA_SET
