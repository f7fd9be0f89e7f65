"""The state machine of one association at run time: PS3.8 §9.2, actions, timers, and queued output.

Here: what each action of Tables 9-6 to 9-9 does. Not here: which action is due (`states`), how bytes become PDUs and
the service primitives (`association`, which derives from this class).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import AssociationLost
from gateway.ul.events import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    Closed,
    Event,
    Released,
    ReleaseRequested,
)
from gateway.ul.items import UNEXPECTED_PDU, UserInformation
from gateway.ul.negotiation import (
    PROTOCOL_VERSION_NOT_SUPPORTED,
    PresentationContext,
    accepted_contexts,
    describe_rejection,
)
from gateway.ul.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from gateway.ul.states import DELIVERING, TABLE, Action, Evt, State


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one association. Lengths are bytes, times seconds.

    `max_length_received` is what we advertise; 0 would set no limit. `idle_timeout` counts from the last byte received
    (or message sent) while no request is unanswered; 0 turns it off. `response_timeout` bounds a requestor's wait
    for A-ASSOCIATE-AC, and either side's for A-RELEASE-RP. `max_associate_length` bounds the body of A-ASSOCIATE-RQ
    and -AC.
    """

    max_length_received: int = 262144
    artim_timeout: float = 30.0
    idle_timeout: float = 300.0
    response_timeout: float = 30.0
    max_associate_length: int = 262144


_UNLIMITED = 1 << 24  # our longest PDU to a peer that set no limit


class Machine:
    """State, timer, accepted contexts and output of one association."""

    def __init__(self, limits: Limits, *, requestor: bool) -> None:
        self.limits = limits
        self.is_requestor = requestor
        self.state = State.Sta1
        self.operations = 0
        """Complete messages received and not yet answered; counted by the caller. Unless 0, silence is no offence."""
        self.contexts: dict[int, PresentationContext] = {}
        self.peer_max_length = 0
        self.requested: AssociateRQ | None = None
        self.accepted: AssociateAC | None = None
        self.close_transport = False
        """Whether to close the connection now, after writing what is queued."""
        self.ended = ""
        """The reason why the association is over; empty while it is not."""
        self._receive_limit = 0xFFFFFFFF
        self._chunk = _UNLIMITED
        self._events: list[Event] = []
        self._out: list[bytes | memoryview] = []
        self._timer: float | None = None
        self._heard = 0.0
        self._spoke = False
        self._delivering = False  # whether P-DATA is passed on in this state
        self._deaf = False  # the rest of the stream is dropped

    @property
    def deadline(self) -> float | None:
        """When `timeout` is due, on the clock of `now`; None while no timer runs."""
        if self.state is State.Sta6:
            idle = self.limits.idle_timeout
            return self._heard + idle if idle and not self.operations else None
        return self._timer

    def _fire(self, event: Evt, now: float, payload: Any = None) -> None:
        """Run the table's action. Raises: RuntimeError if there is none; AssociationLost if the association is over."""
        before = self.state
        self._check(event)
        action, following = TABLE[event, before]
        yes = _ACTIONS[action](self, payload, now)
        self.state = following if isinstance(following, State) else following[0 if yes else 1]
        if self.state is not before:
            self._timer = self._timer_of(self.state, now)
            self._delivering = self.state in DELIVERING
            if self.state is State.Sta1:
                self._deaf = True
                self.ended = self.ended or "the association has ended"

    def _check(self, event: Evt) -> None:
        if (event, self.state) in TABLE and not (self.ended and self.state is State.Sta1):
            return
        if self.ended:
            raise AssociationLost(self.ended)
        raise RuntimeError(f"{event.name} ({event.value}) makes no sense in {self.state.name} ({self.state.value})")

    def _timer_of(self, state: State, now: float) -> float | None:
        if state in (State.Sta2, State.Sta13):
            return now + self.limits.artim_timeout
        if state in (State.Sta5, State.Sta7, State.Sta10, State.Sta11):
            return now + self.limits.response_timeout
        return None

    def _agree(self, peer: UserInformation, now: float) -> None:
        assert self.requested is not None
        assert self.accepted is not None
        self.contexts = accepted_contexts(self.requested, self.accepted, requestor=self.is_requestor)
        self.peer_max_length = peer.max_length
        # Six bytes are the header of the PDV; a fragment has an even number of bytes (PS3.8 Annex E.1).
        self._chunk = min(_UNLIMITED, (peer.max_length - 6) & ~1 if peer.max_length else _UNLIMITED)
        self._heard = now

    def _with_our_limit(self, user_information: UserInformation) -> UserInformation:
        self._receive_limit = self.limits.max_length_received or 0xFFFFFFFF
        return replace(user_information, max_length=self.limits.max_length_received)

    # Association establishment, Table 9-6

    def _ae_1(self, request: AssociateRQ, now: float) -> None:
        self.requested = replace(request, user_information=self._with_our_limit(request.user_information))

    def _ae_2(self, _: None, now: float) -> None:
        assert self.requested is not None
        self._out.append(self.requested.encode())

    def _ae_3(self, answer: AssociateAC, now: float) -> None:
        self.accepted = answer
        self._agree(answer.user_information, now)
        self._events.append(AssociateAccepted(answer))

    def _ae_4(self, answer: AssociateRJ, now: float) -> None:
        self._end(AssociateRejected(answer.result, answer.source, answer.reason), _rejected(answer), close=True)

    def _ae_5(self, _: None, now: float) -> None:
        pass

    def _ae_6(self, request: AssociateRQ, now: float) -> bool:
        self.requested = request
        if request.protocol_version & 1:
            self._events.append(AssociateRequested(request))
            return True
        answer = AssociateRJ(*PROTOCOL_VERSION_NOT_SUPPORTED)
        self._out.append(answer.encode())
        self._end(AssociateRejected(answer.result, answer.source, answer.reason), _rejected(answer))
        return False

    def _ae_7(self, answer: AssociateAC, now: float) -> None:
        assert self.requested is not None
        self.accepted = replace(
            answer,
            user_information=self._with_our_limit(answer.user_information),
            titles=answer.titles or self.requested.titles,
        )
        self._agree(self.requested.user_information, now)
        self._out.append(self.accepted.encode())

    def _ae_8(self, answer: AssociateRJ, now: float) -> None:
        self._out.append(answer.encode())
        self.ended = _rejected(answer)

    # Data transfer, Table 9-7; release, Table 9-8

    def _nothing(self, _: object, now: float) -> None:
        """Do nothing: P-DATA both ways and AA-6 are handled with the byte stream."""

    def _ar_1(self, _: None, now: float) -> None:
        self._out.append(ReleaseRQ().encode())

    def _ar_2(self, _: object, now: float) -> None:
        self._events.append(ReleaseRequested())

    def _ar_3(self, _: object, now: float) -> None:
        self._end(Released(), "the association was released", close=True)

    def _ar_4(self, _: None, now: float) -> None:
        self._out.append(ReleaseRP().encode())
        self.ended = "the association was released"

    def _ar_5(self, _: None, now: float) -> None:
        self.close_transport = True

    def _ar_8(self, _: object, now: float) -> bool:
        self._events.append(ReleaseRequested())
        return self.is_requestor

    def _ar_9(self, _: None, now: float) -> None:
        self._out.append(ReleaseRP().encode())

    def _ar_10(self, _: object, now: float) -> None:
        self._events.append(Released())

    # Abort, Table 9-9. The payload is the received PDU, or the event that gives the reason.

    def _aa_1(self, why: Aborted, now: float) -> None:
        self._out.append(Abort(why.source, why.reason).encode())
        self._end(why, why.detail)

    def _aa_2(self, why: Abort | Aborted | Closed, now: float) -> None:
        self.close_transport = True
        if isinstance(why, Abort):
            self._aborted_by_peer(why)
        elif not self.ended:
            self._end(why, why.detail)

    def _aa_3(self, why: Abort, now: float) -> None:
        self.close_transport = True
        self._aborted_by_peer(why)

    def _aa_4(self, _: None, now: float) -> None:
        detail = "the peer closed the connection"
        self._end(Closed(detail), detail, close=True)

    def _aa_7(self, _: object, now: float) -> None:
        self._out.append(Abort(2, UNEXPECTED_PDU).encode())

    def _aborted_by_peer(self, why: Abort) -> None:
        if not self.ended:
            who = "the peer" if why.source == 0 else "the peer's upper layer"
            detail = f"{who} aborted the association (source {why.source}, reason {why.reason})"
            self._end(Aborted(why.source, why.reason, by_peer=True, detail=detail), detail)

    def _end(self, event: Event, detail: str, *, close: bool = False) -> None:
        self._events.append(event)
        self.ended = detail
        self.close_transport = self.close_transport or close


def _rejected(answer: AssociateRJ) -> str:
    return f"the association was {describe_rejection(answer.result, answer.source, answer.reason)}"


_ACTIONS: dict[Action, Callable[[Machine, Any, float], bool | None]] = {
    Action.AE_1: Machine._ae_1,
    Action.AE_2: Machine._ae_2,
    Action.AE_3: Machine._ae_3,
    Action.AE_4: Machine._ae_4,
    Action.AE_5: Machine._ae_5,
    Action.AE_6: Machine._ae_6,
    Action.AE_7: Machine._ae_7,
    Action.AE_8: Machine._ae_8,
    Action.DT_1: Machine._nothing,
    Action.DT_2: Machine._nothing,
    Action.AR_1: Machine._ar_1,
    Action.AR_2: Machine._ar_2,
    Action.AR_3: Machine._ar_3,
    Action.AR_4: Machine._ar_4,
    Action.AR_5: Machine._ar_5,
    Action.AR_6: Machine._nothing,
    Action.AR_7: Machine._nothing,
    Action.AR_8: Machine._ar_8,
    Action.AR_9: Machine._ar_9,
    Action.AR_10: Machine._ar_10,
    Action.AA_1: Machine._aa_1,
    Action.AA_2: Machine._aa_2,
    Action.AA_3: Machine._aa_3,
    Action.AA_4: Machine._aa_4,
    Action.AA_5: Machine._aa_4,
    Action.AA_6: Machine._nothing,
    Action.AA_7: Machine._aa_7,
    Action.AA_8: Machine._aa_1,
}
