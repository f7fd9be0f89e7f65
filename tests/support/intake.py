"""The intake of a gateway in this process, without web or signals: a data folder, an acceptor on a free port."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Any

import msgspec

from gateway import config
from gateway.config import Settings
from gateway.dicom import uids
from gateway.ingest.data_folder import DataFolder, open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.jobs.runner import Runner
from gateway.net.acceptor import Acceptor, TlsPort, listen
from gateway.net.buffers import BLOCK_SIZE, BlockPool
from gateway.net.requestor import Call
from gateway.net.tls import server_certificates
from gateway.processes.arena import Arena
from gateway.scp.context import Context
from gateway.scp.service_class import Registry
from gateway.scp.services import REGISTRY, GatewayServices
from gateway.ul.association import Limits
from gateway.use_cases import open_use_cases

CT = "1.2.840.10008.5.1.4.1.1.2"


def begun(data: Path) -> list[Path]:
    """Files with anything in them in the incoming folders; empty ones are in stock, which comes and goes."""
    found = []
    for file in (data / "incoming").glob("*/*"):
        with suppress(FileNotFoundError):
            if file.stat().st_size:
                found.append(file)
    return found


@dataclasses.dataclass
class Intake:
    folder: DataFolder
    ingest: Ingest
    services: GatewayServices
    acceptor: Acceptor
    blocks: BlockPool
    context: Context
    jobs: Runner
    settings: Settings

    def configure(self, **sections: dict[str, Any]) -> None:
        """Change settings from now on, as far as they are asked for each time."""
        self.settings = _with(self.settings, sections)
        self.services.use(self.settings)

    def call(self, *contexts: tuple[str, list[str]], **changes: Any) -> Call:
        """A call to it, by default for verification and CT images in Explicit VR Little Endian."""
        explicit = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
        return dataclasses.replace(
            Call(
                *self.acceptor.address,
                called_aet="GATEWAY",
                calling_aet="TEST",
                contexts=contexts or ((uids.VERIFICATION, [explicit]), (CT, [explicit])),
            ),
            **changes,
        )


@asynccontextmanager
async def intake(
    path: Path, *, blocks: int = 32, keepers: int = 0, registry: Registry = REGISTRY, **sections: dict[str, Any]
) -> AsyncIterator[Intake]:
    """`sections` are settings: `storage={"duplicates": "reject"}`, `modalities={"ct": {"aet": "CT"}}`.

    What comes is kept in threads, or by so many `keepers`. `registry` has the service classes that are served.
    """
    sections["storage"] = {"min_free": 0, "path": str(path), "keepers": keepers, **sections.get("storage", {})}
    settings = _with(config.load(environment={}, overrides=None), sections)
    async with AsyncExitStack() as opened:
        memory = opened.enter_context(closing(Arena(blocks * BLOCK_SIZE))) if keepers else None
        folder = await opened.enter_async_context(open_folder(settings.storage))
        ingest = await opened.enter_async_context(open_ingest(folder, memory=memory, tenants=lambda: current().tenants))
        made: list[Intake] = []

        def seats() -> AbstractContextManager[Counter[str]]:
            return nullcontext(made[0].acceptor.established())

        def current() -> Settings:
            return made[0].settings if made else settings

        wake = asyncio.Event()
        use_cases = await opened.enter_async_context(
            open_use_cases(current, folder.database, folder.store, ingest, wake=wake.set)
        )
        context = Context(use_cases)
        jobs = Runner(folder.database, use_cases.kinds, poll=0.02, wake=wake)
        services = GatewayServices(settings, context, seats, registry)
        pool = BlockPool(blocks, allocate=memory.allocate) if memory is not None else BlockPool(blocks)
        certificates = server_certificates(settings.dicom)
        acceptor = Acceptor(
            listen("127.0.0.1", 0) if settings.dicom.port != "off" else None,
            services,
            pool,
            limits=Limits(
                max_length_received=settings.dicom.max_pdu,
                artim_timeout=settings.dicom.artim_timeout,
                idle_timeout=settings.dicom.idle_timeout,
            ),
            max_connections=settings.dicom.max_associations + 10,
            max_operations=settings.dicom.max_operations,
            tls_port=TlsPort(listen("127.0.0.1", 0), lambda: certificates.newest) if certificates else None,
        )
        made.append(Intake(folder, ingest, services, acceptor, pool, context, jobs, settings))
        acceptor.start()
        jobs.start()
        try:
            yield made[0]
        finally:
            services.draining = True
            await acceptor.stop(0)
            await jobs.close()
            await context.close()


def file_intake(path: Path, **sections: Any) -> AbstractAsyncContextManager[Intake]:
    """An `intake` whose instances are files of their own: for tests of those."""
    return intake(path, **{**sections, "storage": {"pack_below": 0, **sections.get("storage", {})}})


def _with(settings: Settings, sections: dict[str, dict[str, Any]]) -> Settings:
    tree = msgspec.to_builtins(settings)
    for name, section in sections.items():
        tree[name] = {**tree[name], **section}
    return msgspec.convert(tree, config.Settings)


__all__ = ["BLOCK_SIZE", "CT", "Intake", "intake"]


def undo(path: Path, to: Path) -> None:
    """What a power cut does to transactions that were not flushed: an older database, over the same segments."""
    for ending in ("", "-wal", "-shm"):
        (path / f"database.sqlite{ending}").unlink(missing_ok=True)
    shutil.copy(to / "database.sqlite", path / "database.sqlite")
