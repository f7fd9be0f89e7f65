"""Free text without what identifies somebody in it (PS3.15 E.3.5), and the values that stand for others.

Names and identifiers that the object itself has elsewhere are taken out, and what looks like a date, a time, a number
of a person or a way to reach them. That is not proof: descriptions written by people hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_MONTHS: Final = "jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez"
_LOOKS: Final = "|".join(
    (
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",  # mail
        r"(?:https?|ftp|urn|tel):\S+",
        r"\b\d{1,4}([./-])\d{1,2}\1\d{1,4}\b",  # dates
        rf"\b\d{{1,2}}\.?[ -](?:{_MONTHS})\w*\.?,?[ -]\d{{2,4}}\b",
        rf"\b(?:{_MONTHS})\w*\.? \d{{1,2}},? \d{{2,4}}\b",
        r"\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?\b(?: ?[ap]\.?m\b\.?)?",  # times
        r"\+\d[\d ()/-]{5,}\d",  # telephone
        r"\b\d{3,}[ /-]\d{3,}(?:[ /-]\d+)*\b",
        r"\b[A-Za-z]{0,4}-?\d{5,}\w*",  # numbers of patients, orders, insurances; dates without dots
        r"\b\d+(?:\.\d+){5,}\b",  # UIDs
        r"\b(?:dr|prof|mr|mrs|ms|miss|herr|frau|mme|sir)\b\.?(?: (?:dr|med|prof)\b\.?)* \w[\w'-]*",
    )
)
_SPACES: Final = re.compile(r"[ \t]{2,}")
_WORDS: Final = re.compile(r"[\s^=,;]+")
_MOST: Final = 512

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
"""A value that says nothing, for each VR of text but UI."""


class Cleaner:
    """Takes the values of one object out of its free text."""

    def __init__(self, names: Iterable[str], identifiers: Iterable[str]) -> None:
        """`names` of persons and places, each word of which counts, and `identifiers`, which count as a whole."""
        words = {word for name in names for word in _WORDS.split(name) if len(word.strip(".")) > 1}
        wholes = {text.strip() for text in identifiers if len(text.strip()) > 2}
        known = sorted(words | wholes, key=lambda text: (-len(text), text))[:_MOST]
        values = "|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in known)
        self._pattern = re.compile(f"{values}|{_LOOKS}" if values else _LOOKS, re.IGNORECASE)

    def clean(self, text: str) -> str:
        """What is left of it; '' for nothing that says something."""
        left = self._pattern.sub("", text)
        if left == text:
            return text
        left = _SPACES.sub(" ", left).strip()
        return left if any(letter.isalnum() for letter in left) else ""
