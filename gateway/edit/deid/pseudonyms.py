"""Configured pseudonyms: a CSV file of attribute, original and pseudonym."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from gateway.dicom.dictionary import KEYWORDS, VRS
from gateway.errors import ConfigurationError

COLUMNS: Final = ("attribute", "original", "pseudonym")
MAX_FILE_BYTES: Final = 64 << 20
"""Bytes of the file."""
_LENGTHS: Final = {"AE": 16, "SH": 16, "LO": 64, "PN": 64}
"""VRs that may have a pseudonym, with their maximum length in characters (PS3.5 Table 6.2-1)."""

Pseudonyms = dict[int, dict[str, str]]
"""Pseudonyms by tag and by original."""


def read_pseudonyms(file: Path, place: str) -> Pseudonyms:
    """Read the file. Raises ConfigurationError with `place`, the file, the line and the problem."""

    def wrong(line: int, why: str) -> ConfigurationError:
        return ConfigurationError(f"{place}: {file}, line {line}: {why}")

    found: Pseudonyms = {}
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{place}: {file} has more than {MAX_FILE_BYTES} bytes")
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(text, strict=True)
            for row in rows:
                if rows.line_num == 1:
                    if tuple(cell.strip() for cell in row) != COLUMNS:
                        raise wrong(1, f"the columns must be {','.join(COLUMNS)}")
                    continue
                if not row:
                    continue
                if len(row) != 3:
                    raise wrong(rows.line_num, f"{len(row)} columns, where {','.join(COLUMNS)} are expected")
                keyword, original, pseudonym = (cell.strip() for cell in row)
                tag = KEYWORDS.get(keyword, 0)
                longest = _LENGTHS.get(VRS.get(tag, ""))
                if longest is None:
                    raise wrong(
                        rows.line_num, f"{keyword!r} is not an attribute whose value is a name or an identifier"
                    )
                if not 0 < len(pseudonym) <= longest or "\\" in pseudonym or not pseudonym.isprintable():
                    raise wrong(rows.line_num, f"a pseudonym has 1 to {longest} letters, none of them a backslash")
                if found.setdefault(tag, {}).setdefault(original, pseudonym) != pseudonym:
                    raise wrong(rows.line_num, f"{keyword} {original!r} has another pseudonym in a line above")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{place}: {file} cannot be read: {error}") from None
    return found
