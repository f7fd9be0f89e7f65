"""Events of an association: the indications and confirmations of PS3.8 §7, as plain values.

When each event arises is in `machine` and `association`.

Exactly one of AssociateRejected, Released, Aborted and Closed ends an association, unless our own side ended it by
`reject`, `respond_release` or `abort`: then no event follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ul.pdu import AssociateAC, AssociateRQ


@dataclass(slots=True)
class AssociateRequested:
    """A-ASSOCIATE indication: answer with `accept` or `reject`."""

    pdu: AssociateRQ


@dataclass(slots=True)
class AssociateAccepted:
    """A-ASSOCIATE confirmation, accepted: `Association.contexts` now holds the accepted contexts."""

    pdu: AssociateAC


@dataclass(slots=True)
class AssociateRejected:
    """A-ASSOCIATE confirmation, rejected: values of PS3.8 Table 9-21.

    On the acceptor's side: the upper layer itself refused the request (its protocol version).
    """

    result: int
    source: int
    reason: int


@dataclass(slots=True)
class DataFragment:
    """P-DATA indication: a slice of the received buffer, perhaps only a part of a PDV.

    `is_last` holds on the final slice of a PDV that is marked last (PS3.8 Annex E.2). `data` is valid for as long as
    the buffer given to `receive` is not changed.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@dataclass(slots=True)
class ReleaseRequested:
    """A-RELEASE indication: answer with `respond_release` once every request is answered."""


@dataclass(slots=True)
class Released:
    """A-RELEASE confirmation: the release that we requested is done."""


@dataclass(slots=True)
class Aborted:
    """A-ABORT or A-P-ABORT indication. `by_peer` is false where our upper layer aborted; `detail` gives the reason."""

    source: int
    reason: int
    by_peer: bool
    detail: str = ""


@dataclass(slots=True)
class Closed:
    """The transport connection ended, or was closed by us, without A-ABORT or A-RELEASE."""

    detail: str = ""


Event = (
    AssociateRequested
    | AssociateAccepted
    | AssociateRejected
    | DataFragment
    | ReleaseRequested
    | Released
    | Aborted
    | Closed
)
