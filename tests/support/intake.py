"""The intake of a gateway in this process, without web or signals: a data folder, an acceptor on a free port."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from gateway import config
from gateway.archive.folder import DataFolder, open_folder, open_ingest
from gateway.archive.ingest import Ingest
from gateway.config import Settings
from gateway.dicom import uids
from gateway.jobs.runner import Runner
from gateway.net.acceptor import Acceptor, TlsPort, listen
from gateway.net.buffers import BLOCK_SIZE, BlockPool
from gateway.net.requestor import Call
from gateway.net.tls import server_certificates
from gateway.scp.context import Context
from gateway.scp.services import GatewayServices
from gateway.storage.arena import Arena
from gateway.ul.association import Limits

CT = "1.2.840.10008.5.1.4.1.1.2"


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
    path: Path, *, blocks: int = 32, keepers: int = 0, **sections: dict[str, Any]
) -> AsyncIterator[Intake]:
    """`sections` are settings: `storage={"duplicates": "reject"}`, `modalities={"ct": {"aet": "CT"}}`.

    What comes is kept in threads, or by so many `keepers`.
    """
    sections["storage"] = {"min_free": 0, "path": str(path), "keepers": keepers, **sections.get("storage", {})}
    settings = _with(config.load(environment={}, overrides=None), sections)
    async with AsyncExitStack() as opened:
        memory = opened.enter_context(closing(Arena(blocks * BLOCK_SIZE))) if keepers else None
        folder = await opened.enter_async_context(open_folder(settings.storage))
        ingest = await opened.enter_async_context(open_ingest(folder, memory=memory))
        made: list[Intake] = []

        def seats() -> AbstractContextManager[Counter[str]]:
            return nullcontext(made[0].acceptor.established())

        def current() -> Settings:
            return made[0].settings if made else settings

        context = Context(current, ingest, folder.database, folder.store)
        jobs = Runner(folder.database, context.kinds, poll=0.02)
        context.wake = jobs.notify
        services = GatewayServices(settings, context, seats)
        pool = BlockPool(blocks, give=memory.give) if memory is not None else BlockPool(blocks)
        certificates = server_certificates(settings.dicom)
        acceptor = Acceptor(
            listen("127.0.0.1", 0),
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


def _with(settings: Settings, sections: dict[str, dict[str, Any]]) -> Settings:
    tree = msgspec.to_builtins(settings)
    for name, section in sections.items():
        tree[name] = {**tree[name], **section}
    return msgspec.convert(tree, config.Settings)


__all__ = ["BLOCK_SIZE", "CT", "Intake", "intake"]
