"""The shelf: instances known to be in the server, stored by this run or found before it, to be read by other work.

It is bounded: past `_MAX_INSTANCES` the oldest studies are forgotten here. `verify.py` checks what must be in the
server after a run.
"""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from loadtest.data import Instance

_MAX_INSTANCES = 200_000
"""Instances remembered at most."""


class Place(NamedTuple):
    """One instance in the server."""

    study: str
    series: str
    instance: str
    sop_class: str
    frames: int = 1


class Shelf:
    """Studies and their instances; one can be chosen at random."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._studies: dict[str, list[Place]] = {}
        self._order: list[str] = []
        self._count = 0
        self.filled = asyncio.Event()
        """Set once the shelf has an instance."""

    def __bool__(self) -> bool:
        return bool(self._order)

    def __len__(self) -> int:
        """The number of instances."""
        return self._count

    def add(self, instance: Instance) -> None:
        """Add an instance that the server has acknowledged."""
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
        while self._count > _MAX_INSTANCES and len(self._order) > 1:
            self._count -= len(self._studies.pop(self._order.pop(0)))

    def all(self) -> list[Place]:
        """All remembered instances, study by study."""
        return [place for study in self._order for place in self._studies[study]]

    def study(self) -> list[Place]:
        """The instances of a random study, as far as they are known by now. The shelf must have a study."""
        return self._studies[self._random.choice(self._order)]

    def instance(self, study: list[Place]) -> Place:
        """A random instance of a study."""
        return self._random.choice(study)
