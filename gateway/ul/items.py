"""Items and sub-items of A-ASSOCIATE-RQ and -AC: PS3.8 §9.3.2 and §9.3.3, PS3.7 Annex D.3.3.

Here: the contents of an association PDU, encoded and decoded. Not here: the PDUs around them (`pdu`), the choice of
contexts (`negotiation`).

Decoding is as liberal as the standard asks: reserved bytes are not tested, unknown items are skipped, UIDs and names
may be padded with NUL or space. Unreadable items raise ProtocolError with reason 6, invalid PDU parameter value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import ProtocolError

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"
"""The DICOM application context (PS3.7 Annex A.2.1), the only one there is."""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"

MAX_CONTEXTS = 128
"""Context identifiers are odd and fit in a byte, so 128 is the most there can be (PS3.8 §9.3.2.2)."""

MIN_MAX_LENGTH = 64
"""A shorter maximum length, 0 apart, is refused: 12 bytes of header for a handful of data are of no use."""

UNRECOGNIZED_PDU, UNEXPECTED_PDU, UNRECOGNIZED_PARAMETER = 1, 2, 4
UNEXPECTED_PARAMETER, INVALID_PARAMETER = 5, 6
"""Reasons of A-ABORT by the service-provider (PS3.8 Table 9-26)."""

_HEADER = struct.Struct(">BxH")
_U16 = struct.Struct(">H")


@dataclass(slots=True)
class ProposedContext:
    """A proposed presentation context (PS3.8 §9.3.2.2). `id` is odd, 1 to 255."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: list[str]


@dataclass(slots=True)
class ContextResult:
    """The answer to a proposed context (PS3.8 §9.3.3.2).

    `result` is of Table 9-18: 0 acceptance, 1 user-rejection, 2 no-reason (provider rejection), 3 abstract syntax not
    supported, 4 transfer syntaxes not supported. `transfer_syntax` is significant with 0 only.
    """

    id: int
    result: int
    transfer_syntax: str = IMPLICIT_VR_LITTLE_ENDIAN


@dataclass(slots=True)
class AsynchronousOperations:
    """Asynchronous Operations Window (PS3.7 D.3.3.3). 0 means unlimited.

    `invoked` is how many operations the requestor may have outstanding, `performed` how many the acceptor may.
    """

    invoked: int = 1
    performed: int = 1


@dataclass(slots=True)
class RoleSelection:
    """SCP/SCU Role Selection (PS3.7 D.3.3.4): roles of the association *requestor*, proposed or granted."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(slots=True)
class ExtendedNegotiation:
    """SOP Class Extended Negotiation (PS3.7 D.3.3.5); the service class defines the bytes of `information`."""

    sop_class_uid: str
    information: bytes


@dataclass(slots=True)
class CommonExtendedNegotiation:
    """SOP Class Common Extended Negotiation (PS3.7 D.3.3.6), proposed only."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_classes: list[str] = field(default_factory=list)
    version: int = 0


@dataclass(slots=True)
class UserIdentity:
    """User Identity Negotiation of a request (PS3.7 D.3.3.7.1).

    `kind` is 1 user name, 2 user name and passcode, 3 Kerberos service ticket, 4 SAML assertion, 5 JSON Web Token.
    """

    kind: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    response_requested: bool = False


@dataclass(slots=True)
class UserInformation:
    """The User Information item (PS3.8 §9.3.2.3 and Annex D; PS3.7 D.3.3).

    `max_length` is the longest variable field of a P-DATA-TF PDU, in bytes, that the sender of the item can receive;
    0 means no limit. `identity_response` is the server-response of an accept, None where absent.
    """

    max_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    operations: AsynchronousOperations | None = None
    roles: list[RoleSelection] = field(default_factory=list)
    extended: list[ExtendedNegotiation] = field(default_factory=list)
    common_extended: list[CommonExtendedNegotiation] = field(default_factory=list)
    identity: UserIdentity | None = None
    identity_response: bytes | None = None

    def encode(self) -> bytes:
        """The whole item, sub-items in the order of their types."""
        parts = [_item(0x51, self.max_length.to_bytes(4, "big"))]
        if self.implementation_class_uid:
            parts.append(_item(0x52, _ascii(self.implementation_class_uid)))
        if self.operations is not None:
            parts.append(_item(0x53, struct.pack(">HH", self.operations.invoked, self.operations.performed)))
        parts += [_item(0x54, _counted(_ascii(r.sop_class_uid)) + bytes((r.scu, r.scp))) for r in self.roles]
        if self.implementation_version_name:
            parts.append(_item(0x55, _ascii(self.implementation_version_name)))
        parts += [_item(0x56, _counted(_ascii(e.sop_class_uid)) + e.information) for e in self.extended]
        parts += [_encode_common(common) for common in self.common_extended]
        if self.identity is not None:
            who = self.identity
            head = bytes((who.kind, who.response_requested))
            parts.append(_item(0x58, head + _counted(who.primary) + _counted(who.secondary)))
        if self.identity_response is not None:
            parts.append(_item(0x59, _counted(self.identity_response)))
        return _item(0x50, b"".join(parts))

    def decode(self, data: bytes) -> None:
        """Decode the sub-items of one User Information item, without its header, into this object."""
        for kind, value, version in _items(data, "user information"):
            if kind == 0x51:
                self.max_length = _max_length(value)
            elif kind == 0x52:
                self.implementation_class_uid = text(value)
            elif kind == 0x53:
                if len(value) < 4:
                    raise _short("asynchronous operations window")
                self.operations = AsynchronousOperations(*struct.unpack_from(">HH", value))
            elif kind == 0x54:
                self.roles.append(_decode_role(value))
            elif kind == 0x55:
                self.implementation_version_name = text(value)
            elif kind == 0x56:
                uid, at = _take(value, 0, "SOP class extended negotiation")
                self.extended.append(ExtendedNegotiation(text(uid), value[at:]))
            elif kind == 0x57:
                self.common_extended.append(_decode_common(value, version))
            elif kind == 0x58:
                self.identity = _decode_identity(value)
            elif kind == 0x59:
                self.identity_response = _take(value, 0, "user identity response")[0]


def encode_application_context(name: str) -> bytes:
    """The Application Context item (PS3.8 §9.3.2.1)."""
    return _item(0x10, _ascii(name))


def encode_proposed(context: ProposedContext) -> bytes:
    """A Presentation Context item of a request (PS3.8 §9.3.2.2)."""
    syntaxes = b"".join([_item(0x40, _ascii(uid)) for uid in context.transfer_syntaxes])
    return _item(0x20, bytes((context.id, 0, 0, 0)) + _item(0x30, _ascii(context.abstract_syntax)) + syntaxes)


def encode_result(context: ContextResult) -> bytes:
    """A Presentation Context item of an accept (PS3.8 §9.3.3.2)."""
    return _item(0x21, bytes((context.id, 0, context.result, 0)) + _item(0x40, _ascii(context.transfer_syntax)))


@dataclass(slots=True)
class AssociateItems:
    """The decoded variable items of an association PDU; a request fills `proposed`, an accept `results`."""

    application_context: str = ""
    proposed: list[ProposedContext] = field(default_factory=list)
    results: list[ContextResult] = field(default_factory=list)
    user_information: UserInformation = field(default_factory=UserInformation)


def decode_items(data: bytes) -> AssociateItems:
    """Decode the variable items of an A-ASSOCIATE-RQ or -AC. A missing item leaves its default.

    Raises: ProtocolError (reason 6) for an item that runs past its container or lacks a field; for an even or repeated
    context identifier; for more than 128 contexts.
    """
    items = AssociateItems()
    seen: set[int] = set()
    for kind, value, _ in _items(data, "association PDU"):
        if kind == 0x10:
            items.application_context = text(value)
        elif kind == 0x50:
            items.user_information.decode(value)
        elif kind in (0x20, 0x21):
            if len(value) < 4:
                raise _short("presentation context")
            identifier = value[0]
            if not identifier & 1:
                raise _invalid(f"presentation context identifier {identifier} is not odd")
            if identifier in seen:
                raise _invalid(f"presentation context identifier {identifier} occurs twice")
            seen.add(identifier)
            if kind == 0x20:
                items.proposed.append(_decode_proposed(identifier, value[4:]))
            else:
                items.results.append(_decode_result(identifier, value[2], value[4:]))
    return items


def text(value: bytes) -> str:
    """A UID, AE title or name without its padding; characters that are not printable ASCII are escaped for logs."""
    stripped = value.strip(b" \0")
    decoded = stripped.decode("ascii", "backslashreplace")
    return decoded if decoded.isprintable() else decoded.encode("unicode_escape").decode("ascii")


def _decode_proposed(identifier: int, data: bytes) -> ProposedContext:
    abstract_syntax, syntaxes = "", []
    for kind, value, _ in _items(data, "presentation context"):
        if kind == 0x30:
            abstract_syntax = text(value)
        elif kind == 0x40:
            syntaxes.append(text(value))
    if not abstract_syntax:
        raise _invalid(f"presentation context {identifier} names no abstract syntax")
    return ProposedContext(identifier, abstract_syntax, syntaxes)


def _decode_result(identifier: int, result: int, data: bytes) -> ContextResult:
    syntaxes = [text(value) for kind, value, _ in _items(data, "presentation context") if kind == 0x40]
    if result == 0 and not syntaxes:
        raise _invalid(f"presentation context {identifier} was accepted without a transfer syntax")
    return ContextResult(identifier, result, syntaxes[0] if syntaxes else "")


def _max_length(value: bytes) -> int:
    if len(value) < 4:
        raise _short("maximum length")
    length = int.from_bytes(value[:4], "big")
    if 0 < length < MIN_MAX_LENGTH:
        raise _invalid(f"a maximum length of {length} bytes leaves no room for data")
    return length


def _decode_role(value: bytes) -> RoleSelection:
    uid, at = _take(value, 0, "role selection")
    if len(value) < at + 2:
        raise _short("role selection")
    return RoleSelection(text(uid), value[at] == 1, value[at + 1] == 1)


def _decode_identity(value: bytes) -> UserIdentity:
    if len(value) < 2:
        raise _short("user identity")
    primary, at = _take(value, 2, "user identity")
    # Some requestors end the sub-item after the primary field if there is no passcode.
    secondary = _take(value, at, "user identity")[0] if at < len(value) else b""
    return UserIdentity(value[0], primary, secondary, value[1] == 1)


def _encode_common(common: CommonExtendedNegotiation) -> bytes:
    related = b"".join([_counted(_ascii(uid)) for uid in common.related_general_sop_classes])
    value = _counted(_ascii(common.sop_class_uid)) + _counted(_ascii(common.service_class_uid)) + _counted(related)
    return bytes((0x57, common.version)) + _counted(value)


def _decode_common(value: bytes, version: int) -> CommonExtendedNegotiation:
    name = "common extended negotiation"
    sop_class, at = _take(value, 0, name)
    service_class, at = _take(value, at, name)
    related, at = _take(value, at, name)
    uids, at = [], 0
    while at < len(related):
        uid, at = _take(related, at, name)
        uids.append(text(uid))
    return CommonExtendedNegotiation(text(sop_class), text(service_class), uids, version)


def _items(data: bytes, container: str) -> Iterator[tuple[int, bytes, int]]:
    """(type, value, second byte) of each item: one byte of type, one reserved, two of length."""
    at, end = 0, len(data)
    while at < end:
        if at + 4 > end:
            raise _invalid(f"{end - at} bytes left over at the end of the {container}")
        kind, length = _HEADER.unpack_from(data, at)
        if at + 4 + length > end:
            raise _invalid(f"item {kind:02X}H of {length} bytes runs past the end of the {container}")
        yield kind, data[at + 4 : at + 4 + length], data[at + 1]
        at += 4 + length


def _take(data: bytes, at: int, name: str) -> tuple[bytes, int]:
    """A field with a two-byte length, and the offset behind it."""
    if at + 2 > len(data):
        raise _short(name)
    end = at + 2 + int(_U16.unpack_from(data, at)[0])
    if end > len(data):
        raise _short(name)
    return data[at + 2 : end], end


def _item(kind: int, value: bytes) -> bytes:
    return _HEADER.pack(kind, len(value)) + value


def _counted(value: bytes) -> bytes:
    return _U16.pack(len(value)) + value


def _ascii(value: str) -> bytes:
    return value.encode("ascii", "replace")


def _short(name: str) -> ProtocolError:
    return _invalid(f"the {name} item is too short for its fields")


def _invalid(detail: str) -> ProtocolError:
    return ProtocolError(detail, reason=INVALID_PARAMETER)
