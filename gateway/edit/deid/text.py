"""Removal of identifying parts from free text (PS3.15 E.3.5), and the dummy values.

Found are the strings that the object has of its patient (`known.py`), in any context, and whatever looks like a date, a
time, a person's number, or a telephone number or address. That proves nothing: nicknames, names in another script and
names of others are not found, and descriptions written by people may hold anything.

Every step is linear in the length of the text: substrings, and RE2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import re2

from gateway.edit.deid.folding import fold
from gateway.edit.deid.known import WIDE, Known

MAX_CLEANED: Final = 1 << 20
"""Characters, and bytes, of a text that is searched."""
MAX_PASSES: Final = 8
MIN_HYPHENATED: Final = 5
"""Characters of a name that is found with hyphens inside as well (Gil-dong)."""

_MONTHS: Final = (
    "jan(?:uary|uar|uari|vier|eiro)?|ene(?:ro)?|gennaio|feb(?:ruary|ruar|ruari|rero|braio)?|fev(?:rier|ereiro)?"
    "|mar(?:ch|s|zo|co)?|marz|maart|mrt|apr(?:il|ile)?|avr(?:il)?|abr(?:il)?|may|mai|mayo|maggio|mei|maio"
    "|june?|juin|juni[o]?|giu(?:gno)?|junho|july?|juil(?:let)?|juli[o]?|lug(?:lio)?|julho|aug(?:ust|ustus)?|aout|ago(?:sto)?"
    "|sept?(?:ember|embre|tembre|iembre)?|set(?:tembre|embro)|oct(?:ober|obre|ubre)?|okt(?:ober)?|ott(?:obre)?|outubro"
    "|nov(?:ember|embre|iembre|embro)?|dec(?:ember|embre)?|dez(?:ember|embro)?|dic(?:embre|iembre)?"
    "|(?:янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек)[а-я]{0,5}"  # noqa: RUF001
)
_YEAR: Final = r"(?:18|19|20)\d\d"
_MONTH: Final = "(?:0[1-9]|1[0-2])"
_BLANK: Final = r"[ _.,'-]*"
_LOOKS: Final = re2.compile(
    "|".join(
        (
            r"(?:https?|ftp|urn|tel):\S+",
            r"\d+(?:\.\d+){5,}",  # UIDs
            r"\d+/\d{1,2}/\d+|\d+-\d{1,2}-\d+|\d+\.\d{1,2}\.\d+",  # dates
            rf"{_YEAR}(?:_\d\d?_\d\d?| \d\d? \d\d?)|\d\d?(?:_\d\d?_| \d\d? ){_YEAR}",
            rf"\d\d?(?:st|nd|rd|th)?{_BLANK}(?:of )?(?:{_MONTHS}){_BLANK}\d{{2,4}}",
            rf"(?:{_MONTHS}){_BLANK}\d\d?(?:st|nd|rd|th)?[ _,.-]+\d{{2,4}}",
            rf"{_YEAR}{_BLANK}(?:{_MONTHS}){_BLANK}\d\d?",
            rf"(?:{_MONTHS}){_BLANK}{_YEAR}",
            rf"{_YEAR}[/-]{_MONTH}|{_MONTH}[/.-]{_YEAR}",
            r"(?:明治|大正|昭和|平成|令和)? ?(?:\d+|元) ?年 ?\d\d? ?月(?: ?\d\d? ?日)?",
            r"\d+ ?년 ?\d\d? ?월(?: ?\d\d? ?일)?",
            r"\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[ap]\.?m\b\.?)?",  # times
            r"\+\d[\d ()/-]{5,}\d",  # telephone
            r"\b\d{3,}[ /-]\d{3,}(?:[ /-]\d+)*",
            r"(?:\b[a-z]{1,4}-?)?\d{5,}[a-z0-9]*",  # numbers of patients, orders, insurances; dates without dots
        )
    )
)
_SIGNS: Final = frozenset("0123456789:元")
"""Every match of _LOOKS contains one of these."""
_TITLED: Final = re2.compile(
    r"(?:^|[^\pL\pN])((?:dr|prof|mr|mrs|ms|miss|herr|frau|mme|sir)[ ._]+(?:(?:dr|med|prof)[ ._]+)*[\pL\pN][\pL\pN'-]*)"
)
_TITLES: Final = ("dr", "prof", "mr", "ms", "miss", "herr", "frau", "mme", "sir")
_MODALITY: Final = re.compile(r"(?:DR|MR|MS)_")
"""Abbreviations that are not titles: digital radiography, magnetic resonance, a disease."""
_DIGITS: Final = frozenset("0123456789")
_PUNCTUATION: Final = str.maketrans("", "", " _.,-/:;()")
_SEPARATORS: Final = str.maketrans("", "", " _.,・、-")
_BLANKS: Final = frozenset(" _.,・、-")
_HYPHENS: Final = str.maketrans("", "", "-'")
_SPACES: Final = re.compile(r"[ \t]{2,}")

Span = tuple[int, int]

DUMMY_TEXT: Final = "REMOVED"
DUMMIES: Final = {
    "AE": DUMMY_TEXT,
    "AS": "000Y",
    "CS": DUMMY_TEXT,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "LO": DUMMY_TEXT,
    "LT": DUMMY_TEXT,
    "PN": DUMMY_TEXT,
    "SH": DUMMY_TEXT,
    "ST": DUMMY_TEXT,
    "TM": "000000",
    "UC": DUMMY_TEXT,
    "UR": "urn:removed",
    "UT": DUMMY_TEXT,
}
"""A value without meaning, for each text VR except UI."""


class Cleaner:
    """Removes the identifying strings of one object from its free text."""

    def __init__(self, known: Known) -> None:
        self._nothing_is_clean = known.too_many
        self._anywhere = tuple(known.anywhere)
        self._words = tuple(known.words - known.anywhere)
        self._numbers = tuple(known.numbers)
        self._long = tuple(string for string in known.anywhere if len(string) >= MIN_HYPHENATED)
        self._wide = tuple(string for string in known.anywhere if string >= WIDE)

    def clean(self, text: str) -> str:
        """The remaining text; '' when nothing meaningful remains, or when it cannot be called clean."""
        if self._nothing_is_clean or len(text) > MAX_CLEANED:
            return ""
        remaining = text
        for _ in range(MAX_PASSES):  # the text on both sides of a removed part may form a name
            spans = self._spans(remaining)
            if not spans:
                break
            remaining = _without(remaining, spans)
        else:
            return ""
        if remaining == text:
            return text
        remaining = _SPACES.sub(" ", remaining).strip(" \t_")
        return remaining if any(letter.isalnum() for letter in remaining) else ""

    def _spans(self, text: str) -> list[Span]:
        folded = fold(text)
        plain = folded.text
        found = [span for known in self._anywhere if known in plain for span in _occurrences(plain, known)]
        if not _DIGITS.isdisjoint(plain):
            found += _squeezed_occurrences(plain, _PUNCTUATION, self._numbers)
        if not _SIGNS.isdisjoint(plain):
            found += [match.span() for match in _LOOKS.finditer(plain)]
        if "@" in plain:
            found += _mail_addresses(plain)
        if "-" in plain or "'" in plain:
            found += _squeezed_occurrences(plain, _HYPHENS, self._long)
        if self._wide and not _BLANKS.isdisjoint(plain):
            found += _squeezed_occurrences(plain, _SEPARATORS, self._wide)
        if any(title in plain for title in _TITLES):
            spans = [match.span(1) for match in _TITLED.finditer(plain)]
            found += [span for span in spans if not _MODALITY.match(text[slice(*folded.original(*span))])]
        words = [word for word in self._words if word in plain]
        if words:
            apart = _blanked(plain, found) if found else plain
            found += [span for word in words for span in _occurrences(apart, word) if _is_word(apart, *span)]
        return [folded.original(*span) for span in found]


def _squeezed_occurrences(text: str, table: Mapping[int, Any], strings: Iterable[str]) -> Iterator[Span]:
    """Find strings in text that has any signs of `table`, which `str.translate` removes, between their characters."""
    squeezed = text.translate(table)
    found = [string for string in strings if string in squeezed]
    if not found:
        return
    places = [at for at, letter in enumerate(text) if ord(letter) not in table]
    for string in found:
        for start, end in _occurrences(squeezed, string):
            yield places[start], places[end - 1] + 1


def _mail_addresses(text: str) -> Iterator[Span]:
    """Find mail addresses by hand: RE2 would search to the end of the text after each other match."""
    sign = text.find("@")
    while sign >= 0:
        start, end = sign, sign + 1
        while start and (text[start - 1].isalnum() or text[start - 1] in "_.+-"):
            start -= 1
        while end < len(text) and (text[end].isalnum() or text[end] in "_.-"):
            end += 1
        if start < sign and "." in text[sign:end]:
            yield start, end
        sign = text.find("@", end)


def _occurrences(text: str, known: str) -> Iterator[Span]:
    at = text.find(known)
    while at >= 0:
        yield at, at + len(known)
        at = text.find(known, at + len(known))


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether a range is a whole word: no letter follows a letter, no digit a digit; neither follows a single
    character."""
    before, after = text[start - 1 : start], text[end : end + 1]
    if end - start == 1:
        return not before.isalnum() and not after.isalnum()
    return not (_continues(before, text[start]) or _continues(text[end - 1], after))


def _continues(one: str, other: str) -> bool:
    return (one.isalpha() and other.isalpha()) or (one.isdigit() and other.isdigit())


def _blanked(text: str, spans: list[Span]) -> str:
    letters = list(text)
    for start, end in spans:
        letters[start:end] = " " * (end - start)
    return "".join(letters)


def _without(text: str, spans: list[Span]) -> str:
    """`text` without the spans; a blank where one separated letters, and no separator that separates nothing."""
    out: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start > at or not out:
            out.append(text[at : max(start, at)])
        at = max(at, end)
    kept = [*out, text[at:]]
    remaining = kept[0]
    for piece in kept[1:]:
        before, after = remaining[-1:], piece[:1]
        if before.isalnum() and after.isalnum():
            remaining += " "
        elif after and after in "_-" and (before == after or not before or before.isspace()):
            piece = piece[1:]
        elif before == "_" and not after.isalnum():
            remaining = remaining[:-1]
        remaining += piece
    return remaining
