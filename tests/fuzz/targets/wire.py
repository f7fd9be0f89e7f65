"""What comes over an association: PDUs, and the command sets in them."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dicom.json_reader import from_json
from gateway.dicom.levels import UNIQUE_KEYS
from gateway.dicom.uids import is_uid
from gateway.dimse import commitment, messages
from gateway.dimse.assembler import Assembler
from gateway.dimse.command import Command
from gateway.errors import BadRequest, DataSetError, ProtocolError
from gateway.index.compare import MatchingRules, all_match, requested
from gateway.scp.query import MODELS, _single, read_level
from gateway.scp.retrieve_keys import GET_MODELS, MOVE_MODELS, read_selection
from gateway.ul.events import DataFragment
from tests.fuzz.targets.index import run_search
from tests.fuzz.targets.objects import MODEL
from tests.fuzz.targets.target import EXPLICIT, IMPLICIT, Target
from tests.support import mutations


@cache
def _associations() -> list[tuple[Any, list[bytes]]]:
    return mutations.corpus()


def pdus(data: bytes) -> None:
    """The first byte says which association, the second how much comes first; the rest is what a peer sends."""
    if len(data) < 2:
        return
    prepared = _associations()
    outcome = mutations.Outcome()
    for first in (len(data), data[1]):
        association = mutations.clone(prepared[data[0] % len(prepared)][0])
        wire = data[2:]
        events = association.receive(wire[:first], 0.0) + association.receive(wire[first:], 0.0)
        mutations.check(association, events, outcome)


def _pdu_seeds() -> list[bytes]:
    return [
        bytes((number, 0)) + wire for number, (_, wires) in enumerate(_associations()) for wire in dict.fromkeys(wires)
    ]


def commands(data: bytes) -> None:
    """A command set by itself, what it encodes to, and the same through the assembler, followed by a data set."""
    with contextlib.suppress(ProtocolError):
        command = Command.decode(Command.decode(data).encode())  # which leaves out what is empty
        assert Command.decode(command.encode()) == command
    assembler = Assembler({1})
    half = len(data) // 2
    with contextlib.suppress(ProtocolError):
        for part, last in ((data[:half], False), (data[half:], True)):
            assembler.feed(DataFragment(1, True, last, memoryview(part)))
        assembler.feed(DataFragment(1, False, True, memoryview(b"data")))
    with contextlib.suppress(DataSetError):
        commitment.read_request(decode_data_set(data, EXPLICIT))
    with contextlib.suppress(DataSetError):
        commitment.read_outcome(decode_data_set(data, EXPLICIT))


def _command_seeds() -> list[bytes]:
    made = [
        messages.c_store_request(2, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"),
        messages.c_echo_request(1),
        messages.c_find_request(3, "1.2.840.10008.5.1.4.1.2.2.1"),
        messages.c_move_request(4, "1.2.840.10008.5.1.4.1.2.2.2", "TO"),
        messages.c_cancel_request(3),
        messages.n_action_request(5, commitment.SOP_CLASS, commitment.SOP_INSTANCE, 1),
        messages.n_create_request(6, "1.2.840.10008.3.1.2.3.3", None),
    ]
    asked = commitment.request_data_set("1.2.3", [commitment.Reference("1.2", "1.2.3.4")])
    return [*(each.encode() for each in made), encode_data_set(asked, EXPLICIT)]


_MODELS = sorted(MODELS)
_RETRIEVALS = [model for _, model in sorted({**MOVE_MODELS, **GET_MODELS}.items())]


def identifiers(data: bytes) -> None:
    """The first byte is the information model, the second what was agreed on, the rest a query's identifier, or that
    of a retrieval: it is refused, or a search that the index understands, with answers that can be sent."""
    if len(data) < 2:
        return
    model, agreed = data[0], data[1]
    try:
        identifier = decode_data_set(data[2:], (EXPLICIT, IMPLICIT)[agreed & 1])
    except DataSetError:
        return
    relational, lenient = bool(agreed & 2), bool(agreed & 4)
    with contextlib.suppress(BadRequest):
        retrieval = _RETRIEVALS[model % len(_RETRIEVALS)]
        selection = read_selection(retrieval, identifier, relational=relational, lenient=lenient)
        assert all(map(is_uid, (*selection.studies, *selection.series, *selection.instances)))
    with contextlib.suppress(BadRequest):
        level = read_level(_MODELS[model % len(_MODELS)], identifier, relational, lenient=lenient)
        _single(identifier.get(UNIQUE_KEYS[level]))
        run_search(level, identifier, fuzzy=bool(agreed & 8), combined=bool(agreed & 16))
    with contextlib.suppress(BadRequest, DataSetError):
        all_match(identifier, _STORED, MatchingRules(fuzzy=bool(agreed & 8), empty=bool(agreed & 32)))
        answer = {tag: requested(key, _STORED.get(tag)) for tag, key in identifier.items()}
        encode_data_set(answer, EXPLICIT, prefer=identifier.get(0x00080005, Attribute("CS", [])).text)


_STORED = from_json(MODEL)


def _identifier_seeds() -> list[bytes]:
    keys = {
        "00080020": {"vr": "DA", "Value": ["20260101-"]},
        "00080030": {"vr": "TM", "Value": ["10-11"]},
        "00080052": {"vr": "CS", "Value": ["SERIES"]},
        "00080060": {"vr": "CS", "Value": ["CT", "MR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Do?^*"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.4", "1.2.5"]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S*"]}}]},
        "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.4"]}}]},
        "00189087": {"vr": "FD", "Value": [1.5]},
        "00280010": {"vr": "US"},
    }
    found = from_json(keys)
    image = from_json(keys | {"00080052": {"vr": "CS", "Value": ["IMAGE"]}, "00080018": {"vr": "UI", "Value": ["1.2"]}})
    made = [bytes((model, model * 9 & 31 | 2)) for model in range(6)]
    made = [each + encode_data_set(found, (EXPLICIT, IMPLICIT)[each[1] & 1]) for each in made]
    return [*made, b"\0\0" + encode_data_set(image, EXPLICIT)]


TARGETS = {
    "identifier": Target(identifiers, _identifier_seeds),
    "pdu": Target(pdus, _pdu_seeds),
    "dimse": Target(commands, _command_seeds),
}
