"""What is known to be in the server: written by this run, or found there before it. Those who read choose from it.

Bounded: of very many, the oldest studies are forgotten here. What must be there after a run is `verify.py`'s.
"""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from loadtest.data import Instance

_MOST = 200_000
"""Instances that are remembered."""


class Place(NamedTuple):
    """One instance in the server."""

    study: str
    series: str
    instance: str
    sop_class: str
    frames: int = 1


class Library:
    """Studies and their instances, chosen from at random."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._studies: dict[str, list[Place]] = {}
        self._order: list[str] = []
        self._count = 0
        self.filled = asyncio.Event()
        """There is something."""

    def __bool__(self) -> bool:
        return bool(self._order)

    def __len__(self) -> int:
        """Instances."""
        return self._count

    def add(self, instance: Instance) -> None:
        """It has been acknowledged."""
        if instance.study_instance_uid and instance.series_instance_uid:
            self.put(
                Place(
                    instance.study_instance_uid,
                    instance.series_instance_uid,
                    instance.sop_instance_uid,
                    instance.sop_class_uid,
                    instance.frames,
                )
            )

    def put(self, place: Place) -> None:
        if (study := self._studies.get(place.study)) is None:
            study = self._studies[place.study] = []
            self._order.append(place.study)
        study.append(place)
        self._count += 1
        self.filled.set()
        while self._count > _MOST and len(self._order) > 1:
            self._count -= len(self._studies.pop(self._order.pop(0)))

    def all(self) -> list[Place]:
        """Everything that is remembered, study by study."""
        return [place for study in self._order for place in self._studies[study]]

    def study(self) -> list[Place]:
        """The instances of some study, as far as they are known by now. There must be one."""
        return self._studies[self._random.choice(self._order)]

    def instance(self, study: list[Place]) -> Place:
        """Some instance of a study."""
        return self._random.choice(study)
