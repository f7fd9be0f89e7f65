"""Attribute values in comparable form: the one form in which the index stores them and queries search for them.

Names, dates and times only; everything else compares as it is. The translation to SQL is in `matching.py`.
"""

from __future__ import annotations

import re
import unicodedata

NO_NUMBER = 10**12
"""Stands for an absent Instance or Series Number: above any IS (12 characters), so it sorts last."""
MAX_TEXT = 1024
"""Characters of a searchable value; longer ones are not valid DICOM."""


def comparable_name(group: str) -> str:
    """One component group of a person name: composed, case folded, components trimmed, no trailing carets.

    Accents stay: Müller and Muller are different people. Wildcards pass through. NUL is no letter: some devices pad
    with it where PS3.5 Table 6.2-1 wants a space.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", group.replace("\0", "")).casefold())
    return "^".join([component.strip() for component in folded.split("^")]).rstrip("^")[:MAX_TEXT]


def comparable_names(value: str) -> list[str]:
    """The distinct non-empty component groups (alphabetic, ideographic, phonetic) of a PN value."""
    groups = dict.fromkeys(comparable_name(group) for name in value.split("\\") for group in name.split("="))
    groups.pop("", None)
    return list(groups)


def sounding(value: str) -> str:
    """The sound of a PN value, for fuzzy matching: its words, with a space before, between and after them.

    Latin words lose accents, vowels after the first letter and doubled letters, and letters that sound alike
    become one (Meier, Meyer and Maier are `mr`; Müller and Mueller `mlr`). Other scripts stay as they are, less case
    and marks. `*` and `?` pass through. '' if there is no word.
    """
    bare = unicodedata.normalize("NFKD", value.casefold())
    bare = unicodedata.normalize("NFC", "".join([letter for letter in bare if not unicodedata.combining(letter)]))
    words = dict.fromkeys(map(_sound, _WORDS.findall(bare)))
    words.pop("", None)
    return f" {' '.join(words)} "[:MAX_TEXT] if words else ""


_WORDS = re.compile(r"[\w*?]+")
_ALIKE = str.maketrans("cqxzdbvwyj", "kksstpffii")
_SILENT = str.maketrans("", "", "aeiouh")


def _sound(word: str) -> str:
    if not word.isascii():
        return word
    heard = word.replace("ph", "f").replace("sch", "s").replace("sh", "s").replace("ch", "k").translate(_ALIKE)
    heard = "".join([letter for at, letter in enumerate(heard) if at == 0 or letter != heard[at - 1]])
    return heard[:1] + heard[1:].translate(_SILENT)


def comparable_date(value: str) -> str:
    """DA as YYYYMMDD; the dots of ACR-NEMA are dropped (PS3.5 Table 6.2-1). '' if it is not a date."""
    digits = value.strip().replace(".", "")
    return digits if len(digits) == 8 and digits.isdecimal() and digits.isascii() else ""


def comparable_time(value: str, fill: str = "0") -> str:
    """TM as HHMMSS.FFFFFF, completed with `fill`: '0' for the first moment meant, '9' for the last.

    '' if it is not a time.
    """
    whole, dot, fraction = value.strip().replace(":", "").partition(".")
    digits = whole + fraction
    if not digits.isdecimal() or not digits.isascii() or len(whole) not in (2, 4, 6) or len(fraction) > 6:
        return ""
    if dot and len(whole) != 6:
        return ""
    whole += ("5959" if fill == "9" else "0000")[: 6 - len(whole)]
    return f"{whole}.{fraction.ljust(6, fill)}"


def number(value: str) -> int:
    """IS as an integer; NO_NUMBER if it is none."""
    try:
        integer = int(value)
    except ValueError:
        return NO_NUMBER
    return integer if -NO_NUMBER < integer < NO_NUMBER else NO_NUMBER


def like(text: str) -> str:
    """Escape text for a LIKE pattern with ESCAPE '!': its `%` and `_` become ordinary characters."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
