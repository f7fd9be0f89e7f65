"""gateway/admin/retention: studies of tenants go after their days, and no others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.admin.retention import Retention
from gateway.audit.table import AuditFilter, search
from gateway.config import Audit, Tenant
from gateway.index.identity import owned, public_id
from tests.support.index import data_set, origin, store
from tests.support.web import House, archive

DAY = 86400.0


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(tmp_path / "data") as made:
        made.audit = Audit(enabled=True)
        made.tenants = {"a": Tenant(keep_days=2), "b": Tenant()}
        yield made


def retention(gateway: House, now: float) -> Retention:
    cases = gateway.use_cases
    return Retention(gateway.database, cases.removal, gateway.settings, cases.audit, clock=lambda: now)


async def test_after_their_days(gateway: House) -> None:
    now = time.time()
    for tenant in ("", "a", "b"):
        for uid, days in (("1.1", 3), ("1.2", 1)):
            await store(gateway.database, data_set(uid, PatientID=uid), None, origin(now - days * DAY, tenant))
    assert await retention(gateway, now).run() == 1
    assert await retention(gateway, now).run() == 0
    gone = public_id(owned("1.1", "a"), "1.1")
    studies = await gateway.json("/studies")
    assert gone not in studies
    assert len(studies) == 5
    (entry,) = await search(gateway.database, AuditFilter(action="delete"), skip=0, limit=9)
    assert (entry.public_id, entry.study_uid, entry.user) == (gone, "1.1", "")
    assert entry.details == {"setting": "tenants.a.keep_days"}


async def test_what_is_protected_or_promised_stays(gateway: House) -> None:
    now = time.time()
    for uid in ("1.1", "1.2"):
        await store(gateway.database, data_set(uid, PatientID=uid), None, origin(now - 3 * DAY, "a"))
    await gateway.client.put(f"/patients/{public_id(owned('1.1', 'a'))}/protected", data=b"1")
    assert await retention(gateway, now).run() == 1
    assert await gateway.json("/studies") == [public_id(owned("1.1", "a"), "1.1")]
