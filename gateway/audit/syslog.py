"""Sending the audit log to a receiver of DICOM audit messages: syslog (RFC 5424) over TLS (RFC 5425).

Syslog has no acknowledgement. An entry counts as sent once the receiver's system has acknowledged its bytes and the
connection has lasted a little longer; then its number is noted in the database. Whatever was sent before a connection
broke, and is not noted, is sent again: the receiver may get an entry twice, which has the same number, but lacks none.
"""

from __future__ import annotations

import asyncio
import datetime
import fcntl
import functools
import logging
import os
import socket
import ssl
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from gateway.audit.entry import AuditEntry
from gateway.audit.message import audit_message, names_classes
from gateway.audit.table import entries_after, note_sent, read_sent, sop_classes
from gateway.config import Audit, Settings
from gateway.database.database import Database
from gateway.errors import ConfigurationError, DatabaseError
from gateway.net.tls import PemFiles, client_context, describe

log = logging.getLogger(__name__)

_PRIORITY: Final = 10 * 8 + 5
"""Facility 10 (security and authorization), severity 5 (notice), as PS3.15 A.6 has it."""
_PAGE: Final = 200
_TIMEOUT_S: Final = 30.0
"""Seconds for the connection, and for the receiver to acknowledge what was sent."""
_FIRST_PAUSE_S, _MAX_PAUSE_S = 1.0, 60.0
"""Seconds before the next connection after a failure, doubled each time up to the second number."""
_LOOK_S: Final = 0.02
"""Seconds between two looks whether all bytes are acknowledged, which no event tells."""


class AuditSender:
    """Sends the entries of a database, in order. One for all processes of a gateway."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        poll_s: float = 1.0,
        lasting_s: float = 2.0,
        pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """`poll_s` is the time until an entry is noticed, `lasting_s` for how long a connection must last after an
        entry was acknowledged."""
        self._database = database
        self._settings = settings
        self._poll_s = poll_s
        self._lasting_s = lasting_s
        self._pause_s = pause_s

    async def send_forever(self) -> None:
        """Send to whatever receiver the current settings name, for ever."""
        failures = 0
        while True:
            audit = self._settings().audit
            if not audit.syslog:
                await asyncio.sleep(self._poll_s)
                continue
            try:
                await self._send_to(audit)
                failures = 0  # The settings name another receiver now.
            except (OSError, TimeoutError, ConfigurationError, DatabaseError) as error:
                why = describe(error) if isinstance(error, OSError) else str(error) or "no answer in time"
                failures += 1
                pause = min(_MAX_PAUSE_S, self._pause_s * 2.0 ** min(failures - 1, 10))
                log.warning(
                    "audit messages cannot be sent to %s, and wait; tried again in %.0f s: %s", audit.syslog, pause, why
                )
                await asyncio.sleep(pause)

    async def _send_to(self, audit: Audit) -> None:
        """Send until the connection ends, which raises OSError, or the settings change."""
        host, _, port = audit.syslog.rpartition(":")
        files = PemFiles.of_section("audit", audit.certificate, audit.key, audit.ca)
        context = await asyncio.to_thread(client_context, files)
        name = host.strip("[]")
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(name, int(port), ssl=context, server_hostname=name)
        # The receiver sends nothing: the end of reading is the end of the connection.
        ended = asyncio.ensure_future(reader.read(1))
        try:
            log.info("audit messages are sent to %s", audit.syslog)
            position = await read_sent(self._database)
            acknowledged: deque[tuple[float, AuditEntry]] = deque()
            while self._settings().audit == audit:
                page = await entries_after(self._database, position, _PAGE)
                studies = {each.study_uid for each in page if names_classes(each)}
                classes = {uid: await sop_classes(self._database, uid) for uid in studies}
                for each in page:
                    known = classes.get(each.study_uid) if names_classes(each) else None
                    writer.write(framed(each, audit, self._settings().dicom.aet.strip(), known))
                if page:
                    await self._acknowledged(writer, ended)
                    acknowledged.append((time.monotonic(), page[-1]))
                    position = page[-1].seq
                else:
                    await self._wait(ended, self._poll_s)
                await self._note(acknowledged)
        finally:
            ended.cancel()
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await ended
            with suppress(OSError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def _acknowledged(self, writer: asyncio.StreamWriter, ended: asyncio.Future[bytes]) -> None:
        """Wait until the receiver has all that was written. Raises OSError, TimeoutError."""
        connection: socket.socket = writer.get_extra_info("socket")
        async with asyncio.timeout(_TIMEOUT_S):
            while writer.transport.get_write_buffer_size() or _unacknowledged(connection.fileno()):
                await self._wait(ended, _LOOK_S)

    async def _note(self, acknowledged: deque[tuple[float, AuditEntry]]) -> None:
        """Note the last entry since whose acknowledgement the connection has lasted long enough."""
        last: AuditEntry | None = None
        while acknowledged and acknowledged[0][0] <= time.monotonic() - self._lasting_s:
            last = acknowledged.popleft()[1]
        if last is not None:
            await self._database.write(functools.partial(note_sent, last, time.time()))

    async def _wait(self, ended: asyncio.Future[bytes], seconds: float) -> None:
        """Wait some seconds. Raises OSError if the connection ends meanwhile."""
        await asyncio.wait([ended], timeout=seconds)
        if ended.done():
            ended.result()
            raise ConnectionResetError("the receiver has closed the connection")


def framed(one: AuditEntry, audit: Audit, aet: str, classes: Mapping[str, int] | None = None) -> bytes:
    """An entry as a syslog message, with its length before it (RFC 5425 §4.3)."""
    moment = datetime.datetime.fromtimestamp(one.at, datetime.UTC).isoformat(timespec="milliseconds")
    head = f"<{_PRIORITY}>1 {moment.removesuffix('+00:00')}Z {_host()} dicom-gateway {os.getpid()} DICOM+RFC3881 - "
    message = head.encode("ascii") + b"\xef\xbb\xbf" + audit_message(one, audit, aet, classes).encode("utf-8")
    return b"%d %b" % (len(message), message)


def _host() -> str:
    """The name of this machine, as far as a syslog header can have it."""
    name = socket.gethostname()
    return name[:255] if name.isascii() and name.isprintable() and " " not in name and name else "-"


def _unacknowledged(descriptor: int) -> int:
    """The bytes that the system has of a TCP connection and that the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
    return int(count)
