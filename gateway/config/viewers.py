"""Viewers of others that the pages of studies and series lead to, and what their addresses may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from string import Formatter
from typing import Final

from gateway.config.base import Section

PLACEHOLDERS: Final = ("study_uid", "study_id", "series_uid", "patient_id", "accession_number", "dicomweb")
"""What the address of a viewer may have in braces."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_ACTIVE: Final = frozenset(("javascript", "vbscript", "data", "blob", "file", "about"))
"""Schemes of which an address does something in the page itself, or on the reader's disk."""


def _fields(url: str) -> Iterator[str]:
    """Yield what stands in braces. Raises ValueError for a brace without its other one."""
    for _, name, form, conversion in Formatter().parse(url):
        if name is not None:
            yield f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"


class ExternalViewer(Section, frozen=True):
    """A viewer of others, which the page of a study or of a series has a link to."""

    name: str
    url: str
    """Its address with `{study_uid}`, `{study_id}` (Orthanc's), `{patient_id}`, `{accession_number}` and `{dicomweb}`
    (our root) where it wants them; each is put in percent-encoded. With `{series_uid}` it opens a series, and stands on
    the pages of series instead of those of studies. Weasis:
    `weasis://%24dicom%3Ars%20--url%20%22{dicomweb}%22%20-r%20%22studyUID%3D{study_uid}%22`. RadiAnt:
    `radiant://?n=paet&v=GATEWAY&n=pstv&v=0020000D&v=%22{study_uid}%22`. 3D Slicer:
    `slicer://viewer/?studyUID={study_uid}&dicomweb_endpoint={dicomweb}`. MedDream:
    `https://meddream.hospital.example/?study={study_uid}`."""

    @property
    def opens_series(self) -> bool:
        """Whether it opens a series, and not a whole study."""
        return "series_uid" in _fields(self.url)


def viewer_problems(viewers: Iterable[ExternalViewer]) -> Iterator[str]:
    """Yield what is wrong with the address of a viewer."""
    names: set[str] = set()
    for viewer in viewers:
        place = f"http.viewers: {viewer.name}: url"
        if viewer.name in names:
            yield f"http.viewers: there are two of the name {viewer.name!r}"
        names.add(viewer.name)
        scheme = _SCHEME.match(viewer.url)
        if scheme is None:
            yield f"{place}: {viewer.url!r} does not begin with a scheme, such as https:"
        elif scheme[1].lower() in _ACTIVE:
            yield f"{place}: a link to {scheme[1]}: would not open a viewer"
        try:
            fields = list(_fields(viewer.url))
        except ValueError as error:
            yield f"{place}: {error}; write {{{{ for a brace"
            continue
        for name in fields:
            if name not in PLACEHOLDERS:
                yield f"{place}: there is no {{{name}}}, but {', '.join(f'{{{each}}}' for each in PLACEHOLDERS)}"
