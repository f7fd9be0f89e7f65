"""gateway/audit/syslog.py: the log reaches a receiver whole, whatever becomes of connections."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.audit.entry import AuditSubject, entry
from gateway.audit.syslog import AuditSender, framed
from gateway.audit.table import append, entries_after, forget, read_sent, unsent_since
from gateway.config import Audit, Settings
from gateway.database.actor import Actor
from gateway.database.sqlite import SQLite
from tests.support.certificates import Authority, needs_openssl
from tests.support.datasets import CT, ct_header
from tests.support.index import record, store
from tests.support.waiting import until

HEAD = re.compile(
    rb"<85>1 (\S+) (\S+) dicom-gateway \d+ DICOM\+RFC3881 - \xef\xbb\xbf(<AuditMessage>.*</AuditMessage>)"
)


class Receiver:
    """A receiver of syslog over TLS that notes the numbers of entries."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.numbers: list[int] = []
        self.classes: list[dict[str, str]] = []
        """SOP classes that the messages name."""
        self.connections = 0
        self.closes_after = 0
        """Messages of a connection after which it is closed, and what comes behind is lost; 0 for none."""
        self.port = 0
        self._context = context
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        count = 0
        try:
            while True:
                length = await reader.readuntil(b" ")
                message = await reader.readexactly(int(length))
                found = HEAD.fullmatch(message)
                assert found is not None, message
                root = ElementTree.fromstring(found[3])
                last = root.findall("ParticipantObjectIdentification")[-1].attrib["ParticipantObjectID"]
                self.classes.append(
                    {each.attrib["UID"]: each.attrib["NumberOfInstances"] for each in root.iter("SOPClass")}
                )
                self.numbers.append(int(last.rpartition("#")[2]))
                count += 1
                if count == self.closes_after:
                    writer.transport.abort()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    opened = await SQLite.open(tmp_path / "index.db")
    yield opened
    await opened.close()


async def fill(database: SQLite, count: int) -> None:
    await database.write(lambda: append([entry("view", Actor("ann"), at=float(n)) for n in range(1, count + 1)]))


class Setting:
    def __init__(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        issued = authority.issue("receiver", "IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self.receiver = Receiver(context)
        self.ca = authority.certificate

    def settings(self) -> Settings:
        return Settings(audit=Audit(enabled=True, syslog=f"127.0.0.1:{self.receiver.port}", ca=self.ca))


@asynccontextmanager
async def sending(database: SQLite, setting: Setting, **options: Any) -> AsyncIterator[AuditSender]:
    sender = AuditSender(database, setting.settings, **{"poll_s": 0.01, "lasting_s": 0.05, "pause_s": 0.01, **options})
    task = asyncio.ensure_future(sender.send_forever())
    try:
        async with asyncio.timeout(30):
            yield sender
    finally:
        task.cancel()
        await asyncio.wait([task])
        await setting.receiver.close()


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


pytestmark = needs_openssl


async def test_sop_classes_of_what_is_stored(database: SQLite, setting: Setting) -> None:
    await store(database, record(ct_header(SOPInstanceUID="1.1")))
    await store(database, record(ct_header(SOPInstanceUID="1.2")))
    uid, caller = str(ct_header().StudyInstanceUID), Actor("ann", "", "10.0.0.1")
    entries = [
        entry("view", caller, AuditSubject("study", "a", uid), at=1.0),
        entry("view", caller, AuditSubject("study", "b", "9.9"), at=2.0),
        entry("search", caller, AuditSubject("study", "a", uid), at=3.0),
    ]
    await database.write(lambda: append(entries))
    await setting.receiver.open()
    async with sending(database, setting):
        await until(lambda: len(setting.receiver.numbers) == 3)
    assert setting.receiver.classes == [{CT: "2"}, {}, {}]


async def test_in_order_and_noted(database: SQLite, setting: Setting) -> None:
    await setting.receiver.open()
    await fill(database, 450)
    async with sending(database, setting):
        await until(lambda: len(setting.receiver.numbers) == 450)
        await until(lambda: read_sent(database))
        await fill(database, 1)

        async def all_noted() -> bool:
            return await read_sent(database) == 451

        await until(all_noted)
        assert await unsent_since(database) is None
    assert setting.receiver.numbers == list(range(1, 452))


async def test_a_receiver_that_is_away_loses_nothing(database: SQLite, setting: Setting) -> None:
    await setting.receiver.open()
    await setting.receiver.close()
    await fill(database, 3)
    async with sending(database, setting):
        await asyncio.sleep(0)
        assert setting.receiver.numbers == []
        (oldest, *_) = await entries_after(database, 0, 1)
        assert await unsent_since(database) == oldest.at
        await setting.receiver.open()
        await until(lambda: len(setting.receiver.numbers) == 3)


async def test_what_is_lost_with_a_connection_is_sent_again(database: SQLite, setting: Setting) -> None:
    setting.receiver.closes_after = 5
    await setting.receiver.open()
    await fill(database, 300)
    async with sending(database, setting, lasting_s=0.02):
        await until(lambda: setting.receiver.connections > 2)
        setting.receiver.closes_after = 0

        async def all_noted() -> bool:
            return await read_sent(database) == 300

        await until(all_noted)
    assert set(setting.receiver.numbers) == set(range(1, 301))


async def test_nothing_to_one_that_cannot_prove_itself(
    database: SQLite, setting: Setting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    setting.ca = Authority(tmp_path / "other").certificate
    await setting.receiver.open()
    await fill(database, 1)
    async with sending(database, setting):
        await until(lambda: "cannot be sent" in caplog.text)
    assert setting.receiver.numbers == []
    assert await read_sent(database) == 0


async def test_what_is_not_sent_is_not_removed(database: SQLite) -> None:
    await fill(database, 3)
    assert await database.write(lambda: forget(100.0, unsent=False)) == 0
    assert await database.write(lambda: forget(100.0)) == 3


def test_a_frame_says_its_length() -> None:
    frame = framed(entry("view", Actor("ånn"), at=1.0), Audit(), "GATEWAY")
    length, _, message = frame.partition(b" ")
    assert int(length) == len(message)
    assert HEAD.fullmatch(message)
