"""The query component of a search (PS3.18 §8.3.4): parameters in, keys to match and what to return out.

Nothing is searched here. What makes no sense is refused; what is merely not supported becomes a warning (§8.3.4.3).
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

MAX_PARAMETERS: Final = 200
"""Parameters and included fields of one query."""
_LONGEST: Final = 10_000_000
_LISTS: Final = frozenset({"UI", "CS", "IS"})
"""VRs without a comma in their values: it separates them in a URL (§8.3.4.1), as a backslash does in PS3.4."""
_MOST_WARNINGS: Final = 10


@dataclass(slots=True)
class Asked:
    """What a query component asks for."""

    keys: DataSet = field(default_factory=dict)
    """What is matched; keys within a sequence stand in its one item."""
    include: set[int] | None = field(default_factory=set)
    """What is returned beside the defaults; of a sequence, all of it. None: all that there is."""
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    empty: bool = False
    warnings: list[str] = field(default_factory=list)
    _count: int = 0

    def warn(self, text: str) -> None:
        """Say one more thing; past some, only that there are more."""
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)
        elif len(self.warnings) == _MOST_WARNINGS:
            self.warnings.append("Further parameters are not supported.")

    def count(self) -> None:
        self._count += 1
        if self._count > MAX_PARAMETERS:
            raise BadRequest(f"more than {MAX_PARAMETERS} parameters and included fields")


def read_query(query: MultiMapping[str]) -> Asked:
    """Raises BadRequest that names the parameter."""
    asked = Asked()
    for name, value in query.items():
        asked.count()
        match name:
            case "limit":
                asked.limit = _number(name, value) or None  # 0 is no limit, as in Orthanc
            case "offset":
                asked.offset = _number(name, value)
            case "includefield":
                _include(asked, value)
            case "fuzzymatching":
                asked.fuzzy = _truth(name, value)
            case "emptyvaluematching":
                asked.empty = _truth(name, value)
            case "multiplevaluematching":
                _truth(name, value)  # values with a backslash between them are alternatives always
            case "accept":
                pass
            case _:
                _match(asked, name, value)
    return asked


def _match(asked: Asked, name: str, value: str) -> None:
    path = path_of(name)
    if path is None:
        asked.warn(f"The attribute {quoted(name)} is not supported and was ignored.")
        return
    if not value:  # matches everything, and asks for what is there (PS3.4 C.2.2.2.3)
        _return(asked, path[0])
        return
    if "\0" in value:
        raise BadRequest(f"{quoted(name)}: the value holds a zero byte")
    vr = implicit_vr(path[-1])
    if vr == "UN":
        vr = "LO"  # private: the stored element knows better
    if vr == "SQ" or vr in BINARY:
        asked.warn(f"The attribute {quoted(name)} is not supported for matching and was ignored.")
        return
    within = asked.keys
    for tag in path[:-1]:
        within = within.setdefault(tag, Attribute("SQ", [{}])).values[0]
    if path[-1] in within:
        raise BadRequest(f"{quoted(name)}: given twice")
    if vr in _LISTS:
        value = value.replace(",", "\\")
    values = value.split("\\")
    if any(len(one) > MAX_TEXT for one in values):
        raise BadRequest(f"{quoted(name)}: a value of more than {MAX_TEXT} characters")
    within[path[-1]] = Attribute(vr, values)
    if path[0] >> 16 & 1:
        _return(asked, path[0])


def _include(asked: Asked, value: str) -> None:
    for name in value.split(","):
        asked.count()
        name = name.strip()
        path = path_of(name)
        if name == "all":
            asked.include = None
        elif path is None:
            asked.warn(f"The includefield {quoted(name)} is not supported and was ignored.")
        else:
            _return(asked, path[0])


def _return(asked: Asked, tag: int) -> None:
    """Of a private element return whose it is too (PS3.5 §7.8.1): without that it says nothing."""
    if asked.include is not None:
        asked.include.add(tag)
        if tag >> 16 & 1 and tag & 0xFFFF >= 0x1000:
            asked.include.add(tag & 0xFFFF0000 | tag >> 8 & 0xFF)


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value[:20]) > _LONGEST:
        raise BadRequest(f"{name}: {value[:40]!r} is not a number from 0 to {_LONGEST}")
    return int(value)


def _truth(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise BadRequest(f"{name}: {value[:40]!r} is neither true nor false")
    return value == "true"


def quoted(name: str) -> str:
    """A client's word, made harmless for a header."""
    return "'" + "".join(c if c.isascii() and c.isprintable() and c not in "\"\\'" else "?" for c in name[:64]) + "'"


def key_name(tag: int) -> str:
    """An attribute in a warning: `(0010,0020)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
