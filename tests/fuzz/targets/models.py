"""The models that HTTP brings data sets in, and what workflow and other servers' answers make of them."""

from __future__ import annotations

import contextlib
import json
import re

import msgspec

from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import encode_data_set
from gateway.dicom.json import NOT_JSON
from gateway.dicom.json import encode_data_set as to_json
from gateway.dicom.json_reader import from_json
from gateway.dicom.xml import to_xml
from gateway.dicom.xml_reader import from_xml
from gateway.errors import BadRequest, DataSetError
from gateway.remote import stow_answer
from gateway.web.rest.tags import ToBeWritten, from_tags, to_tags
from gateway.workflow import performed_steps, worklist, worklist_items
from tests.fuzz.targets.target import EXPLICIT, IMPLICIT, Target


def json_models(data: bytes) -> None:
    """As a request brings it: the DICOM JSON model, which goes out again as it came in, and tags by keyword."""
    try:
        model = msgspec.json.decode(data)
    except NOT_JSON:
        return
    with contextlib.suppress(DataSetError):
        found = from_json(model)
        to_tags(found)
        with contextlib.suppress(DataSetError):
            encoded = encode_data_set(found, EXPLICIT)
            decode_data_set(encoded, EXPLICIT)
            text = to_json(lambda at, length: encoded[at : at + length], 0, len(encoded), EXPLICIT, bulk_data_uri=str)
            to_xml(json.loads(text), str)
        with contextlib.suppress(DataSetError):
            encode_data_set(found, IMPLICIT)
    with contextlib.suppress(BadRequest):
        from_tags(model)
    with contextlib.suppress(BadRequest, DataSetError):
        encode_data_set(from_tags(model, written=ToBeWritten(private_creator="X")), EXPLICIT)
    with contextlib.suppress(BadRequest, DataSetError):
        encode_data_set(from_tags(model, written=ToBeWritten(data_uris=False, check=False)), EXPLICIT)


def _json_seeds() -> list[bytes]:
    return [
        b'{"00080018":{"vr":"UI","Value":["1.2"]},"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]}}',
        b'{"00081140":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]},"00280010":{"vr":"US","Value":[1]}}',
        b'{"7FE00010":{"vr":"OW","BulkDataURI":"http://h/x"},"00091001":{"vr":"UN","InlineBinary":"AAE="}}',
        b'{"00280030":{"vr":"DS","Value":[0.5,"1e2"]},"00189087":{"vr":"FD","Value":["NaN",null]}}',
        b'{"PatientName":"A^B","0010,0020":"P","ScheduledProcedureStepSequence":[{"Modality":"CT"}],"Rows":1}',
        b'{"0009-1001":"","0019,0010":"SIEMENS MR HEADER","0019,100A":5,"ICCProfile":"data:a/b;base64,AA=="}',
        b'{"00080005":{"vr":"CS","Value":["ISO 2022 IR 87"]},"00186020":{"vr":"AT","Value":["00100010"]}}',
    ]


def xml_models(data: bytes) -> None:
    """The Native DICOM Model (PS3.19 A.1), and what it says as JSON."""
    with contextlib.suppress(DataSetError):
        model = from_xml(data)
        json_models(json.dumps(model).encode())


def _xml_seeds() -> list[bytes]:
    begin = b'<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
    number = b'<DicomAttribute tag="00280010" vr="US"><Value number="1">1</Value></DicomAttribute>'
    name = b'<DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic><FamilyName>A</FamilyName>'
    name += b"</Alphabetic></PersonName></DicomAttribute>"
    items = b'<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' + number + b"</Item></DicomAttribute>"
    bulk = b'<DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="x"/></DicomAttribute>'
    inline = (
        b'<DicomAttribute tag="00091001" vr="UN" privateCreator="C"><InlineBinary>AA==</InlineBinary></DicomAttribute>'
    )
    return [begin + each + b"</NativeDicomModel>" for each in (number, name, items, bulk, inline)]


def workflow(data: bytes) -> None:
    """A query of the worklist, as a modality sends it, and an item, whose length the first byte says in steps of 4.

    What is kept comes back the same, and an answer can be sent.
    """
    if not data:
        return
    cut = 1 + 4 * data[0]
    try:
        asked = worklist._Query(decode_data_set(data[1:cut], EXPLICIT))
        item = worklist_items.checked(decode_data_set(data[cut:], EXPLICIT))
        kept = worklist_items.to_json(item)
    except (DataSetError, BadRequest):
        return
    once = from_json(msgspec.json.decode(kept))  # a name without letters is one empty value before, and none now
    kept = worklist_items.to_json(once)
    again = from_json(msgspec.json.decode(kept))
    assert worklist_items.to_json(again) == kept
    worklist_items._dates(again)
    worklist_items.to_json({**again, **performed_steps._allowed(again, again)})
    with contextlib.suppress(BadRequest):
        for candidate in worklist._by_step(again):
            if asked.matches(candidate):
                encode_data_set(asked.answer(candidate), IMPLICIT)


_TWO_MORE = b"\x01\x7f\x01\x00LO\x02\x00  "
"""An element that is of even length, but no multiple of four."""


def _workflow_seeds() -> list[bytes]:
    step = {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00400001": {"vr": "AE", "Value": ["CT1"]},
        "00400002": {"vr": "DA", "Value": ["20260102"]},
        "00400003": {"vr": "TM", "Value": ["1030"]},
        "00400009": {"vr": "SH", "Value": ["S1"]},
    }
    item = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        "00080201": {"vr": "SH", "Value": ["+0100"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "00400100": {"vr": "SQ", "Value": [step]},
    }
    ranges = step | {
        "00400002": {"vr": "DA", "Value": ["20260101-20260103"]},
        "00400003": {"vr": "TM", "Value": ["10-11"]},
        "00400009": {"vr": "SH", "Value": []},
    }
    queries = [item, item | {"00400100": {"vr": "SQ", "Value": [ranges]}}, {"00100010": {"vr": "PN"}}]
    queries += [{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "d*^?ane"}]}, "00400100": {"vr": "SQ"}}]
    body = encode_data_set(from_json(item), EXPLICIT)
    made = []
    for query in queries:
        identifier = encode_data_set(from_json(query), EXPLICIT)
        identifier += _TWO_MORE * (len(identifier) % 4 // 2)
        made.append(bytes((len(identifier) // 4,)) + identifier + body)
    return made


_RETRIED = re.compile("[0-9A-F]{4}")


def answers(data: bytes) -> None:
    """What a server answers to what it was sent: the first byte says in which of its forms."""
    if not data:
        return
    stored = stow_answer.read_answer(("application/dicom+json", "application/dicom+xml")[data[0] & 1], data[1:])
    for uid in (*stored.accepted, *stored.failed, "1.2.3"):
        found = stow_answer.outcome(stored, uid, _RETRIED, 1)
        assert found is None or found.detail
    assert stored.named or not (stored.accepted or stored.failed)


def _answer_seeds() -> list[bytes]:
    failed = {"00081155": {"vr": "UI", "Value": ["1.2.3"]}, "00081197": {"vr": "US", "Value": [43264]}}
    taken = {"00081155": {"vr": "UI", "Value": ["1.2.4"]}, "00081196": {"vr": "US", "Value": [45056]}}
    both = {"00081198": {"vr": "SQ", "Value": [failed]}, "00081199": {"vr": "SQ", "Value": [taken]}}
    return [
        b"\0" + json.dumps(both).encode(),
        b"\0" + json.dumps([both]).encode(),
        b"\0" + json.dumps({"0008119A": {"vr": "SQ", "Value": [{}]}}).encode(),
        b"\1" + to_xml(both, str),
    ]


TARGETS = {
    "json": Target(json_models, _json_seeds),
    "xml": Target(xml_models, _xml_seeds),
    "workflow": Target(workflow, _workflow_seeds),
    "answer": Target(answers, _answer_seeds),
}
