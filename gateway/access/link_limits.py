"""What may still be stored by a link to upload: instances and bytes, counted in the database over all processes."""

from __future__ import annotations

from gateway.access import queries
from gateway.database.database import Database, Script
from gateway.dimse.status import OUT_OF_RESOURCES
from gateway.errors import InstanceRefused


class LinkLimits:
    """The limits of all links. Instances that are being stored are counted already."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, link: str, size: int) -> None:
        """Count an instance of `size` bytes that is about to be stored. Raises: InstanceRefused where the link, by its
        id, may bring no more, or has gone; DatabaseError."""

        def script() -> Script[bool]:
            return bool((yield queries.TAKE_ROOM, (link, size)))

        if not await self._database.write(script):
            raise InstanceRefused("the link has brought as much as it may, or has ended", OUT_OF_RESOURCES)

    async def give_back(self, link: str, size: int) -> None:
        """Count an instance no more, which was not stored after all. Raises DatabaseError."""

        def script() -> Script[None]:
            yield queries.GIVE_BACK_ROOM, (link, size)

        await self._database.write(script)
