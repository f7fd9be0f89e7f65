"""What a crawl asks of an archive: its studies, their instances, and to have them sent."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Final, NamedTuple, Protocol

from gateway.ingest.ingest import Ingest
from gateway.migration.windows import Window

_UID: Final = re.compile(r"[0-9A-Za-z.-]{1,128}", re.ASCII)


class StudyRow(NamedTuple):
    """A study as an archive lists it: its UID, date, time, and number of instances, if it says."""

    uid: str
    study_date: str
    study_time: str
    expected: int | None


class NamedInstance(NamedTuple):
    """An instance as an archive names it."""

    series_uid: str
    sop_class_uid: str


Instances = Mapping[str, NamedInstance]
"""Instances by SOP Instance UID."""


class CrawledArchive(Protocol):
    """An archive that is crawled. Every method raises GatewayError; SourceError if it cannot be reached."""

    name: str
    """A text that is the same for the same archive."""

    def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
        """The studies in a window, or all of them, as far as the archive answers."""

    async def instances(self, study_uid: str) -> Instances | None:
        """The instances of a study by SOP Instance UID; None if the archive does not name instances."""

    async def bring(self, ingest: Ingest, study_uid: str, lacking: Instances, series_uid: str = "") -> None:
        """Have a study, or a series of it, sent here. `lacking` are instances that are not here yet, if known."""

    async def close(self) -> None:
        """Close what is open to the archive."""


def number_of(text: str) -> int | None:
    """The number that an archive says; None for what is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def is_uid(text: str) -> bool:
    """Whether a text may stand in a request as a UID; some archives answer for those with letters."""
    return _UID.fullmatch(text) is not None


def shown(uid: str) -> str:
    """A UID, or in quotes, and so none, what an archive gave for one."""
    return uid if is_uid(uid) else ascii(uid)
