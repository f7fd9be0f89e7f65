"""The outcomes of ingesting an instance, and the statuses of a refusal."""

from __future__ import annotations

import dataclasses
import enum

from gateway.index.record import InstanceRecord
from gateway.index.store import Origin

# C-STORE statuses, PS3.4 Table B.2-1. Within C000-CFFF ("cannot understand") the last digits are ours.
STATUS_DOES_NOT_MATCH = 0xA900
STATUS_CANNOT_UNDERSTAND = 0xC000
STATUS_DUPLICATE = 0xC111
STATUS_OTHER_STUDY = 0xC409


class Outcome(enum.Enum):
    """The outcome of an accepted instance."""

    STORED = "stored"
    REPLACED = "replaced"
    IDENTICAL = "same"
    """It was stored already, byte for byte."""
    DUPLICATE_KEPT = "kept"
    """It was stored already with other bytes, which stay: the policy is `keep`."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoreResult:
    """The result for an instance that is durably stored."""

    outcome: Outcome
    record: InstanceRecord
    version: int
    change: int = 0
    """Number of its entry in the change log; 0 if nothing changed."""
    lacking: str = ""
    """What the received pixel data lack, in words; '' if nothing is known."""
    shared: bool = False
    """Whether another patient has a study with the same UID."""


def log_fields(record: InstanceRecord, origin: Origin) -> dict[str, object]:
    """The fields of a log line about a received instance."""
    return {
        "calling_aet": origin.calling_aet,
        "called_aet": origin.called_aet,
        "peer": origin.peer,
        "study": record.parents.study_instance_uid,
        "instance": record.sop_instance_uid,
    }
