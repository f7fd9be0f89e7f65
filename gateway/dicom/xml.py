"""Encoding the Native DICOM Model (PS3.19 A.1), which PS3.18 uses for application/dicom+xml, from DICOM JSON.

Both are one data set: the document as bytes, and the parsed JSON object of PS3.18 Annex F. PS3.18 F.3 maps one to the
other. Decoding is in xml_reader.py, data sets as bytes in json.py.

Where PS3.19 leaves a choice: private elements are `gggg00ee` with their `privateCreator` (Table A.1.5-2), beside
the elements that reserve their blocks, so that the blocks survive; text with characters that XML 1.0 cannot hold (PS3.5
allows form feed) becomes bulk data, and where bulk data is not possible they become U+FFFD; carets at the end of a
person name are left out, which has the same meaning (PS3.5 §6.2.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.dicom.dictionary import keyword_of
from gateway.dicom.encode import NUMBERS
from gateway.dicom.json import PERSON_NAME_GROUPS, DecimalText

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
Json = dict[str, Any]

NUMERIC: Final = frozenset({"IS", "DS", "AT", *NUMBERS})
"""VRs whose values are no text, or need conversion."""
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\n'
COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_MARKUP: Final = re.compile(r'[&<>"\r\n\t]')
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_xml(model: Mapping[str, Any], bulk_data_uri: Callable[[str], str] | None = None) -> bytes:
    """The document of one data set, whose object must be well-formed, as json.py makes it.

    `bulk_data_uri` is called with the path of an element, as in json.py, and returns the URI of a value that XML
    cannot hold.
    """
    parts = [_HEAD]
    _write_data_set(model, parts, bulk_data_uri, "")
    parts.append("</NativeDicomModel>\n")
    return "".join(parts).encode("utf-8")


def _write_data_set(model: Mapping[str, Any], parts: list[str], uri: Callable[[str], str] | None, place: str) -> None:
    creators = private_creators(model)
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
        if uri is not None and _beyond_xml(member):
            member = {"vr": member["vr"], "BulkDataURI": uri(place + key)}
        _write_values(member, parts, uri, place + key)
        parts.append("</DicomAttribute>\n")


def _write_values(member: Mapping[str, Any], parts: list[str], uri: Callable[[str], str] | None, place: str) -> None:
    if "BulkDataURI" in member:
        parts.append(f'<BulkData uri="{_escaped(member["BulkDataURI"])}"/>')
    elif "InlineBinary" in member:
        parts.append(f"<InlineBinary>{member['InlineBinary']}</InlineBinary>")
    vr = member["vr"]
    for number, value in enumerate(member.get("Value", ()), 1):
        if vr == "SQ":
            parts.append(f'<Item number="{number}">\n')
            _write_data_set(value or {}, parts, uri, f"{place}/{number - 1}/")
            parts.append("</Item>\n")
        elif vr == "PN":
            parts.append(f'<PersonName number="{number}">{"".join(_person_name(value or {}))}</PersonName>')
        elif value is None:
            parts.append(f'<Value number="{number}"/>')
        else:
            if vr == "DS" and isinstance(value, DecimalText):
                text = value.text
            else:
                # 1.0 as 1: JSON numbers are read as floats, and DS of 16 characters has none to lose.
                text = str(value).removesuffix(".0") if isinstance(value, float) else str(value)
            parts.append(f'<Value number="{number}">{_escaped(text)}</Value>')


def _beyond_xml(member: Mapping[str, Any]) -> bool:
    """Whether text has characters that XML 1.0 cannot hold, such as a form feed, which DICOM allows (PS3.5 §6.1.3)."""
    if member["vr"] in ("SQ", *NUMERIC):
        return False
    for value in member.get("Value", ()):
        for text in value.values() if isinstance(value, dict) else (value,):
            if isinstance(text, str) and not text.isprintable() and _NOT_XML.search(text):
                return True
    return False


def _person_name(groups: Mapping[str, str]) -> Iterator[str]:
    for group in PERSON_NAME_GROUPS:
        if groups.get(group):
            parts = zip(COMPONENTS, groups[group].split("^", 4), strict=False)
            inner = "".join(f"<{name}>{_escaped(part)}</{name}>" for name, part in parts if part)
            yield f"<{group}>{inner}</{group}>"


def private_creators(model: Mapping[str, Any]) -> dict[str, str]:
    """The reserved blocks of private elements in a data set: `00090010` to its creator (PS3.5 §7.8.1)."""
    creators = {}
    for key, member in model.items():
        if int(key[3], 16) & 1 and key[4:6] == "00" and key[6] != "0" and member.get("Value"):
            creator = member["Value"][0]
            if isinstance(creator, str) and creator:
                creators[key] = creator
    return creators


def _escaped(text: str) -> str:
    if not text.isprintable():
        text = _NOT_XML.sub("\ufffd", text)
    return _MARKUP.sub(lambda found: _ESCAPES[found[0]], text)
