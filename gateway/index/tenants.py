"""What tenants have in the archive, and their studies that nothing has come to for long."""

from __future__ import annotations

from typing import NamedTuple

from gateway.database.database import Database
from gateway.index.queries import tenants as queries


class Holding(NamedTuple):
    """The share of a tenant in the archive; `size` is bytes of all its files of instances."""

    studies: int = 0
    instances: int = 0
    size: int = 0


async def holding_of(database: Database, tenant: str) -> Holding:
    """The share of one tenant in the archive."""
    ((studies, instances, size),) = await database.fetch(queries.HOLDING, tenant)
    return Holding(studies, instances, size)


async def old_studies(database: Database, tenant: str, before: float, *, after: int = 0, limit: int) -> list[str]:
    """Public ids of the tenant's studies to which nothing has come since `before` (seconds since 1970), oldest first,
    without those of protected patients; the first `after` are passed over."""
    return [public_id for (public_id,) in await database.fetch(queries.OLD_STUDIES, tenant, before, limit, after)]
