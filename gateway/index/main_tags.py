"""Attributes that the index has besides those of `attributes.py`, because the settings name them for a level.

They are in the rows of instances that come from then on, and of others once these are reconstructed. A row says of each
of them what its instance has, if only that it has nothing: where a row says nothing, the file is still to be asked.

The choice is the process's own, made when a data folder is opened; it is the same for all processes of a gateway.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.config.sections import MainTags
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.levels import LEVELS, Level
from gateway.dicom.path import AttributePath
from gateway.errors import BadRequest, ConfigurationError
from gateway.index import attributes as tags

_OWN: Final[dict[Level, frozenset[int]]] = {
    "patient": frozenset({*tags.PATIENT, *tags.PATIENT_EXTRAS}),
    "study": frozenset({*tags.STUDY, *tags.STUDY_EXTRAS}),
    "series": frozenset({*tags.SERIES, *tags.SERIES_EXTRAS}),
    "instance": frozenset({*tags.INSTANCE, *tags.INSTANCE_EXTRAS}),
}
"""Attributes that rows of a level have in any case."""


MAX_NAMED: Final = 64
"""Attributes that the settings name for one level: each is in every row of that level."""
_FIRST: Final = 0x00080000
_PIXELS: Final = 0x7FE00000


@dataclass(frozen=True, slots=True, eq=False)
class FurtherTags:
    """A choice of further attributes, by level."""

    named: Mapping[Level, frozenset[int]]
    """As the settings name them."""
    added: Mapping[Level, tuple[int, ...]]
    """Those that rows of a level have only by this choice; studies have those of their patient too."""
    in_rows: Mapping[Level, frozenset[int]]
    """Those that a search at a level finds in its rows, and in the rows of the levels above."""
    of_parents: tuple[int, ...]
    """Those that decide the rows of patient, study and series."""
    all: frozenset[int]


def chosen(named: Mapping[Level, Iterable[int]]) -> FurtherTags:
    """The choice of these attributes by level."""
    wanted = {level: frozenset(named.get(level, ())) for level in LEVELS}
    in_study = wanted["patient"] | wanted["study"]
    added = {level: tuple(sorted((in_study if level == "study" else wanted[level]) - _OWN[level])) for level in LEVELS}
    in_rows: dict[Level, frozenset[int]] = {"patient": frozenset(added["patient"])}
    for above, level in itertools.pairwise(LEVELS):
        in_rows[level] = frozenset(added[level]).union(in_rows[above] if above != "patient" else ())
    of_parents = tuple(sorted({tag for level in LEVELS[:3] for tag in added[level]}))
    return FurtherTags(wanted, added, in_rows, of_parents, in_rows["instance"] | in_rows["patient"])


def built(section: MainTags) -> FurtherTags:
    """The choice that a section of the settings names. Raises: ConfigurationError."""
    names: dict[Level, tuple[str, ...]] = {level: getattr(section, level) for level in LEVELS}
    if not any(names.values()):
        return NONE
    for level, each in names.items():
        if len(each) > MAX_NAMED:
            raise ConfigurationError(
                f"storage.main_tags.{level}: {len(each)} attributes; at most {MAX_NAMED} are taken"
            )
    return chosen({level: [_tag(level, name) for name in each] for level, each in names.items()})


def _tag(level: Level, name: str) -> int:
    """The tag of one name. Raises: ConfigurationError."""
    place = f"storage.main_tags.{level}"
    try:
        steps = AttributePath.parse(name).steps
    except BadRequest as error:
        raise ConfigurationError(f"{place}: {error}") from None
    tag = steps[0].tag
    if len(steps) > 1 or steps[0].item is not None:
        raise ConfigurationError(f"{place}: {name!r} is inside a sequence; name the sequence")
    if steps[0].creator or tag & 0x10000:
        raise ConfigurationError(f"{place}: {name!r} is private; the index has public attributes")
    if not _FIRST <= tag < _PIXELS or not tag & 0xFFFF:
        raise ConfigurationError(f"{place}: {name!r} is none that the header of an instance has before its pixels")
    return tag


NONE: Final = chosen({})
_current = NONE


def current() -> FurtherTags:
    """The choice of this process."""
    return _current


def use(choice: FurtherTags) -> None:
    """Make the choice of this process, for records and searches from now on."""
    global _current
    _current = choice


def absent(tag: int) -> str:
    """The value of an attribute in the DICOM JSON Model that an instance does not have."""
    return f'{{"vr":"{implicit_vr(tag)}"}}'
