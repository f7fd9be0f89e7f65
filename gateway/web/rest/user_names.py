"""Names of what users add to resources.

A name is of the user's choice, or a number from 1024 on as where Orthanc's configuration gives it no name.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

FIRST_USER: Final = 1024
LAST_USER: Final = 65535
MAX_NAME_LENGTH: Final = 64
_NAME: Final = re.compile(rf"(?![0-9]+\Z)[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME_LENGTH - 1}}}", re.ASCII)
_NUMBER: Final = re.compile(r"[1-9][0-9]{3,4}", re.ASCII)


def is_users(name: str, own: Container[str]) -> bool:
    """Whether users may add something of this name, which is none of Orthanc's `own`."""
    if _NUMBER.fullmatch(name):
        return FIRST_USER <= int(name) <= LAST_USER
    return name not in own and _NAME.fullmatch(name) is not None


def not_users(what: str, name: str) -> str:
    """Why a name is refused, in words."""
    return (
        f"the {what} {name[:80]!r} is not the user's: take another name, of up to {MAX_NAME_LENGTH} letters, digits, "
        f"dots, dashes and underscores, with a letter or digit in front, or a number from {FIRST_USER} to {LAST_USER}"
    )


def place_of(name: str, number: int | None) -> tuple[int, str]:
    """The order of Orthanc's lists: by its numbers, then what has none."""
    return LAST_USER + 1 if number is None else number, name
