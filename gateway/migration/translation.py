"""The result of translating settings: ours, and what became of each of the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of one setting."""

    setting: str
    taken: bool
    text: str
    """The setting of ours that says the same, or the reason why there is none."""
    value: str = ""
    """The value as JSON; '' where it is a table, or may be secret."""
    is_default: bool = False
    """Whether the value is what Orthanc has without the setting."""


@dataclass(slots=True)
class Translation:
    """Settings of ours, as nested tables, and the fates of Orthanc's."""

    tree: dict[str, Any] = field(default_factory=dict)
    fates: list[Fate] = field(default_factory=list)
    metadata_names: dict[int, str] = field(default_factory=dict)
    """The names of the user's metadata, by number."""
    attachment_names: dict[int, str] = field(default_factory=dict)

    def put(self, place: str, value: Any) -> None:
        """Set a setting of ours by its dotted place."""
        *path, name = place.split(".")
        table = self.tree
        for each in path:
            table = table.setdefault(each, {})
        table[name] = value

    def took(self, setting: str, text: str) -> None:
        self.fates.append(Fate(setting, True, text))

    def left(self, setting: str, text: str) -> None:
        self.fates.append(Fate(setting, False, text))
