"""Rectangles with text in the pixels of an object, by its device, and the kinds of objects that may have such text.

`gateway.imaging` clears the rectangles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from gateway.config.deidentify import Rectangles
from gateway.dicom.dictionary import KEYWORDS
from gateway.errors import ConfigurationError

Area = tuple[int, int, int, int]
"""Left, top, width, height."""

SUSPECTS: Final = frozenset(("US", "SC", "OT", "ES", "XC", "GM", "XA", "RF", "IVUS", "DG", "TG", "HC"))
"""Modalities whose devices often write text into the pixels, unless the object says that it has none."""
SUSPECT_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture, and its multi-frame kinds
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # Visible light endoscopy
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # and photography
)


@dataclass(frozen=True, slots=True)
class Device:
    """One entry of `rectangles`, with the tests for its device."""

    tests: tuple[tuple[int, re.Pattern[str]], ...]
    areas: tuple[Area, ...]

    def matches(self, text: Callable[[int], str]) -> bool:
        """Whether an object, given by the text of its attributes, is of this device."""
        return all(pattern.fullmatch(text(tag)) for tag, pattern in self.tests)


def read_devices(sections: Sequence[Rectangles], place: str) -> tuple[Device, ...]:
    """Compile the entries of a setting. Raises ConfigurationError with the number of the entry, from 1, after
    `place`."""
    return tuple(_device(section, f"{place}, entry {number}") for number, section in enumerate(sections, 1))


def _device(section: Rectangles, place: str) -> Device:
    tests = []
    for keyword, pattern in section.match.items():
        if keyword not in KEYWORDS:
            raise ConfigurationError(f"{place}: match: {keyword!r} is not a keyword of the data dictionary (PS3.6)")
        tests.append((KEYWORDS[keyword], re.compile(translate(pattern), re.IGNORECASE)))
    if not tests:
        raise ConfigurationError(f"{place}: match is empty; name what an object must have: Manufacturer, Rows, Columns")
    for area in section.areas:
        if min(area) < 0 or not area[2] or not area[3]:
            raise ConfigurationError(f"{place}: areas: {list(area)} is not a rectangle of left, top, width and height")
    return Device(tuple(tests), section.areas)


def is_suspect(modality: str, sop_class_uid: str) -> bool:
    """Whether objects of this kind often have text in their pixels."""
    return modality in SUSPECTS or any(
        sop_class_uid == uid or sop_class_uid.startswith(f"{uid}.") for uid in SUSPECT_CLASSES
    )
