"""The instances of a list of resources, by public ids: how many there are, and page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from gateway.database.database import Database
from gateway.dicom.levels import Level
from gateway.errors import NotFound
from gateway.index.locate import Located, counted_resources, located_by_public_id

Resources = tuple[tuple[str, Level], ...]
"""Public ids, with their levels."""


async def resolved(database: Database, public_ids: Sequence[str]) -> tuple[Resources, int]:
    """Resources, each once, and how many instances they have. Raises NotFound for one that is not there."""
    found = await counted_resources(database, public_ids)
    for public_id in public_ids:
        if public_id not in found:
            raise NotFound(f"there is no resource {public_id}")
    resources = tuple((public_id, each.level) for public_id, each in found.items())
    return resources, sum(each.instances for each in found.values())


async def pages(
    database: Database, resources: Resources, size: int, position: int = 0
) -> AsyncIterator[tuple[list[Located], int]]:
    """Their instances from the resource at `position` on, in pages of `size` at most, each with the position of the
    resource that the next page begins in.
    """
    page: list[Located] = []
    for number, (public_id, level) in enumerate(resources[position:], position):
        async for located in located_by_public_id(database, level, public_id):
            page.append(located)
            if len(page) == size:
                yield page, number
                page = []
    if page:
        yield page, len(resources)
