"""The query component of a search (PS3.18 §8.3.4): parameters in, keys to match and attributes to return out.

Nothing is searched here. Invalid input is refused; unsupported input becomes a warning (§8.3.4.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from multidict import MultiMapping

from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.encode import BINARY, Attribute, DataSet
from gateway.errors import BadRequest
from gateway.index.values import MAX_TEXT
from gateway.web.dicomweb.attributes import path_of
from gateway.web.inputs import whole_number
from gateway.web.route import ACCEPT, TEXT, TRUTH, Parameter, at_least

MAX_PARAMETERS: Final = 200
"""Parameters and included fields of one query."""
_MAX_OFFSET: Final = 10_000_000
_LISTS: Final = frozenset({"UI", "CS", "IS"})
"""VRs without commas in their values: a comma separates values in a URL (§8.3.4.1), as a backslash does in PS3.4."""
_MAX_WARNINGS: Final = 10


@dataclass(slots=True)
class QueryParameters:
    """A parsed query component."""

    keys: DataSet = field(default_factory=dict)
    """Keys to match; those within a sequence are in its one item."""
    include: set[int] | None = field(default_factory=set)
    """Attributes to return beside the defaults; a sequence as a whole. None: all attributes."""
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    empty: bool = False
    warnings: list[str] = field(default_factory=list)
    _count: int = 0

    def warn(self, text: str) -> None:
        """Add a warning; beyond a limit, only one that there are more."""
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings.append(text)
        elif len(self.warnings) == _MAX_WARNINGS:
            self.warnings.append("Further parameters are not supported.")

    def count(self) -> None:
        self._count += 1
        if self._count > MAX_PARAMETERS:
            raise BadRequest(f"more than {MAX_PARAMETERS} parameters and included fields")


def read_query(query: MultiMapping[str]) -> QueryParameters:
    """Parse a query component. Raises BadRequest, which names the parameter."""
    parsed = QueryParameters()
    for name, value in query.items():
        parsed.count()
        match name:
            case "limit":
                parsed.limit = _number(name, value) or None  # 0 is no limit, as in Orthanc
            case "offset":
                parsed.offset = _number(name, value)
            case "includefield":
                _include(parsed, value)
            case "fuzzymatching":
                parsed.fuzzy = _truth(name, value)
            case "emptyvaluematching":
                parsed.empty = _truth(name, value)
            case "multiplevaluematching":
                _truth(name, value)  # values separated by a backslash are always alternatives
            case "accept":
                pass
            case _:
                _match(parsed, name, value)
    return parsed


def _match(parsed: QueryParameters, name: str, value: str) -> None:
    path = path_of(name)
    if path is None:
        parsed.warn(f"The attribute {quoted(name)} is not supported and was ignored.")
        return
    if not value:  # universal matching, which requests the attribute (PS3.4 C.2.2.2.3)
        _return(parsed, path[0])
        return
    if "\0" in value:
        raise BadRequest(f"{quoted(name)}: the value contains a zero byte")
    vr = implicit_vr(path[-1])
    if vr == "UN":
        vr = "LO"  # a private attribute, whose real VR is in the stored element
    if vr == "SQ" or vr in BINARY:
        parsed.warn(f"The attribute {quoted(name)} is not supported for matching and was ignored.")
        return
    within = parsed.keys
    for tag in path[:-1]:
        around = within.setdefault(tag, Attribute("SQ", [{}]))
        if around.vr != "SQ":  # a private attribute, with a value and items
            raise BadRequest(f"{quoted(name)}: {key_name(tag)} has a value as well")
        within = around.values[0]
    if path[-1] in within:
        raise BadRequest(f"{quoted(name)}: is in the query twice")
    if vr in _LISTS:
        value = value.replace(",", "\\")
    values = value.split("\\")
    if any(len(one) > MAX_TEXT for one in values):
        raise BadRequest(f"{quoted(name)}: a value of more than {MAX_TEXT} characters")
    within[path[-1]] = Attribute(vr, values)
    if path[0] >> 16 & 1:
        _return(parsed, path[0])


def _include(parsed: QueryParameters, value: str) -> None:
    for name in value.split(","):
        parsed.count()
        name = name.strip()
        path = path_of(name)
        if name == "all":
            parsed.include = None
        elif path is None:
            parsed.warn(f"The includefield {quoted(name)} is not supported and was ignored.")
        else:
            _return(parsed, path[0])


def _return(parsed: QueryParameters, tag: int) -> None:
    """Return an attribute; a private one with its creator (PS3.5 §7.8.1), without which it means nothing."""
    if parsed.include is not None:
        parsed.include.add(tag)
        if tag >> 16 & 1 and tag & 0xFFFF >= 0x1000:
            parsed.include.add(tag & 0xFFFF0000 | tag >> 8 & 0xFF)


def _number(name: str, value: str) -> int:
    number = whole_number(value)
    if number is None or number > _MAX_OFFSET:
        raise BadRequest(f"{name}: {value[:40]!r} is not a number from 0 to {_MAX_OFFSET}")
    return number


def _truth(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise BadRequest(f"{name}: {value[:40]!r} is neither true nor false")
    return value == "true"


def quoted(name: str) -> str:
    """A client's word, made safe for a header."""
    return "'" + "".join(c if c.isascii() and c.isprintable() and c not in "\"\\'" else "?" for c in name[:64]) + "'"


def key_name(tag: int) -> str:
    """An attribute in a warning: `(0010,0020)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


PARAMETERS: Final = (
    Parameter(
        "attributeID",
        "Value to match: a keyword or tag, a period before one in a sequence (PS3.18 §8.3.4.1)",
        {"type": "object", "additionalProperties": TEXT},
        any_name=True,
    ),
    Parameter("includefield", "Attributes to return too, separated by commas, or `all`", example="all"),
    Parameter("fuzzymatching", "Match person names by their sound", TRUTH, "true"),
    Parameter("emptyvaluematching", '`""` matches attributes without a value', TRUTH, "true"),
    Parameter(
        "multiplevaluematching",
        "Accepted, without effect: values separated by a backslash are always alternatives",
        TRUTH,
        "true",
    ),
    Parameter("limit", "Most matches; 0: the limit of the settings", at_least(0, _MAX_OFFSET), "10"),
    Parameter("offset", "Matches to skip", at_least(0, _MAX_OFFSET), "0"),
    ACCEPT,
)
"""The parameters of `read_query`; none is required."""
