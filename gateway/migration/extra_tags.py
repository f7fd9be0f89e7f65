"""Orthanc's `ExtraMainDicomTags`, which is `storage.main_tags` here."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.config.sections import MainTags
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import ConfigurationError
from gateway.index import main_tags
from gateway.migration.translation import Translation

_NAME: Final = "ExtraMainDicomTags"
_HEXADECIMAL: Final = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})", re.ASCII)


def translate_extra_tags(value: Any, made: Translation) -> None:
    """Translate the lists of attributes, by keyword or tag, that a configuration has for the levels."""
    if not isinstance(value, dict):
        made.left(_NAME, "it is no object of lists by levels")
        return
    levels: dict[str, Level] = {level.capitalize(): level for level in LEVELS}
    number = 0
    for name, attributes in value.items():
        if name not in levels or not isinstance(attributes, list):
            made.left(f"{_NAME}.{name}", f"no list of attributes of one of {', '.join(levels)}")
            continue
        if taken := _taken(levels[name], attributes, f"{_NAME}.{name}", made):
            made.put(f"storage.main_tags.{levels[name]}", taken)
            number += len(taken)
    made.took(_NAME, f"storage.main_tags: {number} attribute{'' if number == 1 else 's'}")


def _taken(level: Level, attributes: list[Any], setting: str, made: Translation) -> list[str]:
    """The attributes that the index can have for a level, as our settings spell them."""
    taken: list[str] = []
    for each in dict.fromkeys(map(str, attributes)):
        name = ",".join(tag.groups()) if (tag := _HEXADECIMAL.fullmatch(each)) else each
        try:
            main_tags.built(MainTags(**{level: (*taken, name)}))
        except ConfigurationError as error:
            made.left(f"{setting}.{each:.60}", str(error))
        else:
            taken.append(name)
    return taken
