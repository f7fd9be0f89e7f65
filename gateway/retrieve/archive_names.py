"""The names of folders and files in an archive, as Orthanc makes them: patient, study, series, numbered files.

No text of a peer is a name as it is: only letters, digits, spaces, dots and underscores of ASCII remain, and no two
folders or files have one name, whatever the case of their letters.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from gateway.database.database import Database
from gateway.dicom.levels import Level
from gateway.index import attributes as tags
from gateway.index.locate import Located
from gateway.index.resources import Resource, resource, resources_by_row

MAX_NAME: Final = 120
"""Characters of a folder's name: with three of them, a path that Windows can unpack."""
_PARTS: Final[dict[Level, tuple[int, int]]] = {
    "patient": (tags.PATIENT_ID, tags.PATIENT_NAME),
    "study": (tags.ACCESSION_NUMBER, tags.STUDY_DESCRIPTION),
    "series": (tags.MODALITY, tags.SERIES_DESCRIPTION),
}
"""The two attributes that name the folder of a resource."""


class ArchiveNames:
    """Names the files of one archive. Asks the index about each series once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._series: dict[int, tuple[str, str]] = {}
        """Folder, and the letters before the number of a file, by the row of the series."""
        self._folders: dict[str, str] = {}
        self._taken: dict[str, Counter[str]] = {}
        self._files: Counter[int] = Counter()

    async def name(self, located: Located) -> str:
        """The path of the next file: of this instance."""
        row = located.position[1]
        folder, letters = self._series.get(row) or await self._series_of(row)
        number = self._files[row]
        self._files[row] += 1
        return f"{folder}{letters}{number:0{8 - len(letters)}}.dcm"

    async def _series_of(self, row: int) -> tuple[str, str]:
        found = await resources_by_row(self._database, "series", [row])
        series = found[0] if found else None
        study = await resource(self._database, "study", series.parent) if series is not None else None
        patient = await resource(self._database, "patient", study.parent) if study is not None else None
        folder = ""
        for level, each in zip(_PARTS, (patient, study, series), strict=True):
            folder = self._folder(folder, level, each)
        modality = plain(series.attributes.get(tags.MODALITY, "")) if series is not None else ""
        self._series[row] = folder, "".join(filter(str.isalpha, modality))[:2].upper()
        return self._series[row]

    def _folder(self, parent: str, level: Level, found: Resource | None) -> str:
        """The folder of a resource below another folder. Where the resource has just been deleted, one of its own."""
        if found is not None and found.public_id in self._folders:
            return self._folders[found.public_id]
        text = " ".join(found.attributes.get(tag, "") for tag in _PARTS[level]) if found is not None else ""
        name = plain(text) or f"Unknown {level.capitalize()}"
        taken = self._taken.setdefault(parent, Counter())
        taken[name.lower()] += 1
        count = taken[name.lower()]
        # A hyphen is in no name, so that this one is new too.
        folder = f"{parent}{name}{f'-{count}' if count > 1 else ''}/"
        if found is not None:
            self._folders[found.public_id] = folder
        return folder


def plain(text: str) -> str:
    """Reduce a text to letters, digits, dots, underscores and single spaces of ASCII, which names may have."""
    letters = [letter if letter != "^" else " " for letter in text if letter.isascii()]
    words = "".join([letter for letter in letters if letter.isalnum() or letter in "._ "]).split()
    return " ".join(words)[:MAX_NAME].strip(" .")
