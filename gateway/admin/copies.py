"""The copies that a job has made of its sources, which are deleted only while their copies are stored.

Which instances they are is known here; the deletion, which looks for them in its transaction, is in `deletion.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import Final

from gateway.database.database import Database
from gateway.index.annotations import MadeBy
from gateway.index.identity import digest_of, of_digest
from gateway.index.locate import PAGE, Identity
from gateway.index.queries.locate import COPIES_IN_STUDY

_ROW_BYTES: Final = 8
_PAIR_BYTES: Final = _ROW_BYTES + 20
"""The row of a source, then the digest that its copy's public id is."""


class Pairs:
    """Rows of sources and public ids of their copies, in 28 bytes each."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._sorted = True

    def __len__(self) -> int:
        return len(self._packed) // _PAIR_BYTES

    def add(self, row: int, copy: str) -> None:
        """Add the copy of the source with this row."""
        self._packed += row.to_bytes(_ROW_BYTES, "big") + digest_of(copy)
        self._sorted = False

    def pages(self, size: int) -> Iterator[list[tuple[int, str]]]:
        """All pairs, `size` at most at a time."""
        for first in range(0, len(self), size):
            yield [self._pair(number) for number in range(first, min(first + size, len(self)))]

    def of_row(self, row: int) -> Pairs:
        """The pair of one source alone; none where it has no copy."""
        if not self._sorted:
            each = (self._packed[at : at + _PAIR_BYTES] for at in range(0, len(self._packed), _PAIR_BYTES))
            self._packed = bytearray().join(sorted(each))
            self._sorted = True
        found = Pairs()
        number = bisect_left(range(len(self)), row, key=lambda number: self._pair(number)[0])
        if number < len(self) and self._pair(number)[0] == row:
            found.add(*self._pair(number))
        return found

    def _pair(self, number: int) -> tuple[int, str]:
        packed = self._packed[number * _PAIR_BYTES : (number + 1) * _PAIR_BYTES]
        return int.from_bytes(packed[:_ROW_BYTES], "big"), of_digest(packed[_ROW_BYTES:])


class Copies:
    """The copies of the instances below some resources."""

    def __init__(self, resources: Collection[str]) -> None:
        """`resources` are their public ids."""
        self._below = {public_id: Pairs() for public_id in resources}

    def add(self, source: Identity, row: int, copy: str) -> None:
        """Add the public id of the `copy` of a source with its `row`; nothing where that is below none of the
        resources."""
        resource = self._resource_of(source)
        if resource is not None:
            self._below[resource].add(row, copy)

    async def add_made_in(self, database: Database, study: str, name: MadeBy) -> None:
        """Add the instances of a study of which the metadata of that name say what they were made of."""
        after = -1
        while rows := await database.fetch(COPIES_IN_STUDY, study, name, after, PAGE):
            for after, copy, row, *source in rows:  # noqa: B007
                if row is not None:
                    self.add(Identity(*source), row, copy)
            if len(rows) < PAGE:
                return

    def of_resource(self, public_id: str) -> Pairs:
        """The pairs of one of the resources."""
        return self._below[public_id]

    def of_instance(self, source: Identity, row: int) -> Pairs:
        """The pair of one instance; none where it has no copy."""
        resource = self._resource_of(source)
        return Pairs() if resource is None else self._below[resource].of_row(row)

    def _resource_of(self, source: Identity) -> str | None:
        return next((public_id for public_id in source if public_id in self._below), None)
