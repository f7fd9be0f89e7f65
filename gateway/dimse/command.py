"""The command set of a DIMSE message as a value, and as bytes: PS3.7 §6.3, §9.3, §10.3 and Annex E.

Here: decoding and encoding command elements, Implicit VR Little Endian, by one table. Not here: which elements each
message has (`messages`), fragments (`assembler`).
"""

from __future__ import annotations

import struct
from typing import Final

from gateway.errors import ProtocolError
from gateway.ul.items import text

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_GET_RQ, C_GET_RSP = 0x0010, 0x8010
C_FIND_RQ, C_FIND_RSP = 0x0020, 0x8020
C_MOVE_RQ, C_MOVE_RSP = 0x0021, 0x8021
C_ECHO_RQ, C_ECHO_RSP = 0x0030, 0x8030
C_CANCEL_RQ = 0x0FFF
N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0100, 0x8100
N_GET_RQ, N_GET_RSP = 0x0110, 0x8110
N_SET_RQ, N_SET_RSP = 0x0120, 0x8120
N_ACTION_RQ, N_ACTION_RSP = 0x0130, 0x8130
N_CREATE_RQ, N_CREATE_RSP = 0x0140, 0x8140
N_DELETE_RQ, N_DELETE_RSP = 0x0150, 0x8150
"""Values of Command Field (PS3.7 Annex E.1)."""

NO_DATA_SET: Final = 0x0101
DATA_SET: Final = 0x0001
"""Values of Command Data Set Type: anything but 0101H announces a data set; DCMTK and we say 0001H."""

PRIORITY_MEDIUM, PRIORITY_HIGH, PRIORITY_LOW = 0, 1, 2

_NAMES: Final[dict[int, str]] = {
    value: name.replace("_", "-")
    for name, value in list(globals().items())
    if name.startswith(("C_", "N_")) and isinstance(value, int)
}

_UI, _US, _AE, _LO, _AT = range(5)
MAX_COMMENT_LENGTH: Final = 64
"""Characters of an Error Comment (PS3.5 Table 6.2-1: LO)."""
# Every element of the command set that is not retired (PS3.7 Table E.1-1): element number in group 0000, the
# attribute of Command for it, and its value representation.
_ELEMENTS: Final[dict[int, tuple[str, int]]] = {
    0x0002: ("affected_sop_class_uid", _UI),
    0x0003: ("requested_sop_class_uid", _UI),
    0x0100: ("command_field", _US),
    0x0110: ("message_id", _US),
    0x0120: ("message_id_being_responded_to", _US),
    0x0600: ("move_destination", _AE),
    0x0700: ("priority", _US),
    0x0800: ("command_data_set_type", _US),
    0x0900: ("status", _US),
    0x0901: ("offending_element", _AT),
    0x0902: ("error_comment", _LO),
    0x0903: ("error_id", _US),
    0x1000: ("affected_sop_instance_uid", _UI),
    0x1001: ("requested_sop_instance_uid", _UI),
    0x1002: ("event_type_id", _US),
    0x1005: ("attribute_identifier_list", _AT),
    0x1008: ("action_type_id", _US),
    0x1020: ("remaining_suboperations", _US),
    0x1021: ("completed_suboperations", _US),
    0x1022: ("failed_suboperations", _US),
    0x1023: ("warning_suboperations", _US),
    0x1030: ("move_originator_aet", _AE),
    0x1031: ("move_originator_message_id", _US),
}
_ORDERED: Final = tuple((name, element, vr) for element, (name, vr) in _ELEMENTS.items())

_HEADER: Final = struct.Struct("<HHL")
_GROUP_LENGTH: Final = struct.Struct("<HHLL")
_SHORT: Final = struct.Struct("<HHLH")
_SHORT_VALUE: Final = struct.Struct("<H")


class Command:
    """One command set. An attribute is None where its element is absent or empty.

    UIDs, AE titles and the comment are text without padding; tags are ints such as 0x00100010.
    """

    command_field: int
    command_data_set_type: int
    affected_sop_class_uid: str | None = None
    requested_sop_class_uid: str | None = None
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    move_destination: str | None = None
    priority: int | None = None
    status: int | None = None
    offending_element: list[int] | None = None
    error_comment: str | None = None
    error_id: int | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    event_type_id: int | None = None
    attribute_identifier_list: list[int] | None = None
    action_type_id: int | None = None
    remaining_suboperations: int | None = None
    completed_suboperations: int | None = None
    failed_suboperations: int | None = None
    warning_suboperations: int | None = None
    move_originator_aet: str | None = None
    move_originator_message_id: int | None = None

    def __init__(
        self, command_field: int, command_data_set_type: int = NO_DATA_SET, **elements: int | str | list[int] | None
    ) -> None:
        """`elements` are attributes by name; None leaves one out. Raises: TypeError for an unknown name."""
        for name in elements:
            if name not in _ATTRIBUTES:
                raise TypeError(f"a command set has no {name}")
        values = self.__dict__
        values.update(elements)
        values["command_field"] = command_field
        values["command_data_set_type"] = command_data_set_type

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows the command (PS3.7 §9.3.1: any value but 0101H)."""
        return self.command_data_set_type != NO_DATA_SET

    @property
    def is_request(self) -> bool:
        """Whether the message is a request (or C-CANCEL), not a response."""
        return self.command_field < 0x8000

    @property
    def name(self) -> str:
        """The name of the message: `C-STORE-RQ`."""
        return _NAMES.get(self.command_field, f"command {self.command_field:04X}H")

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items() if not name.startswith("comm"))
        return f"<{self.name} {values}{', with data set' if self.has_data_set else ''}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Command):
            return NotImplemented
        return self._present() == other._present()

    __hash__ = None  # type: ignore[assignment]

    def _present(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if value is not None}

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> Command:
        """Decode a complete command set. Unknown and retired elements are skipped; order and group length are ignored.

        Raises: ProtocolError where an element runs past the end, is not of group 0000, or has a length that its value
        representation does not allow; where a field is missing that every message of its kind needs.
        """
        buffer = bytes(data)
        command = cls.__new__(cls)
        values = command.__dict__
        unpack, known, short = _HEADER.unpack_from, _ELEMENTS, _SHORT_VALUE.unpack_from
        at, end = 0, len(buffer)
        try:
            while at < end:
                group, element, length = unpack(buffer, at)
                at += 8
                stop = at + length
                if stop > end or group:
                    raise _unreadable(group, element, f"of {length} bytes at {at - 8} does not fit a command set")
                entry = known.get(element)
                if entry is not None and length:
                    name, vr = entry
                    if vr == _US:
                        if length != 2:
                            raise _unreadable(group, element, f"has {length} bytes, not 2")
                        values[name] = short(buffer, at)[0]
                    elif vr == _UI:
                        values[name] = text(buffer[at:stop])
                    elif vr == _AT:
                        if length % 4:
                            raise _unreadable(group, element, f"has {length} bytes, not a multiple of 4")
                        words = struct.unpack_from(f"<{length // 2}H", buffer, at)
                        values[name] = [high << 16 | low for high, low in zip(words[::2], words[1::2], strict=True)]
                    else:
                        values[name] = text(buffer[at:stop])
                at = stop
        except struct.error:
            raise ProtocolError(f"the command set ends inside the element at {at}") from None
        if "command_field" not in values or "command_data_set_type" not in values:
            raise ProtocolError("the command set lacks Command Field or Command Data Set Type")
        if values["command_field"] & 0x8000:
            if "message_id_being_responded_to" not in values or "status" not in values:
                raise ProtocolError(f"{command.name} lacks Message ID Being Responded To or Status")
        elif "message_id" not in values and values["command_field"] != C_CANCEL_RQ:
            raise ProtocolError(f"{command.name} lacks Message ID")
        return command

    def encode(self) -> bytes:
        """The command set with its group length, in the order of tags. Error Comment is cut to 64 characters."""
        values = self.__dict__
        get, short = values.get, _SHORT.pack
        parts = []
        for name, element, vr in _ORDERED:
            value = get(name)
            if value is None:
                continue
            if vr == _US:
                parts.append(short(0, element, 2, value))
                continue
            if vr == _UI:
                raw = value.encode("ascii")
                if len(raw) & 1:
                    raw += b"\0"
            elif vr == _AT:
                raw = b"".join([struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value])
            else:
                raw = value.encode("ascii", "replace")
                raw = _shortened(raw) if vr == _LO else raw[:16]
                if len(raw) & 1:
                    raw += b" "
            parts.append(_HEADER.pack(0, element, len(raw)) + raw)
        body = b"".join(parts)
        return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


_ATTRIBUTES: Final = frozenset(name for name, _ in _ELEMENTS.values())


def _unreadable(group: int, element: int, why: str) -> ProtocolError:
    return ProtocolError(f"element ({group:04X},{element:04X}) of the command set {why}")


def _shortened(comment: bytes) -> bytes:
    """An Error Comment within the length of an LO, cut between words: half a UID or number reads as another one."""
    if len(comment) <= MAX_COMMENT_LENGTH:
        return comment
    words = comment[: MAX_COMMENT_LENGTH + 1].rpartition(b" ")[0].rstrip(b" ,;:")
    return words or comment[:MAX_COMMENT_LENGTH]
