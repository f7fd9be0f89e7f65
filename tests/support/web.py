"""The HTTP application over a real index and a store in memory, and a client that speaks to it."""

from __future__ import annotations

import dataclasses
import email.parser
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from pydicom.dataset import Dataset

from gateway.config import (
    Audit,
    BreakGlass,
    Dicom,
    Dicomweb,
    Http,
    Modality,
    Oidc,
    Query,
    Rest,
    Settings,
    Storage,
    Tenant,
    Tokens,
)
from gateway.config.destinations import Destination
from gateway.config.roles import Role
from gateway.database.sqlite import SQLite
from gateway.dicom.part10 import file_header
from gateway.events.feed import Feed
from gateway.forwarding.rule_engine import RuleEngine
from gateway.index.store import Stored
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.jobs.runner import Runner
from gateway.net.association_record import AssociationRecord
from gateway.net.session import AssociationStatus
from gateway.storage.memory import MemoryStore
from gateway.storage.store import Store
from gateway.use_cases import UseCases, open_use_cases
from gateway.web.app import create_app
from gateway.web.context import Context, Control
from tests.support import index
from tests.support.datasets import EXPLICIT, encode


class House:
    """What the application stands on.

    Change `http`, `dicom`, `modalities`, `destinations`, `query`, `dicomweb`, `rest`, `reasons`, `tokens`, `oidc`,
    `break_glass`, `roles`, `tenants`.
    """

    ingest: Ingest
    """Of an `archive`; a mere `house` takes nothing in."""
    use_cases: UseCases

    def __init__(self, database: SQLite, store: MemoryStore, http: Http) -> None:
        self.database = database
        self.memory = store
        self.store: Store = store
        self.feed = Feed(database, poll_seconds=0.05)
        self.http = http
        self.query = Query()
        self.dicomweb = Dicomweb()
        self.rest = Rest()
        self.controls: list[str] = []
        self.storage = Storage()
        self.audit = Audit()
        self.dicom = Dicom()
        self.modalities: dict[str, Modality] = {}
        self.destinations: dict[str, Destination] = {}
        self.tokens = Tokens()
        self.oidc = Oidc()
        self.break_glass = BreakGlass()
        self.roles: dict[str, Role] = {}
        self.tenants: dict[str, Tenant] = {}
        self.associations: list[AssociationStatus] = []
        self.records: list[AssociationRecord] = []
        self.reasons: list[str] = []
        self.client: TestClient[web.Request, web.Application]

    def context(self) -> Context:
        return Context(
            use_cases=self.use_cases,
            feed=self.feed,
            associations=lambda: self.associations,
            records=lambda: self.records,
            readiness=lambda: (not self.reasons, self.reasons),
            ports=(4242, 8042),
            control=Control(lambda: self.controls.append("stop"), lambda: self.controls.append("reload")),
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve the application over all of it to `client`."""
        ingest = getattr(self, "ingest", cast(Ingest, None))
        async with open_use_cases(self.settings, self.database, self.store, ingest) as self.use_cases:
            self.client = TestClient(TestServer(create_app(self.context())))
            try:
                await self.client.start_server()
                yield
            finally:
                await self.client.close()
                await self.feed.close()

    def settings(self) -> Settings:
        return Settings(
            http=self.http,
            query=self.query,
            dicomweb=self.dicomweb,
            rest=self.rest,
            storage=self.storage,
            audit=self.audit,
            dicom=self.dicom,
            modalities=self.modalities,
            destinations=self.destinations,
            tokens=self.tokens,
            oidc=self.oidc,
            break_glass=self.break_glass,
            roles=self.roles,
            tenants=self.tenants,
        )

    async def add(
        self,
        data_set: Dataset,
        transfer_syntax: str = EXPLICIT,
        *,
        data: bytes | None = None,
        replaces: str | None = None,
    ) -> tuple[str, bytes]:
        """Store an instance; its key and the whole file. `data` replaces the bytes of the data set."""
        head = file_header(
            sop_class_uid=data_set.SOPClassUID,
            sop_instance_uid=data_set.SOPInstanceUID,
            transfer_syntax_uid=transfer_syntax,
            source_aet="MODALITY",
            sending_aet="SENDER",
            receiving_aet="GATEWAY",
        )
        file = head + (encode(data_set, transfer_syntax) if data is None else data)
        where = index.placement(size=len(file), transfer_syntax=transfer_syntax)
        where = dataclasses.replace(where, data_set_offset=len(head))
        self.memory.put(where.key, file)
        stored = await index.store(self.database, index.record(data_set), where, replaces=replaces)
        assert isinstance(stored, Stored)
        self.feed.notify(stored.change)
        return where.key, file

    async def get(self, path: str, **headers: str) -> ClientResponse:
        """`accept_language="x"` becomes the header Accept-Language."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers=fields)

    async def json(self, path: str, **headers: str) -> Any:
        answer = await self.get(path, **headers)
        assert answer.status == 200, await answer.text()
        return await answer.json(content_type=None)


@asynccontextmanager
async def house(folder: Path, http: Http | None = None) -> AsyncIterator[House]:
    """`http` is what it starts with, for what is not looked at again."""
    database = await SQLite.open(folder / "index.db")
    made = House(database, MemoryStore(), http or Http())
    try:
        async with made.served():
            yield made
    finally:
        await database.close()


@asynccontextmanager
async def archive(folder: Path, **storage: Any) -> AsyncIterator[House]:
    """The same over a data folder of files with its ingest. `storage`: its settings."""
    settings = Storage(path=str(folder), min_free=0, **storage)
    async with open_folder(settings) as data:
        made = House(data.database, MemoryStore(), Http())
        made.store, made.storage = data.store, settings
        outbox = RuleEngine(made.settings)
        intake = open_ingest(data, committed=made.feed.notify, outbox=outbox, tenants=lambda: made.tenants)
        async with intake as made.ingest, made.served():
            yield made


@asynccontextmanager
async def working(made: House) -> AsyncIterator[House]:
    """A house in which jobs are done."""
    runner = Runner(made.database, made.use_cases.kinds, poll=0.02)
    runner.start()
    try:
        yield made
    finally:
        await runner.close()


def context_of(settings: Settings) -> Context:
    """What a handler finds that asks for nothing but the settings."""
    use_cases = cast(UseCases, SimpleNamespace(settings=lambda: settings))
    return Context(use_cases, cast(Feed, None), associations=list, readiness=lambda: (True, []), ports=(4242, 8042))


def parts(answer: ClientResponse, body: bytes) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer: content type and bytes. Python's own parser judges the format."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head)
    boundary = message.get_boundary()
    assert message.get_content_type() == "multipart/related"
    assert boundary is not None
    pieces = (b"\r\n" + body).split(f"\r\n--{boundary}".encode())
    assert pieces[0] == b""
    assert pieces[-1].strip() == b"--"
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head + b"\r\n\r\n")
        if fields["Content-Length"] is not None:
            assert int(fields["Content-Length"]) == len(content)
        found.append((str(fields["Content-Type"]), content))
    return found
