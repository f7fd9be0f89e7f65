"""The Native DICOM Model, there and back, and beside DCMTK's of every sample file."""

from __future__ import annotations

import json
import string
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.json import encode_data_set
from gateway.dicom.xml import NAMESPACE, to_xml
from gateway.dicom.xml_reader import MAX_DOCUMENT_BYTES, MAX_GAPS, from_xml
from gateway.errors import DataSetError
from tests.support.datasets import data_sets


def model_of(body: str) -> dict[str, Any]:
    return from_xml(f"<NativeDicomModel>{body}</NativeDicomModel>")


def tree_of(model: dict[str, Any]) -> ElementTree.Element:
    """The document as a parser of the standard library reads it, without its namespace."""
    root = ElementTree.fromstring(to_xml(model))
    for element in root.iter():
        assert element.tag.startswith(f"{{{NAMESPACE}}}")
        element.tag = element.tag.rpartition("}")[2]
    return root


class TestDocuments:
    def test_values(self):
        (one,) = tree_of({"00080008": {"vr": "CS", "Value": ["A", None, "C"]}})
        assert one.attrib == {"tag": "00080008", "vr": "CS", "keyword": "ImageType"}
        assert [(each.tag, each.attrib, each.text) for each in one] == [
            ("Value", {"number": "1"}, "A"),
            ("Value", {"number": "2"}, None),
            ("Value", {"number": "3"}, "C"),
        ]

    def test_person_names(self):
        (one,) = tree_of({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^^^Dr.", "Phonetic": "X"}, None]}})
        first, second = one
        assert [(each.tag, each.text) for each in first.iter() if len(each) == 0] == [
            ("FamilyName", "Doe"),
            ("NamePrefix", "Dr."),
            ("FamilyName", "X"),
        ]
        assert [each.tag for each in first] == ["Alphabetic", "Phonetic"]
        assert (second.tag, second.attrib, len(second)) == ("PersonName", {"number": "2"}, 0)

    def test_items(self):
        step = {"00400009": {"vr": "SH", "Value": ["S1"]}}
        (one,) = tree_of({"00400275": {"vr": "SQ", "Value": [step, {}]}})
        assert [(each.tag, each.attrib, len(each)) for each in one] == [
            ("Item", {"number": "1"}, 1),
            ("Item", {"number": "2"}, 0),
        ]
        assert one[0][0].attrib["keyword"] == "ScheduledProcedureStepID"

    def test_binary(self):
        inline, bulk = tree_of(
            {
                "00420011": {"vr": "OB", "InlineBinary": "AAE="},
                "7FE00010": {"vr": "OW", "BulkDataURI": "http://here/bulk?a=1&b=2"},
            }
        )
        assert (inline[0].tag, inline[0].text) == ("InlineBinary", "AAE=")
        assert (bulk[0].tag, bulk[0].attrib) == ("BulkData", {"uri": "http://here/bulk?a=1&b=2"})

    def test_private_elements_name_their_creator(self):
        model = {
            "00090010": {"vr": "LO", "Value": ["ONE"]},
            "00090012": {"vr": "LO", "Value": ["ONE"]},
            "00091002": {"vr": "LO", "Value": ["a"]},
            "00091202": {"vr": "LO", "Value": ["b"]},
            "00091302": {"vr": "UN", "InlineBinary": "AAE="},
        }
        found = [(each.get("tag"), each.get("privateCreator")) for each in tree_of(model)]
        assert found == [
            ("00090010", None),
            ("00090012", None),
            ("00090002", "ONE"),
            ("00091202", "ONE"),
            ("00091302", None),
        ]
        assert from_xml(to_xml(model)) == model

    def test_group_lengths_are_not_included(self):
        assert len(tree_of({"00080000": {"vr": "UL", "Value": [4]}})) == 0
        assert model_of('<DicomAttribute tag="00080000" vr="UL"><Value number="1">4</Value></DicomAttribute>') == {}

    @pytest.mark.parametrize("text", ['<&>"', " a\r\nb\tc\r", "\u0001\f", "\ud800", "😀ä"])
    def test_characters(self, text):
        (one,) = tree_of({"00104000": {"vr": "LT", "Value": [text]}})
        expected = "".join("\ufffd" if each in "\u0001\f\ud800" else each for each in text)
        assert one[0].text == expected


class TestReading:
    def test_whatever_the_encoding_and_with_or_without_namespace(self):
        body = '<DicomAttribute tag="0010001a" vr="LO"><Value number="1">Müller</Value></DicomAttribute>'
        expected = {"0010001A": {"vr": "LO", "Value": ["Müller"]}}
        for start in ("<NativeDicomModel>", f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'):
            for encoding in ("utf-8", "iso-8859-1", "utf-16", "cp1252"):
                document = f'<?xml version="1.0" encoding="{encoding}"?>{start}{body}</NativeDicomModel>'
                assert from_xml(document.encode(encoding)) == expected
                assert from_xml(document) == expected

    def test_in_any_order(self):
        found = model_of(
            '<DicomAttribute tag="00100020" vr="LO"><Value number="2">b</Value><Value number="1">a</Value>'
            '</DicomAttribute><DicomAttribute tag="00080060"/>'
        )
        assert list(found.items()) == [("00080060", {"vr": "CS"}), ("00100020", {"vr": "LO", "Value": ["a", "b"]})]

    def test_numbers(self):
        def value(vr: str, text: str) -> Any:
            attribute = f'<DicomAttribute tag="00090010" vr="{vr}"><Value number="1">{text}</Value></DicomAttribute>'
            return model_of(attribute)["00090010"].get("Value", [None])[0]

        assert value("DS", " 1.50 ") == 1.5
        assert value("DS", "0.12345678901234567") == "0.12345678901234567"
        assert value("IS", "+7") == 7
        assert value("UV", str(1 << 60)) == str(1 << 60)
        assert value("SV", "-5") == -5
        assert value("FD", "1e3") == 1000.0
        assert value("FD", "nan") is None
        assert value("AT", "0010001a") == "0010001A"

    def test_bulk_data_by_uuid(self):
        attribute = '<DicomAttribute tag="7FE00010" vr="OW"><BulkData uuid="1-2"/></DicomAttribute>'
        assert model_of(attribute) == {"7FE00010": {"vr": "OW", "BulkDataURI": "urn:uuid:1-2"}}

    def test_private_elements_are_given_a_block(self):
        def attribute(tag: str, creator: str) -> str:
            value = f'<Value number="1">{creator}{tag}</Value>'
            return f'<DicomAttribute tag="{tag}" vr="LO" privateCreator="{creator}">{value}</DicomAttribute>'

        found = model_of(
            attribute("00090001", "A") + attribute("00090001", "B") + attribute("00090001", "A")
            + attribute("00094001", "C") + attribute("00094002", "C")
        )  # fmt: skip
        assert {key: member["Value"] for key, member in found.items()} == {
            "00090010": ["A"],
            "00090011": ["B"],
            "00090012": ["A"],  # PS3.18 F.3.1: one tag twice is to be told apart
            "00090040": ["C"],
            "00091001": ["A00090001"],
            "00091101": ["B00090001"],
            "00091201": ["A00090001"],
            "00094001": ["C00094001"],
            "00094002": ["C00094002"],
        }


def attribute(vr: str, inner: str, tag: str = "00100020") -> str:
    return f'<NativeDicomModel><DicomAttribute tag="{tag}" vr="{vr}">{inner}</DicomAttribute></NativeDicomModel>'


_NESTED = '<DicomAttribute tag="00400275" vr="SQ"><Item number="1">'


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ("", "no element found"),
            ("<NativeDicomModel>", "no element found"),
            ("<Dicom/>", "may not stand in the document"),
            ('<NativeDicomModel xmlns="other"/>', "may not stand"),
            ('<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel/>', "DOCTYPE"),
            ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><NativeDicomModel/>', "DOCTYPE"),
            ("<NativeDicomModel>&b;</NativeDicomModel>", "undefined entity"),
            ("<NativeDicomModel>text</NativeDicomModel>", "line 1, NativeDicomModel: text"),
            (attribute("LO", "<Value/>"), "number"),
            (attribute("LO", '<Value number="0"/>'), "number"),
            (attribute("LO", '<Value number="1"/><Value number="1"/>'), "repeated"),
            (attribute("LO", f'<Value number="{MAX_GAPS + 2}"/>'), "too many are missing"),
            (attribute("LO", '<Value number="1">a<b/></Value>'), "may not stand in Value"),
            (attribute("LO", '<Item number="1"/>'), "Item in an attribute of VR LO"),
            (attribute("SQ", '<Value number="1"/>'), "Value in an attribute of VR SQ"),
            (attribute("PN", '<Value number="1">Doe</Value>'), "Value in an attribute of VR PN"),
            (attribute("OB", "<InlineBinary>AAA</InlineBinary>"), "base64"),
            (attribute("OB", "<InlineBinary>AAE=</InlineBinary><InlineBinary/>"), "beside"),
            (attribute("OB", '<BulkData uri="a"/><InlineBinary/>'), "beside"),
            (attribute("OB", "<BulkData/>"), "neither uri nor uuid"),
            (attribute("US", '<Value number="1">1_0</Value>'), "00100020: '1_0' is no value of US"),
            (attribute("FD", '<Value number="1">inf</Value>'), "no value of FD"),
            (attribute("AT", '<Value number="1">(0010,0020)</Value>'), "no value of AT"),
            (attribute("XX", ""), "no VR 'XX'"),
            (attribute("LO", "", "1"), "tag"),
            (attribute("LO", "").replace("vr", 'privateCreator="A" vr'), "is not private"),
            (attribute("LO", "").replace("><", '><DicomAttribute tag="00100020"/><', 1), "twice"),
            (f"<NativeDicomModel>{_NESTED * 200}", "more than 128 sequences"),
            (b'<?xml version="1.0" encoding="x-nonsense"?><NativeDicomModel/>', "encoding"),
            (b"<NativeDicomModel>\xff</NativeDicomModel>", "not well-formed"),
            ("<NativeDicomModel>\ud800</NativeDicomModel>", "not well-formed"),
        ],
    )  # fmt: skip
    def test_nonsense(self, document, words):
        with pytest.raises(DataSetError) as caught:
            from_xml(document)
        assert words in str(caught.value)

    def test_it_says_where(self):
        with pytest.raises(DataSetError, match="line 3, 00400275/00080060: text in DicomAttribute: 'CT'"):
            from_xml(f'<NativeDicomModel>\n{_NESTED}\n<DicomAttribute tag="00080060" vr="CS">CT</DicomAttribute>')

    def test_what_is_too_large(self):
        with pytest.raises(DataSetError, match="bytes"):
            from_xml(b" " * (MAX_DOCUMENT_BYTES + 1))
        many = attribute("SQ", "".join(f'<Item number="{at}"/>' for at in range(1, 20)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.dicom.xml_reader.MAX_ELEMENTS", 10)
            with pytest.raises(DataSetError, match="more than 10 elements"):
                from_xml(many)


# --- there and back ------------------------------------------------------------------------------------------------

_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff") | st.sampled_from("\r\n\t")
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("LO", "CS", "UI", "UT", "DA"), _TEXT.filter(bool)),
    "DS": st.floats(-1e9, 1e9).map(lambda number: float(f"{number:.9g}")),
    "IS": st.integers(-(1 << 31), (1 << 31) - 1),
    "US": st.integers(0, 65535),
    "SV": st.integers(-(1 << 63), (1 << 63) - 1).map(lambda it: it if abs(it) < 1 << 53 else str(it)),
    "FD": st.floats(allow_nan=False, allow_infinity=False),
    "AT": st.integers(0, 0xFFFFFFFF).map("{:08X}".format),
    "PN": st.dictionaries(
        st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]),
        _TEXT.map(lambda it: it.rstrip("^")).filter(bool),
        min_size=1,
    ),
}  # fmt: skip
_TAGS = st.integers(0x00080001, 0x7FFFFFFF).filter(lambda tag: tag & 0xFFFF).map("{:08X}".format)


def _valued(vr: str) -> st.SearchStrategy[dict[str, Any]]:
    values = st.lists(st.none() | _VALUES[vr], min_size=1, max_size=4).filter(lambda them: them != [None])
    return values.map(lambda them: {"vr": vr, "Value": them}) | st.just({"vr": vr})


_LEAVES = st.one_of(
    *[_valued(vr) for vr in _VALUES],
    st.sampled_from(["AAE=", "AAECAwQF"]).map(lambda it: {"vr": "OB", "InlineBinary": it}),
    _TEXT.filter(bool).map(lambda it: {"vr": "OW", "BulkDataURI": it}),
)


def _data_set(members: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    public = st.dictionaries(_TAGS, members, max_size=4)
    creators = st.dictionaries(
        st.integers(0x10, 0xFF).map("0029{:04X}".format),
        st.sampled_from(string.ascii_uppercase).map(lambda name: {"vr": "LO", "Value": [name]}),
        max_size=3,
    )
    private = st.dictionaries(st.integers(0x1000, 0x12FF).map("0029{:04X}".format), members, max_size=4)
    return st.tuples(public, creators, private).map(lambda them: dict(sorted((them[0] | them[1] | them[2]).items())))


def _sequence(members: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    items = st.lists(_data_set(members), max_size=3)
    return items.map(lambda them: {"vr": "SQ", "Value": them} if them else {"vr": "SQ"})


_MODELS = _data_set(st.recursive(_LEAVES, lambda members: members | _sequence(members), max_leaves=8))


@settings(deadline=None, max_examples=150)
@given(_MODELS)
def test_there_and_back(model: dict[str, Any]) -> None:
    assert from_xml(to_xml(model)) == model


def as_json(data: bytes, syntax: str) -> dict[str, Any]:
    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    return json.loads(encode_data_set(read, 0, len(data), syntax, bulk_data_uri=lambda path: f"../bulk/{path}"))


def test_every_sample_there_and_back() -> None:
    for path, syntax, data in data_sets():
        if path.name in ("rtplan_truncated.dcm", "DICOMDIR-nooffset"):
            continue  # malformed, and refused
        model = as_json(data, syntax)
        assert from_xml(to_xml(model)) == _as_xml_can_say(model), path.name


def _as_xml_can_say(model: Any) -> Any:
    """Without what XML has no characters for, and without carets at the end of names."""
    if isinstance(model, dict) and model.get("vr") == "PN" and "Value" in model:
        names = [_name(it) for it in model["Value"]]
        return {"vr": "PN", "Value": names} if names != [None] else {"vr": "PN"}
    if isinstance(model, dict):
        return {key: _as_xml_can_say(it) for key, it in model.items()}
    if isinstance(model, list):
        return [_as_xml_can_say(it) for it in model]
    if isinstance(model, str):
        return "".join("\ufffd" if it < " " and it not in "\t\r\n" else it for it in model)
    return model


def _name(groups: dict[str, str] | None) -> dict[str, str] | None:
    return {key: _as_xml_can_say(it).rstrip("^") for key, it in (groups or {}).items() if it.strip("^")} or None
