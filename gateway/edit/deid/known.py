"""Strings of an object that identify its patient, to be searched for in its free text.

`text.py` searches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.dicom.charset import decode, presumed
from gateway.dicom.dictionary import VRS
from gateway.edit.deid.folding import fold
from gateway.edit.deid.table import Action
from gateway.edit.tree import Node, Tree

MAX_KNOWN: Final = 512
"""Names, identifiers and dates of one object. The text of an object with more cannot be called clean."""
MAX_VALUE_BYTES: Final = 16 << 10
"""Bytes of a name or an identifier."""
MAX_DATES: Final = 64
MAX_NUMBERS: Final = MAX_KNOWN + 8 * MAX_DATES + 24
MIN_NUMBER: Final = 5
"""Letters and digits of an identifier that is searched for without punctuation."""

_CHARSET: Final = 0x00080005
_INSTITUTIONS: Final = frozenset((0x00080080, 0x00080081, 0x00081040))
_PATIENT_IDENTIFIERS: Final = frozenset(
    (
        0x00080050,  # Accession Number
        *(0x00100020, 0x00101000, 0x00101040, 0x00101050, 0x00101090, 0x00102154),
        *(0x00120040, 0x00120042, 0x00200010),
        *(0x00380010, 0x00380060, 0x00401001, 0x00402016, 0x00402017),
    )
)
"""Patient ID and similar, address, insurance, telephone, trial, orders and stays."""
_STUDY_ID: Final = 0x00200010
_BIRTH_DATE: Final = 0x00100030
_MONTHS: Final = {
    f"{number:02}": names.split()
    for number, names in enumerate(
        (
            *("jan january januar", "feb february februar", "mar march marz", "apr april", "may mai", "jun june juni"),
            *("jul july juli", "aug august", "sep sept september", "oct okt october oktober", "nov november"),
            "dec dez december dezember",
        ),
        1,
    )
}
_PERSON_NAME: Final = 0x0040A123
"""Person Name of a content item, whose concept name says whose it is."""
_IDENTIFIER_VRS: Final = frozenset(("LO", "SH", "AE"))
_GONE: Final = (Action.REMOVE, Action.EMPTY, Action.DUMMY)
_PARTS: Final = re.compile(r"[\s,;.()\[\]/_'’`´-]+")  # noqa: RUF001 - apostrophes of names
_NO_LETTERS: Final = re.compile(r"[\W_]+")
_PARTICLES: Final = (
    "al bin da de del della den der di do dos du el ibn la las le les los san st van ten ter und von vom zu zum zur"
)
_TITLES: Final = "dr frau herr hr ii iii iv jr junior md med miss mr mrs ms phd prof senior sir sr"
_COMMON: Final = frozenset(f"{_PARTICLES} {_TITLES}".split())
"""Parts of names that count as whole words only, being inside many words: particles, titles, generations."""
WIDE: Final = "\u2e80"
"""The first character of the scripts that are written without spaces."""


class Strings(NamedTuple):
    """Folded strings to find: `anywhere` inside words too, `words` only as whole words, `numbers` in text without
    blanks and punctuation."""

    anywhere: frozenset[str]
    words: frozenset[str]
    numbers: frozenset[str] = frozenset()


class Known:
    """All strings of one object."""

    __slots__ = ("_dates", "anywhere", "numbers", "too_many", "words")

    def __init__(self) -> None:
        self.anywhere: set[str] = set()
        self.words: set[str] = set()
        self.numbers: set[str] = set()
        self.too_many = False
        self._dates: set[str] = set()

    def add_name(self, text: str, *, is_patient: bool = True) -> None:
        """Add person names (PS3.5 §6.2.1): each part of every value, group and component."""
        self._add(_of_names(text, is_patient))

    def add_place(self, text: str) -> None:
        """Add a name of which each word counts, but only as a whole word."""
        self._add(_of_place(text))

    def add_identifier(self, text: str, *, shortest_anywhere: int = 3) -> None:
        """Add identifiers, each as a whole, and without its punctuation or leading zeros."""
        self._add(_of_identifiers(text, shortest_anywhere))

    def add_date(self, text: str, *, is_birth: bool = False) -> None:
        """Add dates or dates with times (DA, DT): as digits in every order of day, month and year.

        For a birth the name of the month with the day or the year alone is added too.
        """
        if is_birth or (text not in self._dates and len(self._dates) < MAX_DATES):
            self._dates.add(text)
            self._add(_of_dates(text, is_birth))

    def _add(self, strings: Strings) -> None:
        self.anywhere |= strings.anywhere
        self.words |= strings.words
        self.numbers |= strings.numbers
        if len(self.anywhere) + len(self.words) > MAX_KNOWN or len(self.numbers) > MAX_NUMBERS:
            self.too_many = True


# The instances of a patient follow one another: the strings of a value are cached for the next ones.


@lru_cache(1024)
def _of_names(text: str, is_patient: bool) -> Strings:
    anywhere: set[str] = set()
    words: set[str] = set()
    for group in text.replace("\\", "=").split("="):
        components = [_bare(component) for component in group.split("^")]
        parts = [part for component in group.split("^") for part in _PARTS.split(fold(component).text)]
        for part in filter(None, (*parts, *components)):
            is_sought = (is_patient and part not in _COMMON) or part >= WIDE
            (anywhere if is_sought and len(part) > 1 else words).add(part)
        family, given, *_ = (*components, "")
        if is_patient and (len(family) == 1 or len(given) == 1):  # written as one word in running text
            anywhere |= {joined for joined in (family + given, given + family) if len(joined) > 1}
    return Strings(frozenset(anywhere), frozenset(words))


@lru_cache(1024)
def _of_place(text: str) -> Strings:
    parts = re.split(r"[\s^=,;\\]+", fold(text).text)
    return Strings(frozenset(), frozenset(part for part in parts if len(part.strip(".")) > 1))


@lru_cache(1024)
def _of_identifiers(text: str, shortest_anywhere: int) -> Strings:
    anywhere: set[str] = set()
    words: set[str] = set()
    numbers: set[str] = set()
    for value in text.split("\\"):
        whole = fold(value.strip(" \0")).text
        bare = _NO_LETTERS.sub("", whole)
        if not bare:
            continue
        (anywhere if len(whole) >= shortest_anywhere else words).add(whole)
        if len(bare) >= MIN_NUMBER and not bare.isalpha():
            numbers.add(bare)
            if bare.isdecimal() and len(stripped := bare.lstrip("0")) >= MIN_NUMBER:
                numbers.add(stripped)
    return Strings(frozenset(anywhere), frozenset(words), frozenset(numbers))


@lru_cache(1024)
def _of_dates(text: str, is_birth: bool) -> Strings:
    numbers: set[str] = set()
    for value in text.split("\\"):
        digits = value.strip(" \0").replace(".", "")[:8]
        if len(digits) == 8 and digits.isascii() and digits.isdecimal():
            century, year, month, day = digits[:2], digits[2:4], digits[4:6], digits[6:]
            for whole in (century + year, year):
                numbers |= {whole + month + day, day + month + whole, month + day + whole}
            numbers |= {century + year + month, month + century + year}
            for name in _MONTHS.get(month, ()) if is_birth else ():
                numbers |= {name + day, day + name, name + year, century + year + name}
                numbers |= {name + day.lstrip("0"), day.lstrip("0") + name}
    return Strings(frozenset(), frozenset(), frozenset(numbers))


def gather(tree: Tree, charset: bytes | None, actions: Mapping[int, Action]) -> Known:
    """Gather the strings that must not be in the text of `tree`; of what `actions` retains, person names alone."""
    known = Known()
    _gather(tree, tree.nodes, charset, actions, known)
    return known


def _gather(tree: Tree, nodes: list[Node], charset: bytes | None, actions: Mapping[int, Action], known: Known) -> None:
    for node in nodes:
        tag = node.tag
        if node.items is not None:
            for item in node.items:
                _gather(tree, item, charset, actions, known)
            continue
        if tag == _CHARSET:
            charset = tree.value(node)
        vr = VRS.get(tag, node.vr)  # a name received with another VR is still a name
        if tag & 0x10000 or not node.length or known.too_many:
            continue
        if vr == "PN" or tag in _INSTITUTIONS or (vr in _IDENTIFIER_VRS and actions.get(tag) in _GONE):
            if node.length > MAX_VALUE_BYTES:
                known.too_many = True
                continue
            value = tree.value(node)
            text = decode(value, presumed(charset, value), vr)
            if vr == "PN":
                known.add_name(text, is_patient=tag >> 16 == 0x0010 or tag == _PERSON_NAME)
            elif tag not in _INSTITUTIONS:
                is_patients = tag in _PATIENT_IDENTIFIERS
                known.add_identifier(text, shortest_anywhere=3 if is_patients and tag != _STUDY_ID else 5)
            elif actions.get(tag) is not Action.KEEP:
                known.add_place(text)
        elif vr in ("DA", "DT") and node.length <= MAX_VALUE_BYTES and actions.get(tag) is not Action.KEEP:
            known.add_date(tree.value(node).decode("latin-1"), is_birth=tag == _BIRTH_DATE)


def _bare(component: str) -> str:
    """A name component without blanks and punctuation."""
    return _NO_LETTERS.sub("", fold(component).text)
