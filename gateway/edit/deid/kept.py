"""Attributes in sequences that a request keeps, by their paths."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from gateway.dicom.path import AttributePath
from gateway.edit.deid.values import name_of


@dataclass(frozen=True, slots=True)
class KeptPaths:
    """Compares the paths of elements, as changes have them (`Sequence[0].Attribute`), with those that are kept."""

    _kept: re.Pattern[str]
    _outer: re.Pattern[str]

    @classmethod
    def of(cls, paths: Collection[AttributePath]) -> KeptPaths:
        kept, outer = [], []
        for path in paths:
            before = ""
            for step in path.steps[:-1]:
                outer.append(before + re.escape(name_of(step.tag)))
                item = r"\d+" if step.item is None else str(step.item)
                before += rf"{re.escape(name_of(step.tag))}\[{item}\]\."
            kept.append(before + re.escape(name_of(path.steps[-1].tag)))
        return cls(re.compile("|".join(kept)), re.compile("|".join(outer)))

    def has(self, path: str) -> bool:
        """Whether an element is kept."""
        return self._kept.fullmatch(path) is not None

    def leads_into(self, path: str) -> bool:
        """Whether something inside a sequence may be kept."""
        return self._outer.fullmatch(path) is not None
