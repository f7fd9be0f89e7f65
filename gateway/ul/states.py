"""The state machine of the upper layer: PS3.8 §9.2, as data.

Here: states, events, actions, and the one dict that gives the action of each event in each state (Table 9-10). Not
here: what an action does (`machine`). A combination that the table leaves empty cannot come from a peer; a method of
ours that would cause one raises.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """PS3.8 Tables 9-1 to 9-5."""

    Sta1 = "idle"
    Sta2 = "transport connection open, awaiting A-ASSOCIATE-RQ"
    Sta3 = "awaiting local A-ASSOCIATE response"
    Sta4 = "awaiting transport connection"
    Sta5 = "awaiting A-ASSOCIATE-AC or -RJ"
    Sta6 = "association established, ready for data transfer"
    Sta7 = "awaiting A-RELEASE-RP"
    Sta8 = "awaiting local A-RELEASE response"
    Sta9 = "release collision, requestor: awaiting local A-RELEASE response"
    Sta10 = "release collision, acceptor: awaiting A-RELEASE-RP"
    Sta11 = "release collision, requestor: awaiting A-RELEASE-RP"
    Sta12 = "release collision, acceptor: awaiting local A-RELEASE response"
    Sta13 = "awaiting close of the transport connection"


class Evt(Enum):
    """The events of PS3.8 Table 9-10."""

    Evt1 = "A-ASSOCIATE request primitive"
    Evt2 = "transport connection confirmed"
    Evt3 = "A-ASSOCIATE-AC PDU received"
    Evt4 = "A-ASSOCIATE-RJ PDU received"
    Evt5 = "transport connection indication"
    Evt6 = "A-ASSOCIATE-RQ PDU received"
    Evt7 = "A-ASSOCIATE response primitive: accept"
    Evt8 = "A-ASSOCIATE response primitive: reject"
    Evt9 = "P-DATA request primitive"
    Evt10 = "P-DATA-TF PDU received"
    Evt11 = "A-RELEASE request primitive"
    Evt12 = "A-RELEASE-RQ PDU received"
    Evt13 = "A-RELEASE-RP PDU received"
    Evt14 = "A-RELEASE response primitive"
    Evt15 = "A-ABORT request primitive"
    Evt16 = "A-ABORT PDU received"
    Evt17 = "transport connection closed"
    Evt18 = "ARTIM timer expired"
    Evt19 = "unrecognized or invalid PDU received"


class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "AE-1: connect the transport"
    AE_2 = "AE-2: send A-ASSOCIATE-RQ"
    AE_3 = "AE-3: issue A-ASSOCIATE confirmation, accepted"
    AE_4 = "AE-4: issue A-ASSOCIATE confirmation, rejected; close the transport"
    AE_5 = "AE-5: start ARTIM"
    AE_6 = "AE-6: stop ARTIM; issue A-ASSOCIATE indication, or send A-ASSOCIATE-RJ and start ARTIM"
    AE_7 = "AE-7: send A-ASSOCIATE-AC"
    AE_8 = "AE-8: send A-ASSOCIATE-RJ, start ARTIM"
    DT_1 = "DT-1: send P-DATA-TF"
    DT_2 = "DT-2: issue P-DATA indication"
    AR_1 = "AR-1: send A-RELEASE-RQ"
    AR_2 = "AR-2: issue A-RELEASE indication"
    AR_3 = "AR-3: issue A-RELEASE confirmation, close the transport"
    AR_4 = "AR-4: send A-RELEASE-RP, start ARTIM"
    AR_5 = "AR-5: stop ARTIM"
    AR_6 = "AR-6: issue P-DATA indication"
    AR_7 = "AR-7: send P-DATA-TF"
    AR_8 = "AR-8: issue A-RELEASE indication: release collision"
    AR_9 = "AR-9: send A-RELEASE-RP"
    AR_10 = "AR-10: issue A-RELEASE confirmation"
    AA_1 = "AA-1: send A-ABORT (service-user), start ARTIM"
    AA_2 = "AA-2: stop ARTIM, close the transport"
    AA_3 = "AA-3: issue A-ABORT or A-P-ABORT indication, close the transport"
    AA_4 = "AA-4: issue A-P-ABORT indication"
    AA_5 = "AA-5: stop ARTIM"
    AA_6 = "AA-6: ignore the PDU"
    AA_7 = "AA-7: send A-ABORT"
    AA_8 = "AA-8: send A-ABORT (service-provider), issue A-P-ABORT indication, start ARTIM"


Next = State | tuple[State, State]
"""The next state of an action: one state, or a pair of which the action's answer chooses, yes first.

AE-6 answers whether the request is acceptable to the service-provider, AR-8 whether we are the association-requestor.
"""

# fmt: off
TABLE: dict[tuple[Evt, State], tuple[Action, Next]] = {
    (Evt.Evt1, State.Sta1): (Action.AE_1, State.Sta4),

    (Evt.Evt2, State.Sta4): (Action.AE_2, State.Sta5),

    (Evt.Evt3, State.Sta2): (Action.AA_1, State.Sta13),
    (Evt.Evt3, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta5): (Action.AE_3, State.Sta6),
    (Evt.Evt3, State.Sta6): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta7): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta10): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta11): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt3, State.Sta13): (Action.AA_6, State.Sta13),

    (Evt.Evt4, State.Sta2): (Action.AA_1, State.Sta13),
    (Evt.Evt4, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta5): (Action.AE_4, State.Sta1),
    (Evt.Evt4, State.Sta6): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta7): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta10): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta11): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt4, State.Sta13): (Action.AA_6, State.Sta13),

    (Evt.Evt5, State.Sta1): (Action.AE_5, State.Sta2),

    (Evt.Evt6, State.Sta2): (Action.AE_6, (State.Sta3, State.Sta13)),
    (Evt.Evt6, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta5): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta6): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta7): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta10): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta11): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt6, State.Sta13): (Action.AA_7, State.Sta13),

    (Evt.Evt7, State.Sta3): (Action.AE_7, State.Sta6),

    (Evt.Evt8, State.Sta3): (Action.AE_8, State.Sta13),

    (Evt.Evt9, State.Sta6): (Action.DT_1, State.Sta6),
    (Evt.Evt9, State.Sta8): (Action.AR_7, State.Sta8),

    (Evt.Evt10, State.Sta2): (Action.AA_1, State.Sta13),
    (Evt.Evt10, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta5): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta6): (Action.DT_2, State.Sta6),
    (Evt.Evt10, State.Sta7): (Action.AR_6, State.Sta7),
    (Evt.Evt10, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta10): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta11): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt10, State.Sta13): (Action.AA_6, State.Sta13),

    (Evt.Evt11, State.Sta6): (Action.AR_1, State.Sta7),

    (Evt.Evt12, State.Sta2): (Action.AA_1, State.Sta13),
    (Evt.Evt12, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta5): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta6): (Action.AR_2, State.Sta8),
    (Evt.Evt12, State.Sta7): (Action.AR_8, (State.Sta9, State.Sta10)),
    (Evt.Evt12, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta10): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta11): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt12, State.Sta13): (Action.AA_6, State.Sta13),

    (Evt.Evt13, State.Sta2): (Action.AA_1, State.Sta13),
    (Evt.Evt13, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt13, State.Sta5): (Action.AA_8, State.Sta13),
    (Evt.Evt13, State.Sta6): (Action.AA_8, State.Sta13),
    (Evt.Evt13, State.Sta7): (Action.AR_3, State.Sta1),
    (Evt.Evt13, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt13, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt13, State.Sta10): (Action.AR_10, State.Sta12),
    (Evt.Evt13, State.Sta11): (Action.AR_3, State.Sta1),
    (Evt.Evt13, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt13, State.Sta13): (Action.AA_6, State.Sta13),

    (Evt.Evt14, State.Sta8): (Action.AR_4, State.Sta13),
    (Evt.Evt14, State.Sta9): (Action.AR_9, State.Sta11),
    (Evt.Evt14, State.Sta12): (Action.AR_4, State.Sta13),

    (Evt.Evt15, State.Sta3): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta4): (Action.AA_2, State.Sta1),
    (Evt.Evt15, State.Sta5): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta6): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta7): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta8): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta9): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta10): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta11): (Action.AA_1, State.Sta13),
    (Evt.Evt15, State.Sta12): (Action.AA_1, State.Sta13),

    (Evt.Evt16, State.Sta2): (Action.AA_2, State.Sta1),
    (Evt.Evt16, State.Sta3): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta5): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta6): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta7): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta8): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta9): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta10): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta11): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta12): (Action.AA_3, State.Sta1),
    (Evt.Evt16, State.Sta13): (Action.AA_2, State.Sta1),

    (Evt.Evt17, State.Sta2): (Action.AA_5, State.Sta1),
    (Evt.Evt17, State.Sta3): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta4): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta5): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta6): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta7): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta8): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta9): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta10): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta11): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta12): (Action.AA_4, State.Sta1),
    (Evt.Evt17, State.Sta13): (Action.AR_5, State.Sta1),

    (Evt.Evt18, State.Sta2): (Action.AA_2, State.Sta1),
    (Evt.Evt18, State.Sta13): (Action.AA_2, State.Sta1),

    (Evt.Evt19, State.Sta2): (Action.AA_1, State.Sta13),
    (Evt.Evt19, State.Sta3): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta5): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta6): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta7): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta8): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta9): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta10): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta11): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta12): (Action.AA_8, State.Sta13),
    (Evt.Evt19, State.Sta13): (Action.AA_7, State.Sta13),
}
# fmt: on

DELIVERING = frozenset(state for (_, state), (action, _) in TABLE.items() if action in (Action.DT_2, Action.AR_6))
"""States in which received P-DATA is passed on."""

WITHOUT_BODY = frozenset((Action.AA_1, Action.AA_6, Action.AA_7, Action.AA_8))
"""Actions that ignore the contents of the PDU that caused them."""
