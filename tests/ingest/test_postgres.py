"""The intake over PostgreSQL: what a connection, a server and a commit that nobody flushed may cost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg
import pytest

from gateway import config
from gateway.database.database import Query
from gateway.errors import DatabaseError
from gateway.index import segments as rows
from gateway.index.queries.store import LIST_FILES
from gateway.index.store import Origin
from gateway.ingest.committer import CommitterUnavailable
from gateway.ingest.data_folder import DataFolder, open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome
from gateway.processes.arena import Arena
from tests.support.datasets import CT, EXPLICIT, ct_header, encode
from tests.support.processes import children
from tests.support.waiting import until

pytestmark = pytest.mark.interop

UIDS = Query("uids: of all instances", "SELECT uid FROM instances")
GARBAGE = Query("garbage: all keys", "SELECT key FROM garbage")
SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON instances DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow();
"""
COMMITTING = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'COMMIT'"
ORIGIN = Origin(calling_aet="CT1", called_aet="GW", peer="10.0.0.1", received_at=5.0, via="dimse")


@asynccontextmanager
async def opened(path: Path, url: str, keepers: int = 1) -> AsyncIterator[tuple[DataFolder, Ingest]]:
    settings = config.Storage(path=str(path), min_free=0, keepers=keepers)
    with closing(Arena(1 << 20)) as memory:
        async with (
            asyncio.timeout(60),
            open_folder(settings, url) as folder,
            open_ingest(folder, memory=memory) as ingest,
        ):
            yield folder, ingest


async def store(ingest: Ingest, number: int, size: int = 5000) -> Outcome:
    uid = f"1.2.3.{number}"
    writer = ingest.begin(transfer_syntax_uid=EXPLICIT, sop_class_uid=CT, sop_instance_uid=uid, origin=ORIGIN)
    writer.write(encode(ct_header(SOPInstanceUID=uid, PixelData=b"\7" * size), EXPLICIT), None)
    return (await writer.commit()).outcome


async def backends(url: str) -> list[int]:
    """The processes of the server that serve others than who asks."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in rows]
    finally:
        await connection.close()


async def crash(url: str) -> None:
    """Have the server end all connections, forget what was not flushed, and recover."""
    os.kill((await backends(url))[0], signal.SIGKILL)


async def test_what_was_acknowledged_is_there_after_the_server_has_crashed(tmp_path: Path, postgres_url: str) -> None:
    """Commits that were not flushed are lost with it, and made again from the segments, though the gateway lives."""
    acknowledged: list[int] = []
    refused: list[BaseException] = []
    numbers = itertools.count(1)
    ended = asyncio.Event()

    async def sender(ingest: Ingest) -> None:
        while not ended.is_set():
            number = next(numbers)
            try:
                async with asyncio.timeout(20):
                    if await store(ingest, number) is Outcome.STORED:
                        acknowledged.append(number)
            except (DatabaseError, CommitterUnavailable) as error:
                refused.append(error)

    async with opened(tmp_path, postgres_url) as (folder, ingest):
        senders = [asyncio.create_task(sender(ingest)) for _ in range(4)]
        for crashes in range(4):
            reached = len(acknowledged) + 20
            await until(lambda: len(acknowledged) >= reached, within_s=30)  # noqa: B023
            if crashes < 3:
                await crash(postgres_url)
        ended.set()
        await asyncio.gather(*senders)

        async def is_whole() -> bool:
            rows = await folder.database.fetch(UIDS)
            return {f"1.2.3.{number}" for number in acknowledged} <= {uid for (uid,) in rows}

        await until(is_whole, "what was acknowledged is missing", within_s=20)
        assert refused


@pytest.mark.parametrize("size", [5000, 800_000])
async def test_what_the_server_commits_for_a_process_that_has_died_stays(
    tmp_path: Path, postgres_url: str, size: int
) -> None:
    """It was not acknowledged, but has a row in the end, so that it is the same again when it is sent again."""
    async with opened(tmp_path, postgres_url) as (folder, ingest):
        assert await store(ingest, 1, size) is Outcome.STORED
        connection = await asyncpg.connect(postgres_url)
        try:
            await connection.execute(SLOW_COMMIT)
            storing = asyncio.create_task(store(ingest, 2, size))

            async def is_committing() -> bool:
                return bool(await connection.fetch(COMMITTING))

            await until(is_committing, within_s=20)
            for pid in children(os.getpid()):
                if b"gateway.ingest.commit_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
            with pytest.raises(CommitterUnavailable):
                await storing

            async def is_replayed() -> bool:
                return (await rows.segments(folder.database))[0].ended

            async def is_there() -> bool:
                return len(await folder.database.fetch(UIDS)) == 2

            await until(is_there, within_s=20)
            if size < 100_000:
                await until(is_replayed, within_s=20)
        finally:
            await connection.close()
        assert await folder.database.fetch(GARBAGE) == []
        assert await store(ingest, 2, size) is Outcome.IDENTICAL
    async with opened(tmp_path, postgres_url) as (folder, _):
        for key, file_size in await folder.database.fetch(LIST_FILES, "", 1000):
            with closing(folder.store.open(key)) as file:
                assert file.size == file_size
                assert b"\7" * size in bytes(file.read(0, file_size))
