"""Folding: text in the form in which it is compared, with a map back to its original positions.

Case, width, decomposition, accents, Hiragana against Katakana, and invisible characters are ignored. `text.py` searches
the folded text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple
from unicodedata import category, combining, decimal, normalize

MAX_CLUSTER: Final = 32
"""Characters of one letter with its marks (UAX #15 calls 30 enough for any language)."""

_MARKS: Final = frozenset(
    map(chr, (*range(0x300, 0x370), *range(0x591, 0x5C8), 0x640, *range(0x64B, 0x656), 0x670))
) - {"\u05be", "\u05c0", "\u05c3", "\u05c6"}
"""Accents of European letters, points of Hebrew and Arabic: often omitted. Marks of other scripts are letters."""
_HALF_WIDTH_MARKS: Final = frozenset("\uff9e\uff9f")
_ALIKE: Final = str.maketrans(
    {
        **{chr(code): chr(code - 0x60) for code in range(0x30A1, 0x30F7)},  # Katakana to Hiragana
        **dict(zip("ıłøđ", "ilod", strict=True)),
    }
)


class Folded(NamedTuple):
    """Folded text. `starts` and `ends` map each of its characters to a range of the original."""

    text: str
    starts: list[int] | None = None
    """Starts of the ranges; None if each character maps to the one at its place."""
    ends: list[int] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The range of the original for the non-empty `text[start:end]`."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """Fold a text for comparison (NFKC and case folding, Unicode 3.13, without accents)."""
    if text.isascii():
        return Folded(text.lower())
    letters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at, size = 0, len(text)
    while at < size:
        end = at + 1
        while end < size and text[end] > "\u00a0" and end - at < MAX_CLUSTER and _continues(text[end]):
            end += 1
        cluster = _folded(text[at:end])
        letters.append(cluster)
        starts += [at] * len(cluster)
        ends += [end] * len(cluster)
        at = end
    return Folded("".join(letters), starts, ends)


@lru_cache(8192)
def _continues(letter: str) -> bool:
    """Whether a character belongs to the one before: a mark, an invisible one, a later part of a Hangul syllable."""
    return (
        combining(letter) > 0
        or category(letter) in ("Mn", "Me", "Cf")
        or "\u1160" <= letter <= "\u11ff"
        or "\ud7b0" <= letter <= "\ud7ff"
        or letter in _HALF_WIDTH_MARKS
    )


@lru_cache(8192)
def _folded(cluster: str) -> str:
    plain = normalize("NFKD", normalize("NFKC", cluster).casefold())
    kept = [_digit(letter) for letter in plain if letter not in _MARKS and _is_seen(letter)]
    return normalize("NFC", "".join(kept)).casefold().translate(_ALIKE)


def _is_seen(letter: str) -> bool:
    return category(letter) != "Cf" and not ("\ufe00" <= letter <= "\ufe0f" or letter >= "\U000e0000")


def _digit(letter: str) -> str:
    """The ASCII digit for a decimal digit of any script."""
    value = decimal(letter, None)
    return str(value) if value is not None else letter
