"""The base of every section of the settings."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final

import msgspec

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30

Size = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
"""A number of bytes; may be written with a unit, see `parse_size`."""
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([kKMGTPE]i?)?B?")
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


def parse_size(text: str) -> int | None:
    """The bytes of `512 MiB`, `1.5GB` or `4096`: units with an i are powers of 1024, others of 1000. None if
    invalid."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, unit = Decimal(found[1]), found[2] or ""
    return int(number * (1024 if unit.endswith("i") else 1000) ** _POWERS[unit[:1].upper()])
