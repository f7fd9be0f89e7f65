"""The attributes of an instance as the rows of a table: sequences with their items below them, a page at a time.

A search finds rows by tag, keyword, VR, value and private creator, and keeps the sequences and items that they are in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from gateway.dicom.dictionary import keyword_of, repeating_keyword_of
from gateway.dicom.private_names import private_attribute
from gateway.retrieve.tag_tree import Tag, TagTree

PAGE_ROWS: Final = 500
"""Rows that are sent at once."""
_MAX_LISTED_DEPTH: Final = 6
"""Rows that are deeper are not moved further to the right."""


class TagRow(NamedTuple):
    """One attribute, or the beginning of an item (which has a number and no tag)."""

    depth: int
    tag: int
    item: int
    """Number of an item, from 1; 0 for an attribute."""
    keyword: str
    """Of PS3.6; of a private attribute the name that its creator gave it, if that is known."""
    creator: str
    vr: str
    shape: str
    value: str
    length: int
    """Bytes of the value; of a sequence its items."""

    @property
    def tag_text(self) -> str:
        return f"{self.tag >> 16:04X},{self.tag & 0xFFFF:04X}"

    @property
    def indent(self) -> int:
        return min(self.depth, _MAX_LISTED_DEPTH)

    @property
    def is_group(self) -> bool:
        """Whether rows below belong to this one."""
        return self.item > 0 or self.vr == "SQ"


class TagPage(NamedTuple):
    """Some of the rows, and how many there are."""

    rows: list[TagRow]
    first: int
    total: int

    @property
    def next(self) -> int | None:
        """The number of the first row of the next page; None on the last."""
        after = self.first + len(self.rows)
        return after if after < self.total else None


def tag_page(trees: Sequence[TagTree], search: str, first: int) -> TagPage:
    """The rows of some data sets, one behind the other, from the row `first` on; with `search` those that match it."""
    rows = itertools.chain.from_iterable(_rows(tree, 0) for tree in trees)
    wanted = list(_found(rows, _matcher(search)) if search else rows)
    return TagPage(wanted[first : first + PAGE_ROWS], first, len(wanted))


def _rows(tree: TagTree, depth: int) -> Iterator[TagRow]:
    for tag, each in tree.items():
        keyword = private_attribute(tag, each.creator).name if each.creator else _keyword(tag)
        described = keyword, each.creator, each.vr, each.shape
        if isinstance(each.value, list):
            yield TagRow(depth, tag, 0, *described, "", len(each.value))
            for number, item in enumerate(each.value, 1):
                yield TagRow(depth + 1, tag, number, "", "", "", "Item", "", len(item))
                yield from _rows(item, depth + 2)
        else:
            yield TagRow(depth, tag, 0, *described, _shown(each), each.length)


def _shown(each: Tag) -> str:
    return each.value if isinstance(each.value, str) else ""


def _keyword(tag: int) -> str:
    if tag & 0x10000:
        return "PrivateCreator" if 0x10 <= tag & 0xFFFF <= 0xFF else ""
    return keyword_of(tag) or repeating_keyword_of(tag)


def _matcher(search: str) -> Callable[[TagRow], bool]:
    wanted = search.casefold()
    digits = wanted.replace(",", "").replace("(", "").replace(")", "")

    def matches(row: TagRow) -> bool:
        if row.item:
            return False
        texts = row.keyword, row.value, row.creator
        return (
            any(wanted in text.casefold() for text in texts)
            or wanted == row.vr.casefold()
            or (len(digits) > 1 and f"{row.tag:08x}".startswith(digits))
            or wanted == row.tag_text.casefold()[5:]
        )

    return matches


def _found(rows: Iterator[TagRow], matches: Callable[[TagRow], bool]) -> Iterator[TagRow]:
    """The rows that match, with what they are in, and with what is in a sequence that matches."""
    above: list[TagRow] = []
    inside = -1  # depth of a sequence that matches
    for row in rows:
        while above and above[-1].depth >= row.depth:
            above.pop()
        if row.depth <= inside:
            inside = -1
        is_found = matches(row)
        if is_found or inside >= 0:
            yield from above
            above = []
            yield row
            if is_found and row.is_group and inside < 0:
                inside = row.depth
        elif row.is_group:
            above.append(row)
