"""The seven PDUs of PS3.8 §9.3, encoded and decoded.

Here: the fixed fields of each PDU. Not here: the items inside (`items`), which PDU may come when (`states`), and the
byte stream (`association`, which parses P-DATA-TF by itself, without this module: the
`PData` here is for tests, tools, and reading a PDU that is whole).

`encode` gives the whole PDU; `decode` takes the *body*, behind the six bytes of type and length. It raises
ProtocolError with the reason of PS3.8 Table 9-26, and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import ProtocolError
from gateway.ul.items import (
    APPLICATION_CONTEXT_NAME,
    INVALID_PARAMETER,
    UNRECOGNIZED_PDU,
    ContextResult,
    ProposedContext,
    UserInformation,
    decode_items,
    encode_application_context,
    encode_proposed,
    encode_result,
    text,
)

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""PDU types."""

PDU_HEADER = struct.Struct(">BxL")
PDV_HEADER = struct.Struct(">LBB")

_OTHER_PROTOCOLS = {b"HTTP/": "HTTP", b"SSH-": "SSH", b"220": "SMTP or FTP", b"\x15\x03": "TLS"}
"""Other protocols by the first bytes of their answer; TLS answers with an alert (RFC 8446 §6)."""

_FIXED = 68  # protocol version, two reserved bytes, two titles, 32 reserved bytes


@dataclass(slots=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 §9.3.2). AE titles are without their padding.

    `titles` are bytes 11 to 74 as received, since the accept returns them; empty in a request of ours.
    """

    called_aet: str
    calling_aet: str
    contexts: list[ProposedContext]
    user_information: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1
    titles: bytes = field(default=b"", repr=False, compare=False)

    def encode(self) -> bytes:
        titles = self.titles or _titles(self.called_aet, self.calling_aet)
        items = [encode_application_context(self.application_context)]
        items += [encode_proposed(context) for context in self.contexts]
        return _associate(ASSOCIATE_RQ, self.protocol_version, titles, items, self.user_information)

    @classmethod
    def decode(cls, body: bytes) -> AssociateRQ:
        version, titles, called, calling = _decode_fixed(body, "A-ASSOCIATE-RQ")
        items = decode_items(body[_FIXED:])
        return cls(called, calling, items.proposed, items.user_information, items.application_context, version, titles)


@dataclass(slots=True)
class AssociateAC:
    """A-ASSOCIATE-AC (PS3.8 §9.3.3).

    The titles are not to be tested when received. `titles` are bytes 11 to 74 of the request, which "shall be sent
    with a value identical to the value received"; `Association.accept` puts them there.
    """

    called_aet: str
    calling_aet: str
    contexts: list[ContextResult]
    user_information: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1
    titles: bytes = field(default=b"", repr=False, compare=False)

    def encode(self) -> bytes:
        titles = self.titles or _titles(self.called_aet, self.calling_aet)
        items = [encode_application_context(self.application_context)]
        items += [encode_result(context) for context in self.contexts]
        return _associate(ASSOCIATE_AC, self.protocol_version, titles, items, self.user_information)

    @classmethod
    def decode(cls, body: bytes) -> AssociateAC:
        version, titles, called, calling = _decode_fixed(body, "A-ASSOCIATE-AC")
        items = decode_items(body[_FIXED:])
        return cls(called, calling, items.results, items.user_information, items.application_context, version, titles)


@dataclass(slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 §9.3.4): `result`, `source` and `reason` of Table 9-21."""

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        return _short(ASSOCIATE_RJ, self.result, self.source, self.reason)

    @classmethod
    def decode(cls, body: bytes) -> AssociateRJ:
        return cls(*_four(body, "A-ASSOCIATE-RJ")[1:])


@dataclass(slots=True)
class PDV:
    """A presentation data value (PS3.8 §9.3.5.1 and Annex E.2) with its message control header."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes


@dataclass(slots=True)
class PData:
    """P-DATA-TF (PS3.8 §9.3.5)."""

    values: list[PDV]

    def encode(self) -> bytes:
        parts = [
            PDV_HEADER.pack(len(value.data) + 2, value.context_id, value.is_command | value.is_last << 1) + value.data
            for value in self.values
        ]
        return _pdu(P_DATA_TF, b"".join(parts))

    @classmethod
    def decode(cls, body: bytes) -> PData:
        values = []
        at, end = 0, len(body)
        while at < end:
            if at + 6 > end:
                raise ProtocolError("P-DATA-TF ends inside the header of a PDV", reason=INVALID_PARAMETER)
            length, context_id, control = PDV_HEADER.unpack_from(body, at)
            if length < 2 or at + 4 + length > end:
                raise ProtocolError(f"PDV length {length} does not fit its P-DATA-TF", reason=INVALID_PARAMETER)
            values.append(PDV(context_id, bool(control & 1), bool(control & 2), body[at + 6 : at + 4 + length]))
            at += 4 + length
        if not values:
            raise ProtocolError("P-DATA-TF without a PDV", reason=INVALID_PARAMETER)
        return cls(values)


@dataclass(slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ (PS3.8 §9.3.6)."""

    def encode(self) -> bytes:
        return _short(RELEASE_RQ, 0, 0, 0)

    @classmethod
    def decode(cls, body: bytes) -> ReleaseRQ:
        _four(body, "A-RELEASE-RQ")
        return cls()


@dataclass(slots=True)
class ReleaseRP:
    """A-RELEASE-RP (PS3.8 §9.3.7)."""

    def encode(self) -> bytes:
        return _short(RELEASE_RP, 0, 0, 0)

    @classmethod
    def decode(cls, body: bytes) -> ReleaseRP:
        _four(body, "A-RELEASE-RP")
        return cls()


@dataclass(slots=True)
class Abort:
    """A-ABORT (PS3.8 §9.3.8): `source` 0 service-user, 2 service-provider; `reason` of Table 9-26 (0 with source 0)."""

    source: int = 0
    reason: int = 0

    def encode(self) -> bytes:
        return _short(ABORT, 0, self.source, self.reason)

    @classmethod
    def decode(cls, body: bytes) -> Abort:
        return cls(*_four(body, "A-ABORT")[2:])


PDU = AssociateRQ | AssociateAC | AssociateRJ | PData | ReleaseRQ | ReleaseRP | Abort

_DECODERS: dict[int, Callable[[bytes], PDU]] = {
    ASSOCIATE_RQ: AssociateRQ.decode,
    ASSOCIATE_AC: AssociateAC.decode,
    ASSOCIATE_RJ: AssociateRJ.decode,
    P_DATA_TF: PData.decode,
    RELEASE_RQ: ReleaseRQ.decode,
    RELEASE_RP: ReleaseRP.decode,
    ABORT: Abort.decode,
}


def decode(kind: int, body: bytes) -> PDU:
    """Decode the PDU of type `kind` from its body. Raises: ProtocolError; reason 1 for an unknown type."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ProtocolError(describe_unknown(bytes([kind])), reason=UNRECOGNIZED_PDU)
    return decoder(body)


def describe_unknown(header: bytes | memoryview) -> str:
    """An unknown PDU in words, by its first bytes: the protocol that they belong to, if it is a known one."""
    first = bytes(header)
    protocol = next((name for start, name in _OTHER_PROTOCOLS.items() if first.startswith(start)), "")
    return f"the peer speaks {protocol}, not DICOM" if protocol else f"PDU type {first[0]:02X}H is unknown"


def _associate(kind: int, version: int, titles: bytes, items: list[bytes], user: UserInformation) -> bytes:
    return _pdu(kind, b"".join([struct.pack(">HH", version, 0), titles, *items, user.encode()]))


def _decode_fixed(body: bytes, name: str) -> tuple[int, bytes, str, str]:
    if len(body) < _FIXED:
        raise ProtocolError(f"{name} of {len(body)} bytes is too short for its fields", reason=INVALID_PARAMETER)
    version = int.from_bytes(body[:2], "big")
    return version, body[4:_FIXED], text(body[4:20]), text(body[20:36])


def _titles(called: str, calling: str) -> bytes:
    return b"".join([aet.encode("ascii", "replace")[:16].ljust(16) for aet in (called, calling)]) + bytes(32)


def _four(body: bytes, name: str) -> bytes:
    if len(body) != 4:
        raise ProtocolError(f"{name} has {len(body)} bytes, not 4", reason=INVALID_PARAMETER)
    return body


def _pdu(kind: int, body: bytes) -> bytes:
    return PDU_HEADER.pack(kind, len(body)) + body


def _short(kind: int, second: int, third: int, fourth: int) -> bytes:
    return struct.pack(">BxL4B", kind, 4, 0, second, third, fourth)
