"""The Native DICOM Model (PS3.19 A.1) as PS3.18 uses it for application/dicom+xml, from and to the DICOM JSON Model.

Both sides are one data set: the document as bytes, and the JSON object of PS3.18 Annex F as Python has it once it is
decoded. How the two belong together says PS3.18 F.3. Data sets as bytes are json.py's and encode.py's.

Where PS3.19 leaves a choice: private elements stand as `gggg00ee` with their `privateCreator` (Table A.1.5-2), beside
the elements that reserve their blocks, so that the blocks survive; characters that XML 1.0 cannot hold (PS3.5 allows
form feed in text) become U+FFFD; carets at the end of a person name are left out, which says the same (PS3.5 §6.2.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from xml.parsers import expat

from gateway.dicom.dictionary import implicit_vr, keyword_of
from gateway.dicom.encode import BINARY, NUMBERS, VRS
from gateway.dicom.json import PERSON_NAME_GROUPS, decimal_number, integer_number, safe_integer
from gateway.dicom.walk import MAX_DEPTH
from gateway.errors import DataSetError

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
LARGEST_DOCUMENT: Final = 64 << 20
"""Bytes of a document that are looked at; memory is a small multiple of them, and is bounded by MAX_ELEMENTS too."""
MAX_ELEMENTS: Final = 1_000_000
"""Of a document."""
MAX_GAPS: Final = 10_000
"""Values that the numbers in a document leave out, all together: they become null, and cost nothing to ask for."""

Json = dict[str, Any]

_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\n'
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_ATTRIBUTE: Final = frozenset({"DicomAttribute"})
_PART_OF: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"NativeDicomModel"}),
    "NativeDicomModel": _ATTRIBUTE,
    "Item": _ATTRIBUTE,
    "DicomAttribute": frozenset({"Value", "Item", "PersonName", "BulkData", "InlineBinary"}),
    "PersonName": frozenset(PERSON_NAME_GROUPS),
    **dict.fromkeys(PERSON_NAME_GROUPS, frozenset(_COMPONENTS)),
}
"""Element to the elements that it may hold; one that is not here holds text (PS3.19 A.1.6)."""
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_MARKUP: Final = re.compile(r'[&<>"\r\n\t]')
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_PLAIN: Final = re.compile(r"[-+.0-9A-Za-z]+\Z")
"""What a number is written with; Python would take digits of other scripts, and underscores."""
_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")


def to_xml(model: Mapping[str, Any]) -> bytes:
    """The document of one data set. The object is taken to be well-formed, as json.py makes it."""
    parts = [_HEAD]
    _write_data_set(model, parts)
    parts.append("</NativeDicomModel>\n")
    return "".join(parts).encode("utf-8")


def from_xml(document: bytes | str) -> Json:
    """The data set that one document says, in tag order, without group lengths.

    Numbers are what json.py makes of their text: IS and DS strings where a number would lose something. Private
    elements go where their creator has a block in the document, or into the first free one (PS3.5 §7.8.1); `uri` and
    `uuid` of bulk data both become BulkDataURI, the latter as `urn:uuid:`.

    Raises DataSetError, with the place, for what is no such document, is too large, or has a DOCTYPE: there is none in
    PS3.19, and with it go entities of every kind.
    """
    if len(document) > LARGEST_DOCUMENT:
        raise DataSetError(f"the XML document has more than {LARGEST_DOCUMENT} bytes")
    return _Reader().read(document)


# --- writing -------------------------------------------------------------------------------------------------------


def _write_data_set(model: Mapping[str, Any], parts: list[str]) -> None:
    creators = _creators(model)
    first = {(place[:4], creator): place for place, creator in reversed(creators.items())}
    for key, member in model.items():
        if key.endswith("0000"):
            continue
        creator = creators.get(f"{key[:4]}00{key[4:6]}", "") if key[4:6] != "00" else ""
        keyword = keyword_of(int(key, 16))
        if not creator:
            name = f' keyword="{keyword}"' if keyword else ""
            parts.append(f'<DicomAttribute tag="{key}" vr="{member["vr"]}"{name}>')
        else:
            # A second block of the same creator keeps its number: without it the two would be one.
            tag = f"{key[:4]}00{key[6:]}" if first[key[:4], creator][6:] == key[4:6] else key
            parts.append(f'<DicomAttribute tag="{tag}" vr="{member["vr"]}" privateCreator="{_escaped(creator)}">')
        _write_values(member, parts)
        parts.append("</DicomAttribute>\n")


def _write_values(member: Mapping[str, Any], parts: list[str]) -> None:
    if "BulkDataURI" in member:
        parts.append(f'<BulkData uri="{_escaped(member["BulkDataURI"])}"/>')
    elif "InlineBinary" in member:
        parts.append(f"<InlineBinary>{member['InlineBinary']}</InlineBinary>")
    vr = member["vr"]
    for number, value in enumerate(member.get("Value", ()), 1):
        if vr == "SQ":
            parts.append(f'<Item number="{number}">\n')
            _write_data_set(value, parts)
            parts.append("</Item>\n")
        elif vr == "PN":
            parts.append(f'<PersonName number="{number}">{"".join(_person_name(value or {}))}</PersonName>')
        elif value is None:
            parts.append(f'<Value number="{number}"/>')
        else:
            # 1.0 as 1: JSON numbers are read as floats, and DS of 16 characters has none to lose.
            text = str(value).removesuffix(".0") if isinstance(value, float) else str(value)
            parts.append(f'<Value number="{number}">{_escaped(text)}</Value>')


def _person_name(groups: Mapping[str, str]) -> Iterator[str]:
    for group in PERSON_NAME_GROUPS:
        if groups.get(group):
            parts = zip(_COMPONENTS, groups[group].split("^", 4), strict=False)
            inner = "".join(f"<{name}>{_escaped(part)}</{name}>" for name, part in parts if part)
            yield f"<{group}>{inner}</{group}>"


def _creators(model: Mapping[str, Any]) -> dict[str, str]:
    """The blocks of private elements that are reserved in a data set: `00090010` to its creator (PS3.5 §7.8.1)."""
    found = {}
    for key, member in model.items():
        if int(key[3], 16) & 1 and key[4:6] == "00" and key[6] != "0" and member.get("Value"):
            creator = member["Value"][0]
            if isinstance(creator, str) and creator:
                found[key] = creator
    return found


def _escaped(text: str) -> str:
    if not text.isprintable():
        text = _NOT_XML.sub("\ufffd", text)
    return _MARKUP.sub(lambda found: _ESCAPES[found[0]], text)


# --- reading -------------------------------------------------------------------------------------------------------


class _Attribute:
    """A DicomAttribute while it is open: how it is called, and what it holds so far."""

    __slots__ = ("creator", "held", "key", "kind", "vr")

    def __init__(self, key: str, vr: str, creator: str) -> None:
        self.key, self.vr, self.creator = key, vr, creator
        self.kind = ""
        """The name of the elements in it, which are of one kind."""
        self.held: dict[int, Any] = {}
        """Their contents by their number."""


class _Reader:
    """Makes the object as expat comes across its parts; nothing is kept of the document itself."""

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
        except (LookupError, ValueError) as error:  # an encoding that Python does not know, or cannot read so
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
        """Something of one attribute begins."""
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
                raise self._fail(f"{kind}: number={text[:20]!r} is none, or is there twice")
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
                full = "^".join(self._name.get(component, "") for component in _COMPONENTS).rstrip("^")
                if full:
                    self._groups[name] = full
            case _ if name in _COMPONENTS:
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
        if vr not in _NUMERIC:
            return text or None
        text = text.strip()
        if not text:
            return None
        if vr == "IS":
            return integer_number(text)
        if vr == "DS":
            return decimal_number(text)
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
        """What a data set has come to, at its end: in tag order, private elements in their blocks."""
        pending = self._data_sets.pop()
        model: Json = {}
        for key, creator, member in pending:
            if not creator:
                if key in model:
                    raise self._fail(f"{key} is there twice")
                model[key] = member
        blocks = _creators(model)
        for key, creator, member in pending:
            if creator:
                place = self._private(model, blocks, key, creator)
                model[place] = member
        return dict(sorted(model.items()))

    def _private(self, model: Json, blocks: dict[str, str], key: str, creator: str) -> str:
        """Where a private element goes; reserves a block for it where there is none."""
        group = key[:4]
        if not int(group, 16) & 1:
            raise self._fail(f"{key} has a privateCreator, but is not private")
        if key[4:6] != "00" and blocks.get(f"{group}00{key[4:6]}") == creator and key not in model:
            return key
        ours = (place for place, name in blocks.items() if name == creator and place.startswith(group))
        for place in ours:
            if f"{group}{place[6:]}{key[6:]}" not in model:
                return f"{group}{place[6:]}{key[6:]}"
        wish = [key[4:6]] if key[4:6] > "0F" else []
        for block in (*wish, *_BLOCKS):
            place = f"{group}00{block}"
            if place not in model:
                model[place] = {"vr": "LO", "Value": [creator]}
                blocks[place] = creator
                return f"{group}{block}{key[6:]}"
        raise self._fail(f"{key}: no block is left in group {group} for {creator[:40]!r}")


_ALONE: Final = frozenset({"BulkData", "InlineBinary"})
_NUMERIC: Final = frozenset({"IS", "DS", "AT", *NUMBERS})
_BLOCKS: Final = tuple(f"{number:02X}" for number in range(0x10, 0x100))


def _finite(number: float) -> float | None:
    """JSON has no number for NaN; an infinity, which it has none for either, is refused by ValueError."""
    if number in (float("inf"), float("-inf")):
        raise ValueError(number)
    return None if number != number else number
