"""A structured report (PS3.3 C.17) as HTML and as text: its whole content tree, with codes and references.

All text comes from peers: everything is escaped, and the page has a policy under which nothing in it can run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from gateway.dicom.decode import read_data_set
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.source import Read
from gateway.dicom.uids import name_of
from gateway.errors import DataSetError

MAX_ATTRIBUTES: Final = 150_000
"""Attributes of a report; its page is then some 20 MB. A longer report is available as a data set."""
MAX_BYTES: Final = 16 << 20
"""Bytes of all values of a report."""
_INFLATE_LIMIT: Final = 64 << 20

_CONTENT_SEQUENCE: Final = 0x0040A730
_CONCEPT_NAME: Final = 0x0040A043
_CONCEPT: Final = 0x0040A168
_RELATIONSHIPS: Final = {
    "HAS OBS CONTEXT": "context",
    "HAS ACQ CONTEXT": "acquisition context",
    "HAS CONCEPT MOD": "modifier",
    "HAS PROPERTIES": "property",
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
}
"""The relationship of an item to its parent in words; CONTAINS needs none."""
_SIMPLE: Final = {
    "TEXT": 0x0040A160,
    "DATETIME": 0x0040A120,
    "DATE": 0x0040A121,
    "TIME": 0x0040A122,
    "PNAME": 0x0040A123,
    "UIDREF": 0x0040A124,
}
_HEADING: Final = (
    ("Patient", 0x00100010),
    ("Patient ID", 0x00100020),
    ("Birth date", 0x00100030),
    ("Sex", 0x00100040),
    ("Study", 0x00081030),
    ("Study date", 0x00080020),
    ("Accession number", 0x00080050),
    ("Series", 0x0008103E),
    ("Manufacturer", 0x00080070),
    ("Content date", 0x00080023),
    ("Content time", 0x00080033),
    ("Completion", 0x0040A491),
    ("Verification", 0x0040A493),
)
_NONE: Final = Attribute("UN", ())

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1a1a1a}"
    "h1{font-size:1.4em}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1em;margin:0 0 1.5em}dt{color:#666}"
    "dd{margin:0}ul{list-style:none;margin:0;padding-left:1.2em;border-left:1px solid #ddd}li{margin:.3em 0}"
    "b{font-weight:600}i,code{color:#777;font-style:normal;font-size:.85em}span{white-space:pre-wrap}"
)
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)


class Line(NamedTuple):
    """One content item: `name` with its code, the relationship to its parent, and the value."""

    depth: int
    relationship: str
    name: str
    code: str
    value: str
    value_code: str


class Report(NamedTuple):
    title: str
    heading: list[tuple[str, str]]
    lines: list[Line]


def read_report(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Report:
    """Parse the report in the data set that `read` returns from `start` to `end`. Blocking.

    Raises: DataSetError when the data set is malformed, no report, or too long.
    """
    remaining = MAX_BYTES

    def keep(_tag: int, length: int) -> bool:
        nonlocal remaining
        if length == 0xFFFFFFFF:
            return True
        # A sequence of defined length counts its items twice, which only makes the limit a little lower.
        remaining -= length
        if remaining < 0:
            raise DataSetError(f"the report has more than {MAX_BYTES} bytes, which is too long to show")
        return True

    data_set = read_data_set(
        *(read, start, end, transfer_syntax_uid, keep),
        most=MAX_ATTRIBUTES,
        inflate_limit=_INFLATE_LIMIT,
    )
    title, _code = _coded(data_set, _CONCEPT_NAME)
    heading = [(name, text) for name, tag in _HEADING if (text := _value_text(data_set, tag).replace("^", " ").strip())]
    heading += [("Verified by", text) for item in _items(data_set, 0x0040A073) if (text := _verifier(item))]
    return Report(title or "Report", heading, list(_lines(data_set)))


def as_text(report: Report) -> str:
    """The report as plain text, indented by two blanks for each level."""
    out = [report.title, ""]
    out += [f"{name}: {value}" for name, value in report.heading]
    out.append("")
    for line in report.lines:
        around = f"({line.relationship}) " if line.relationship else ""
        codes = "".join(f" [{code}]" for code in (line.code, line.value_code) if code)
        text = f"{around}{line.name}{': ' if line.name and line.value else ''}{line.value}{codes}"
        indent = "  " * line.depth
        out += [indent + part for part in text.splitlines() or [""]]
    return "\n".join(out) + "\n"


def as_html(report: Report) -> str:
    """The report as an HTML page without scripts, links or external resources."""
    return "".join(_html(report))


def _html(report: Report) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(report.title)}</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<style>{_STYLE}</style><h1>{escape(report.title)}</h1><dl>"
    for name, value in report.heading:
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield "</dl>"
    depth = -1
    for line in report.lines:
        if line.depth > depth:
            yield "<ul><li>" * (line.depth - depth)
        else:
            yield "</li></ul>" * (depth - line.depth) + "</li><li>"
        depth = line.depth
        yield str(_line(line))
    yield "</li></ul>" * (depth + 1)


def _line(line: Line) -> Markup:
    pieces = [Markup("<i>{}</i>").format(line.relationship)] if line.relationship else []
    if line.name:
        pieces.append(Markup("<b>{}</b>").format(line.name))
    if line.code:
        pieces.append(Markup("<code>{}</code>").format(line.code))
    if line.value:
        pieces.append(Markup("<span>{}</span>").format(line.value))
    if line.value_code:
        pieces.append(Markup("<code>{}</code>").format(line.value_code))
    return Markup(" ").join(pieces)


def _lines(data_set: DataSet) -> Iterator[Line]:
    """Yield the content items below the root in order, without recursion: the peer chooses the nesting."""
    stack = [iter(_items(data_set, _CONTENT_SEQUENCE))]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            continue
        name, code = _coded(item, _CONCEPT_NAME)
        value, value_code = _value_and_code(item)
        relationship = _value_text(item, 0x0040A010)
        yield Line(len(stack) - 1, _RELATIONSHIPS.get(relationship, ""), name, code, value, value_code)
        below = _items(item, _CONTENT_SEQUENCE)
        if below:
            stack.append(iter(below))


def _value_and_code(item: DataSet) -> tuple[str, str]:
    """The value of a content item, and its code, by the Value Type (PS3.3 C.17.3.2.1)."""
    kind = _value_text(item, 0x0040A040)
    reference = [int(value) for value in item.get(0x0040DB73, _NONE).values if isinstance(value, int)]
    if reference:
        return f"see item {'.'.join(map(str, reference))}", ""
    if kind in _SIMPLE:
        text = _value_text(item, _SIMPLE[kind])
        return (text.replace("^", " ").strip() if kind == "PNAME" else text), ""
    if kind == "CODE":
        return _coded(item, _CONCEPT)
    if kind == "NUM":
        return _measured(item)
    if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        return "; ".join(filter(None, map(_referenced, _items(item, 0x00081199)))) or kind.lower(), ""
    if kind in ("SCOORD", "SCOORD3D"):
        values = item.get(0x00700022, _NONE).values
        points = ", ".join(f"{value:g}" for value in values[:60] if isinstance(value, float))
        more = f" … ({len(values)} numbers)" if len(values) > 60 else ""
        return f"{_value_text(item, 0x00700023)} {points}{more}".strip(), ""
    if kind == "TCOORD":
        times = [_value_text(item, tag) for tag in (0x0040A132, 0x0040A138, 0x0040A13A)]
        return f"{_value_text(item, 0x0040A130)} {' '.join(filter(None, times))}".strip(), ""
    return ("" if _items(item, _CONCEPT_NAME) else "·") if kind in ("CONTAINER", "") else kind.lower(), ""


def _measured(item: DataSet) -> tuple[str, str]:
    numbers, codes = [], []
    for measured in _items(item, 0x0040A300):
        unit, code = _coded(measured, 0x004008EA)
        if code != "1, UCUM":  # no units
            codes.append(code)
            unit = code.removesuffix(", UCUM") if code.endswith(", UCUM") else unit
            numbers.append(f"{_value_text(measured, 0x0040A30A)} {unit}".strip())
        else:
            numbers.append(_value_text(measured, 0x0040A30A))
    qualifier, code = _coded(item, 0x0040A301)
    return "; ".join(filter(None, [*numbers, qualifier])) or "no value", "; ".join(filter(None, [*codes, code]))


def _referenced(item: DataSet) -> str:
    parts = [name_of(_value_text(item, 0x00081150)), _value_text(item, 0x00081155)]
    frames, segments = _value_text(item, 0x00081160), _value_text(item, 0x0062000B)
    parts += [f"frame {frames}"] if frames else []
    parts += [f"segment {segments}"] if segments else []
    return " ".join(filter(None, parts))


def _verifier(item: DataSet) -> str:
    parts = (_value_text(item, tag) for tag in (0x0040A075, 0x0040A027, 0x0040A030))
    return ", ".join(part.replace("^", " ").strip() for part in parts if part)


def _coded(item: DataSet, tag: int) -> tuple[str, str]:
    """The meaning of the first code in a sequence, and its `value, scheme` (PS3.3 §8)."""
    codes = _items(item, tag)
    if not codes:
        return "", ""
    code = codes[0]
    value = next(filter(None, (_value_text(code, each) for each in (0x00080100, 0x00080119, 0x00080120))), "")
    return _value_text(code, 0x00080104), ", ".join(filter(None, (value, _value_text(code, 0x00080102))))


def _items(data_set: DataSet, tag: int) -> list[DataSet]:
    attribute = data_set.get(tag, _NONE)
    return list(attribute.values) if attribute.vr == "SQ" else []


def _value_text(data_set: DataSet, tag: int) -> str:
    values: Iterable[object] = data_set.get(tag, _NONE).values
    return ", ".join(str(value).strip() for value in values if not isinstance(value, (bytes, dict)))
