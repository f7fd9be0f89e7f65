"""The narrative of a CDA document (HL7 CDA R2 §4.3): titles and text of its sections, as lines for a page.

What a program reads of the document (entries, codes) is left out, and so are its styles. The document is a peer's: a
DOCTYPE, and with it every entity, is refused, and sizes are bounded.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple
from xml.parsers import expat

from gateway.errors import DataSetError

MAX_CDA_BYTES: Final = 4 << 20
MAX_LINES: Final = 5000
_MAX_DEPTH: Final = 200
_BLOCKS: Final = frozenset(("paragraph", "item", "tr", "caption", "br", "text", "list", "table"))
"""Elements of a narrative that begin and end a line."""
_CELLS: Final = frozenset(("td", "th"))

Kind = Literal["title", "text"]
_SHOWN: Final[dict[tuple[str, str], Kind]] = {
    ("title", "ClinicalDocument"): "title",
    ("title", "section"): "title",
    ("text", "section"): "text",
}
"""Elements that are shown, by their names and those of what they are in."""


class CdaLine(NamedTuple):
    """One line of the narrative; `depth` counts the sections that it is in."""

    kind: Kind
    depth: int
    text: str


def read_cda(data: bytes) -> list[CdaLine]:
    """Read the narrative of a document. Raises DataSetError for what is no XML, too long, or has a DOCTYPE."""
    if len(data) > MAX_CDA_BYTES:
        raise DataSetError(f"a document of more than {MAX_CDA_BYTES} bytes is too long to show in place")
    narrative = _Narrative()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = narrative.start
    parser.EndElementHandler = narrative.end
    parser.CharacterDataHandler = narrative.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data.rstrip(b"\0"), True)  # a value has an even length
    except expat.ExpatError as error:
        raise DataSetError(f"its document is no XML: {error}") from error
    return narrative.lines


def _refuse(*_: object) -> None:
    raise DataSetError("its document has a DOCTYPE, which CDA has not")


class _Narrative:
    """Collects lines from the elements of a document in order."""

    def __init__(self) -> None:
        self.lines: list[CdaLine] = []
        self._path: list[str] = []
        self._sections = 0
        self._kind: Kind | None = None
        self._kind_depth = 0
        self._buffer: list[str] = []

    def start(self, name: str, _attributes: object) -> None:
        name = name.rpartition(" ")[2]
        self._path.append(name)
        if len(self._path) > _MAX_DEPTH:
            raise DataSetError(f"its document is nested more than {_MAX_DEPTH} deep")
        if self._kind is None:
            above = self._path[-2] if len(self._path) > 1 else ""
            if name == "section":
                self._sections += 1
            elif (name, above) in _SHOWN:
                self._kind, self._kind_depth = _SHOWN[name, above], len(self._path)
        elif name in _BLOCKS:
            self._flush()
        elif name in _CELLS and self._buffer:
            self._buffer.append(" \N{MIDDLE DOT} ")

    def end(self, name: str) -> None:
        name = name.rpartition(" ")[2]
        if self._kind is not None:
            if name in _BLOCKS or name == "title":
                self._flush()
            if len(self._path) == self._kind_depth:
                self._kind = None
        elif name == "section":
            self._sections -= 1
        self._path.pop()

    def data(self, text: str) -> None:
        if self._kind is not None:
            self._buffer.append(text)

    def _flush(self) -> None:
        text = " ".join("".join(self._buffer).split())
        self._buffer.clear()
        if not text or self._kind is None:
            return
        if len(self.lines) >= MAX_LINES:
            raise DataSetError(f"its document has more than {MAX_LINES} lines")
        self.lines.append(CdaLine(self._kind, self._sections, text))
