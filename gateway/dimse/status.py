"""Status values of DIMSE responses: PS3.7 Annex C, PS3.4 Annexes B (storage), C (query, retrieve) and others.

Here: names, categories, words for logs. Not here: which of our errors maps to which status (`gateway.scp`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Category(Enum):
    """The categories of statuses of PS3.7 Annex C."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


SUCCESS: Final = 0x0000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITH_WARNINGS: Final = 0xFF01
"""One or more optional keys were not supported (PS3.4 C.4.1.1.4)."""

ATTRIBUTE_LIST_ERROR: Final = 0x0107
ATTRIBUTE_VALUE_OUT_OF_RANGE: Final = 0x0116
NO_SUCH_ATTRIBUTE: Final = 0x0105
INVALID_ATTRIBUTE_VALUE: Final = 0x0106
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_SOP_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
NO_SUCH_ARGUMENT: Final = 0x0114
INVALID_ARGUMENT_VALUE: Final = 0x0115
INVALID_SOP_INSTANCE: Final = 0x0117
NO_SUCH_SOP_CLASS: Final = 0x0118
CLASS_INSTANCE_CONFLICT: Final = 0x0119
MISSING_ATTRIBUTE: Final = 0x0120
MISSING_ATTRIBUTE_VALUE: Final = 0x0121
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_ACTION_TYPE: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
DUPLICATE_INVOCATION: Final = 0x0210
UNRECOGNIZED_OPERATION: Final = 0x0211
MISTYPED_ARGUMENT: Final = 0x0212
RESOURCE_LIMITATION: Final = 0x0213

OUT_OF_RESOURCES: Final = 0xA700
OUT_OF_RESOURCES_MATCHES: Final = 0xA701
OUT_OF_RESOURCES_SUBOPERATIONS: Final = 0xA702
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
COERCION_OF_DATA_ELEMENTS: Final = 0xB000
SUBOPERATIONS_WITH_FAILURES: Final = 0xB000
ELEMENTS_DISCARDED: Final = 0xB006
DATA_SET_DOES_NOT_MATCH_SOP_CLASS_WARNING: Final = 0xB007
CANNOT_UNDERSTAND: Final = 0xC000
UNABLE_TO_PROCESS: Final = 0xC001

_WORDS: Final[dict[int, str]] = {
    SUCCESS: "success",
    CANCEL: "cancelled",
    PENDING: "pending",
    PENDING_WITH_WARNINGS: "pending, optional keys not supported",
    ATTRIBUTE_LIST_ERROR: "attribute list error",
    ATTRIBUTE_VALUE_OUT_OF_RANGE: "attribute value out of range",
    NO_SUCH_ATTRIBUTE: "no such attribute",
    INVALID_ATTRIBUTE_VALUE: "invalid attribute value",
    PROCESSING_FAILURE: "processing failure",
    DUPLICATE_SOP_INSTANCE: "duplicate SOP instance",
    NO_SUCH_SOP_INSTANCE: "no such SOP instance",
    NO_SUCH_EVENT_TYPE: "no such event type",
    NO_SUCH_ARGUMENT: "no such argument",
    INVALID_ARGUMENT_VALUE: "invalid argument value",
    INVALID_SOP_INSTANCE: "invalid SOP instance UID",
    NO_SUCH_SOP_CLASS: "no such SOP class",
    CLASS_INSTANCE_CONFLICT: "class and instance conflict",
    MISSING_ATTRIBUTE: "missing attribute",
    MISSING_ATTRIBUTE_VALUE: "missing attribute value",
    SOP_CLASS_NOT_SUPPORTED: "SOP class not supported",
    NO_SUCH_ACTION_TYPE: "no such action type",
    NOT_AUTHORIZED: "not authorized",
    DUPLICATE_INVOCATION: "duplicate invocation",
    UNRECOGNIZED_OPERATION: "unrecognized operation",
    MISTYPED_ARGUMENT: "mistyped argument",
    RESOURCE_LIMITATION: "resource limitation",
    OUT_OF_RESOURCES_MATCHES: "out of resources: unable to calculate the number of matches",
    OUT_OF_RESOURCES_SUBOPERATIONS: "out of resources: unable to perform sub-operations",
    MOVE_DESTINATION_UNKNOWN: "move destination unknown",
    COERCION_OF_DATA_ELEMENTS: "coercion of data elements, or sub-operations with failures",
    ELEMENTS_DISCARDED: "elements discarded",
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS_WARNING: "data set does not match SOP class",
}

_WARNINGS: Final = frozenset((0x0001, ATTRIBUTE_LIST_ERROR, ATTRIBUTE_VALUE_OUT_OF_RANGE))


def category(status: int) -> Category:
    """The category of any status, known by name or not (PS3.7 Annex C)."""
    if status == SUCCESS:
        return Category.SUCCESS
    if status in (PENDING, PENDING_WITH_WARNINGS):
        return Category.PENDING
    if status == CANCEL:
        return Category.CANCEL
    if status in _WARNINGS or status & 0xF000 == 0xB000:
        return Category.WARNING
    return Category.FAILURE


def describe(status: int) -> str:
    """A status for people: `A700H out of resources`."""
    words = _WORDS.get(status)
    if words is None:
        words = {
            0xA700: "out of resources",
            0xA900: "data set does not match SOP class",
        }.get(status & 0xFF00, "cannot understand" if status & 0xF000 == 0xC000 else category(status).value)
    return f"{status:04X}H {words}"
