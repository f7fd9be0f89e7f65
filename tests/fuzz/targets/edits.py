"""Objects that are changed on their way: the tree they are read into, de-identification, and steps."""

from __future__ import annotations

import contextlib
from functools import cache

from gateway.config.deidentify import Deidentify, Rectangles
from gateway.config.edits import (
    Changes,
    CharacterSetStep,
    CopyStep,
    HashStep,
    MapStep,
    NewUidsStep,
    PrefixStep,
    RemovePrivateStep,
    RemoveStep,
    ReplaceStep,
    SetStep,
    ShiftDatesStep,
)
from gateway.dicom import uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.json_reader import from_json
from gateway.edit.change_set import ChangeSet, Received
from gateway.edit.deid.keyed import Keyed
from gateway.edit.regrouping import StudyMove, StudyMoves, regrouping, writing
from gateway.edit.tree import Tree
from gateway.errors import DataSetError, EditError
from tests.fuzz.targets.objects import MODEL
from tests.fuzz.targets.target import EXPLICIT, SYNTAXES, Target, source_of

_NATIVE = SYNTAXES[:3]
_RECEIVED = Received("SENDER", 1000.0)
_KEY = "0123456789abcdef"
_REMOVED = 0x00101000
"""Other Patient IDs, which no profile keeps."""


@cache
def _sets() -> list[ChangeSet]:
    careful = Deidentify(
        burned_in="ignore",
        options=("clean-descriptors", "clean-graphics", "clean-structured-content", "retain-modified-dates"),
    )
    areas = Deidentify(rectangles=(Rectangles(match={"Modality": "*"}, areas=((0, 0, 1, 1),)),))
    steps = (
        SetStep("InstitutionName", "A\\B"),
        SetStep("RequestAttributesSequence.ScheduledProcedureStepID", "S"),
        RemoveStep("*.PatientBirthDate"),
        CopyStep("StudyID", "AccessionNumber"),
        ReplaceStep("*.StudyDescription", "a+", "b"),
        MapStep("Modality", {"CT": "MR"}),
        PrefixStep("PatientID", "P-"),
    )
    hiding = (HashStep("PatientID"), NewUidsStep(), ShiftDatesStep(), RemovePrivateStep(), CharacterSetStep())
    sections = (
        Changes(deidentify=Deidentify(burned_in="ignore"), key=_KEY),
        Changes(deidentify=careful, key=_KEY),
        Changes(deidentify=areas, key=_KEY),
        Changes(steps=steps, original_attributes=True),
        Changes(steps=hiding, key=_KEY),
    )
    uid = Keyed(_KEY.encode()).uid
    moves = [StudyMove(f"1.2.{end}", "1.2.7", uid, lambda uid: uid.endswith("1"), {"1.2.6": True}) for end in (5, 8)]
    taken_over: DataSet = {
        0x00100010: Attribute("PN", ["Ä"]),
        0x00101002: Attribute("SQ", [{0x00100020: Attribute("LO", ["ä"])}]),
    }
    regrouped = [*regrouping(1, StudyMoves(moves)), *writing(taken_over, [0x00100020, 0x00101000])]
    return [
        *(ChangeSet.build("fuzz", section) for section in sections),
        ChangeSet.of_steps("regrouped", regrouped, key=_KEY.encode()),
    ]


def changed_objects(data: bytes) -> None:
    """The first byte is the transfer syntax and which changes are made.

    What nobody changes comes out as it went in. A change gives a data set that can be read, whole or in pieces, the
    same each time, without what has to go, and can be made of its own result.
    """
    if not data:
        return
    syntax, which, data = _NATIVE[data[0] % 3], _sets()[data[0] // 3 % len(_sets())], data[1:]
    read = source_of(data)
    with contextlib.suppress(DataSetError):
        segments = Tree(read, 0, len(data), uids.TRANSFER_SYNTAXES[syntax]).segments()
        assert data.startswith(segments.read(0, segments.length))  # behind zeros that pad the end there is nothing
    with contextlib.suppress(DataSetError, EditError):
        edited = which.apply(read, 0, len(data), syntax, received=_RECEIVED)
        with contextlib.closing(edited):
            whole = edited.read(0, edited.length)
            assert len(whole) == edited.length
            assert b"".join(edited.read(at, 7) for at in range(0, len(whole), 7)) == whole
            assert len(edited.changes) <= 10_000
        found = decode_data_set(whole, edited.transfer_syntax_uid)
        if which.deidentifies:
            assert list(found[0x00120062].values) == ["YES"]
            assert _REMOVED not in found
        with contextlib.closing(which.apply(read, 0, len(data), syntax, received=_RECEIVED)) as again:
            assert again.read(0, again.length) == whole
        read_again = source_of(whole)
        with contextlib.closing(
            which.apply(read_again, 0, len(whole), edited.transfer_syntax_uid, received=_RECEIVED)
        ) as twice:
            decode_data_set(twice.read(0, twice.length), twice.transfer_syntax_uid)


def _seeds() -> list[bytes]:
    model = MODEL | {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080050": {"vr": "SH", "Value": ["A1"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00081030": {"vr": "LO", "Value": ["Jane aa"]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100030": {"vr": "DA", "Value": ["19700101"]},
        "00101000": {"vr": "LO", "Value": ["P2"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.5"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.6"]},
        "00280002": {"vr": "US", "Value": [1]},
        "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
        "00280011": {"vr": "US", "Value": [2]},
        "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [8]},
        "00280103": {"vr": "US", "Value": [0]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S"]}}]},
        "60000010": {"vr": "US", "Value": [1]},
        "60000011": {"vr": "US", "Value": [2]},
        "60003000": {"vr": "OW", "InlineBinary": "AwA="},
    }
    found = from_json(model)
    made = [bytes((number,)) + encode_data_set(found, _NATIVE[number % 3]) for number in range(18)]
    report = from_json(
        {
            "00080018": MODEL["00080018"],
            "00100010": MODEL["00100010"],
            "0040A730": {
                "vr": "SQ",
                "Value": [
                    {
                        "0040A040": {"vr": "CS", "Value": ["TEXT"]},
                        "0040A160": {"vr": "UT", "Value": ["Jane Doe was here"]},
                    }
                ],
            },
            "04000561": {"vr": "SQ", "Value": [{"04000550": {"vr": "SQ", "Value": [{}]}}]},
        }
    )
    return made + [bytes((number,)) + encode_data_set(report, EXPLICIT) for number in (1, 4)]


TARGETS = {"change": Target(changed_objects, _seeds)}
