"""Decoding the Native DICOM Model (PS3.19 A.1) to the DICOM JSON Model. The choices are described in xml.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from xml.parsers import expat

from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import BINARY, NUMBERS, VRS
from gateway.dicom.json import LITERAL, PERSON_NAME_GROUPS, DecimalText, decimal_number, integer_number, safe_integer
from gateway.dicom.walk import MAX_DEPTH
from gateway.dicom.xml import COMPONENTS, NAMESPACE, NUMERIC, Json, private_creators
from gateway.errors import DataSetError

MAX_DOCUMENT_BYTES: Final = 64 << 20
"""Bytes of a document; memory is a small multiple of them, and is bounded by MAX_ELEMENTS too."""
MAX_ELEMENTS: Final = 1_000_000
"""Elements of a document."""
MAX_GAPS: Final = 10_000
"""Values that the numbers in a document leave out, in total: they become null, and cost a sender nothing."""

_ATTRIBUTE: Final = frozenset({"DicomAttribute"})
_PART_OF: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"NativeDicomModel"}),
    "NativeDicomModel": _ATTRIBUTE,
    "Item": _ATTRIBUTE,
    "DicomAttribute": frozenset({"Value", "Item", "PersonName", "BulkData", "InlineBinary"}),
    "PersonName": frozenset(PERSON_NAME_GROUPS),
    **dict.fromkeys(PERSON_NAME_GROUPS, frozenset(COMPONENTS)),
}
"""Element to the elements that it may hold; an element that is not listed holds text (PS3.19 A.1.6)."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_PLAIN: Final = re.compile(r"[-+.0-9A-Za-z]+\Z")
"""Characters of a number; Python would accept digits of other scripts, and underscores."""
_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")


def from_xml(document: bytes | str) -> Json:
    """Decode a document to its data set, in tag order, without group lengths.

    Numbers are converted as in json.py: IS and DS are strings if a number would lose something. Private
    elements go where their creator has a block in the document, or into the first free one (PS3.5 §7.8.1); `uri` and
    `uuid` of bulk data both become BulkDataURI, the latter as `urn:uuid:`.

    Raises: DataSetError, with the place, for an invalid or too large document, or one with a DOCTYPE: PS3.19 has
    none, and without it there are no entities of any kind.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise DataSetError(f"the XML document has more than {MAX_DOCUMENT_BYTES} bytes")
    return _Reader().read(document)


class _Attribute:
    """An open DicomAttribute: its names, and its contents so far."""

    __slots__ = ("creator", "held", "key", "kind", "vr")

    def __init__(self, key: str, vr: str, creator: str) -> None:
        self.key, self.vr, self.creator = key, vr, creator
        self.kind = ""
        """The name of the elements in it, which are all of one kind."""
        self.held: dict[int, Any] = {}
        """Contents by their number."""


class _Reader:
    """Builds the object from expat's events; the document itself is not retained."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._open = [""]
        self._numbers: list[int] = []
        self._attributes: list[_Attribute] = []
        self._data_sets: list[list[tuple[str, str, Json]]] = []
        self._groups: dict[str, str] = {}
        self._name: dict[str, str] = {}
        self._text: list[str] = []
        self._elements = self._gaps = 0
        self._result: Json = {}

    def read(self, document: bytes | str) -> Json:
        if isinstance(document, str):
            document = document.encode("utf-8", "surrogatepass")
            self._parser = expat.ParserCreate("utf-8", " ")  # whatever the declaration says
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        try:
            self._parser.Parse(document, True)
        except expat.ExpatError as error:
            raise DataSetError(f"not well-formed XML: {error}") from None
        except (LookupError, ValueError) as error:  # an encoding that Python does not know, or cannot decode
            raise DataSetError(f"not well-formed XML: {error}") from None
        return self._result

    def _fail(self, why: str) -> DataSetError:
        path = "/".join(attribute.key for attribute in self._attributes) or "NativeDicomModel"
        return DataSetError(f"line {self._parser.CurrentLineNumber}, {path}: {why}")

    def _refuse_doctype(self, *_: object) -> None:
        raise self._fail("a DOCTYPE is not allowed")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if space not in ("", NAMESPACE) or local not in _PART_OF.get(self._open[-1], ()):
            outer = self._open[-1] or "the document"
            raise self._fail(f"{name[:80]!r} may not stand in {outer} (PS3.19 A.1.6)")
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise self._fail(f"more than {MAX_ELEMENTS} elements")
        self._open.append(local)
        self._text = []
        if local == "DicomAttribute":
            if len(self._attributes) > MAX_DEPTH:
                raise self._fail(f"more than {MAX_DEPTH} sequences inside one another")
            self._attributes.append(self._attribute(attributes))
        elif local == "NativeDicomModel":
            self._data_sets.append([])
        elif self._open[-2] == "DicomAttribute":
            self._hold(local, attributes)
        elif local in PERSON_NAME_GROUPS:
            self._name = {}

    def _attribute(self, attributes: dict[str, str]) -> _Attribute:
        key = attributes.get("tag", "").upper()
        if not _TAG.match(key):
            raise self._fail(f"{key[:40]!r} is not a tag of eight hexadecimal digits")
        vr = attributes.get("vr") or implicit_vr(int(key, 16))
        if vr not in VRS:
            raise self._fail(f"{key}: there is no VR {vr[:8]!r}")
        return _Attribute(key, vr, attributes.get("privateCreator", ""))

    def _hold(self, kind: str, attributes: dict[str, str]) -> None:
        """Begin a child of an attribute."""
        attribute = self._attributes[-1]
        vr = attribute.vr
        fitting = "Item" if vr == "SQ" else "PersonName" if vr == "PN" else "InlineBinary" if vr in BINARY else "Value"
        if kind not in (fitting, "BulkData") or (attribute.kind and (kind != attribute.kind or kind in _ALONE)):
            what = f"beside a {attribute.kind}" if attribute.kind else f"in an attribute of VR {vr}"
            raise self._fail(f"a {kind} {what} (PS3.19 Table A.1.5-2)")
        attribute.kind = kind
        if kind == "BulkData":
            uri = attributes.get("uri") or (f"urn:uuid:{uuid}" if (uuid := attributes.get("uuid")) else "")
            if not uri:
                raise self._fail("BulkData with neither uri nor uuid")
            attribute.held[1] = uri
        elif kind != "InlineBinary":
            text = attributes.get("number", "")
            number = int(text) if _NUMBER.match(text) else 0
            if not number or number in attribute.held:
                raise self._fail(f"{kind}: number={text[:20]!r} is missing, invalid or repeated")
            attribute.held[number] = None
            self._numbers.append(number)
            if kind == "Item":
                self._data_sets.append([])
            elif kind == "PersonName":
                self._groups = {}

    def _characters(self, text: str) -> None:
        if self._open[-1] not in _PART_OF:
            self._text.append(text)
        elif not text.isspace():
            raise self._fail(f"text in {self._open[-1]}: {text.strip()[:40]!r}")

    def _end(self, _name: str) -> None:
        name = self._open.pop()
        text = "".join(self._text)
        match name:
            case "Value":
                attribute = self._attributes[-1]
                attribute.held[self._numbers.pop()] = self._value(attribute.vr, text)
            case "InlineBinary":
                packed = "".join(text.split())
                if len(packed) % 4 or not _BASE64.match(packed):
                    raise self._fail("InlineBinary is not base64")
                self._attributes[-1].held[1] = packed
            case "PersonName":
                self._attributes[-1].held[self._numbers.pop()] = self._groups or None
            case "Item":
                self._attributes[-1].held[self._numbers.pop()] = self._data_set()
            case "DicomAttribute":
                self._end_of_attribute()
            case "NativeDicomModel":
                self._result = self._data_set()
            case _ if name in PERSON_NAME_GROUPS:
                full = "^".join(self._name.get(component, "") for component in COMPONENTS).rstrip("^")
                if full:
                    self._groups[name] = full
            case _ if name in COMPONENTS:
                self._name[name] = text
        self._text = []

    def _end_of_attribute(self) -> None:
        attribute = self._attributes[-1]
        held = attribute.held
        member: Json = {"vr": attribute.vr}
        if attribute.kind == "BulkData":
            member["BulkDataURI"] = held[1]
        elif attribute.kind == "InlineBinary":
            if held[1]:
                member["InlineBinary"] = held[1]
        elif held:
            last = max(held)
            self._gaps += last - len(held)
            if self._gaps > MAX_GAPS:
                raise self._fail(f"values are numbered up to {last}, and too many are missing")
            missing: Callable[[], Any] = dict if attribute.vr == "SQ" else lambda: None
            member["Value"] = [held[at] if at in held else missing() for at in range(1, last + 1)]
            if member["Value"] == [None]:
                del member["Value"]
        self._attributes.pop()
        if attribute.creator or not attribute.key.endswith("0000"):
            self._data_sets[-1].append((attribute.key, attribute.creator, member))

    def _value(self, vr: str, text: str) -> Any:
        if vr not in NUMERIC:
            return text or None
        text = text.strip()
        if not text:
            return None
        if vr == "IS":
            return integer_number(text)
        if vr == "DS":
            number = decimal_number(text)
            return DecimalText(text) if isinstance(number, float) and LITERAL.fullmatch(text) else number
        try:
            if vr == "AT" and _TAG.match(text):
                return text.upper()
            if vr in ("FL", "FD") and _PLAIN.match(text):
                return _finite(float(text))
            if vr in NUMBERS and _PLAIN.match(text):
                return safe_integer(int(text))
        except ValueError:
            pass
        raise self._fail(f"{text[:40]!r} is no value of {vr}")

    def _data_set(self) -> Json:
        """Finish a data set: in tag order, private elements in their blocks."""
        pending = self._data_sets.pop()
        model: Json = {}
        for key, creator, member in pending:
            if not creator:
                if key in model:
                    raise self._fail(f"{key} occurs twice")
                model[key] = member
        blocks = private_creators(model)
        for key, creator, member in pending:
            if creator:
                place = self._private(model, blocks, key, creator)
                model[place] = member
        return dict(sorted(model.items()))

    def _private(self, model: Json, blocks: dict[str, str], key: str, creator: str) -> str:
        """The place of a private element; reserves a block for it if there is none."""
        group = key[:4]
        if not int(group, 16) & 1:
            raise self._fail(f"{key} has a privateCreator, but is not private")
        if key[4:6] != "00" and blocks.get(f"{group}00{key[4:6]}") == creator and key not in model:
            return key
        ours = (place for place, name in blocks.items() if name == creator and place.startswith(group))
        for place in ours:
            if f"{group}{place[6:]}{key[6:]}" not in model:
                return f"{group}{place[6:]}{key[6:]}"
        preferred = [key[4:6]] if key[4:6] > "0F" else []
        for block in (*preferred, *_BLOCKS):
            place = f"{group}00{block}"
            if place not in model:
                model[place] = {"vr": "LO", "Value": [creator]}
                blocks[place] = creator
                return f"{group}{block}{key[6:]}"
        raise self._fail(f"{key}: no block is left in group {group} for {creator[:40]!r}")


_ALONE: Final = frozenset({"BulkData", "InlineBinary"})
_BLOCKS: Final = tuple(f"{number:02X}" for number in range(0x10, 0x100))


def _finite(number: float) -> float | None:
    """A finite number, or None for NaN, for which JSON has no number. Raises: ValueError for an infinity."""
    if number in (float("inf"), float("-inf")):
        raise ValueError(number)
    return None if number != number else number
