"""Retention: studies of tenants that are kept for some days only (`tenants.NAME.keep_days`) are deleted after them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from gateway.admin.deletion import Removal
from gateway.audit.entry import AuditSubject
from gateway.audit.log import AuditLog
from gateway.audit.table import append
from gateway.config import Settings
from gateway.database.actor import GATEWAY
from gateway.database.companion import Companion, accompanying
from gateway.database.database import Database
from gateway.errors import DatabaseError, NotFound, RetainedByCommitment
from gateway.index.tenants import old_studies

log = logging.getLogger(__name__)

_DAY_S: Final = 86400
_LOOK_EVERY_S: Final = 3600.0
_PAGE: Final = 100


class Retention:
    """Deletes the studies that tenants need not keep any longer. Run by one process of a gateway."""

    def __init__(
        self,
        database: Database,
        removal: Removal,
        settings: Callable[[], Settings],
        audit: AuditLog,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._removal = removal
        self._settings = settings
        self._audit = audit
        self._clock = clock

    async def run_forever(self) -> None:
        """Look every hour."""
        while True:
            try:
                await self.run()
            except DatabaseError as error:
                log.warning("old studies of tenants are not deleted: %s", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def run(self) -> int:
        """Delete what is too old now; returns the number of studies. Raises DatabaseError."""
        deleted = 0
        for name, tenant in self._settings().tenants.items():
            if tenant.keep_days:
                deleted += await self._of_tenant(name, self._clock() - tenant.keep_days * _DAY_S)
        return deleted

    async def _of_tenant(self, tenant: str, before: float) -> int:
        deleted = stays = 0
        while page := await old_studies(self._database, tenant, before, after=stays, limit=_PAGE):
            for study in page:
                try:
                    await self._delete(tenant, study)
                    deleted += 1
                except RetainedByCommitment as error:
                    stays += 1
                    log.info("a study of tenant %s stays: %s", tenant, error)
                except NotFound:  # Somebody else has deleted it.
                    pass
        if deleted:
            log.info("deleted %d studies of tenant %s: nothing has come to them for its keep_days", deleted, tenant)
        return deleted

    async def _delete(self, tenant: str, study: str) -> None:
        """Delete a study, and say so in the audit log, in one transaction. Raises NotFound, RetainedByCommitment."""
        companion = Companion()
        if self._audit.is_on:
            (subject,) = await self._audit.identify([AuditSubject("study", study)])
            detail = {"setting": f"tenants.{tenant}.keep_days"}
            entry = self._audit.entry("delete", GATEWAY, subject, detail=detail)
            companion.pending = [lambda: append([entry])]
        with accompanying(companion):
            await self._removal.by_public_id("study", study)
