"""The parent of several workers: it binds the sockets, starts the workers and starts again those that die, hands on new
settings, and lets all drain in the end. It serves nothing itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.multiprocess import mark_process_dead

from gateway import server
from gateway.archive.spawning import Deaths, command, ending
from gateway.config import Settings
from gateway.errors import ConfigurationError, GatewayError
from gateway.sharing import board
from gateway.sharing.process import prepare_process
from gateway.sharing.sockets import listen_dicom, listen_web, web_url
from gateway.telemetry import METRICS_FOLDER, setup_logging
from gateway.workers.channel import Begin, Channel, Failed, Jobs, Listening, Stop, Unfit, Use
from gateway.workers.sizing import share

log = logging.getLogger(__name__)

_GRACE = 15.0
"""Seconds beyond `dicom.drain_timeout` for answers under way, then SIGKILL."""


def as_started(first: Settings, now: Settings) -> Settings:
    """The settings of now, but for what only a new start of the whole gateway takes.

    A worker that is started later must open the data folder that the others have, and speak as they do.
    """
    replace = msgspec.structs.replace
    for name in server.AT_START:
        section, _, field = name.partition(".")
        kept = {field: getattr(getattr(first, section), field)}
        now = replace(now, **{section: replace(getattr(now, section), **kept)})
    if bool(now.http.certificate) != bool(first.http.certificate):
        now = replace(now, http=replace(now.http, certificate=first.http.certificate, key=first.http.key))
    return now


class Worker:
    """One of the places in the group, and the process that fills it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.listening = asyncio.Event()
        self.unfit: Unfit | None = None
        self.deaths = Deaths()


class Parent:
    """Belongs to one event loop. `start`, `use` any number of times, `stop`."""

    def __init__(self, settings: Settings, count: int) -> None:
        """Binds the sockets. Raises ConfigurationError."""
        prepare_process()
        self.settings = self._first = settings
        self.sockets = listen_dicom(settings)
        try:
            self.web = listen_web(settings)
        except ConfigurationError:
            for each in self.sockets:
                if each is not None:
                    each.close()
            raise
        self.workers = [Worker(number) for number in range(1, count + 1)]
        self._board_descriptor = board.make(count)
        self._board = board.Board(self._board_descriptor)
        self._metrics = tempfile.TemporaryDirectory(prefix="dicom-gateway-metrics-", ignore_cleanup_errors=True)
        self._snapshot = 1
        self._failures: list[str] = []
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when all listen. Raises ConfigurationError or GatewayError with what the first cannot do.

        The first one alone opens the data folder, migrates and recovers; then come the others.
        """
        for some in (self.workers[:1], self.workers[1:]):
            self._keepers += [asyncio.create_task(self._keep(worker)) for worker in some]
            await asyncio.gather(*(self._first_start(worker) for worker in some))

    async def _first_start(self, worker: Worker) -> None:
        keeper = self._keepers[worker.number - 1]
        up = asyncio.create_task(worker.listening.wait())
        await asyncio.wait({up, keeper}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if not worker.listening.is_set():
            kind = ConfigurationError if worker.process and worker.process.returncode == 2 else GatewayError
            raise kind(worker.unfit.why if worker.unfit else f"worker {worker.number} did not start; see the log")

    async def use(self, settings: Settings) -> None:
        """Hand a checked snapshot on to all. Raises ConfigurationError, with nothing changed."""
        ready = await asyncio.to_thread(server.examine, settings)
        server.announce(self.settings, settings, ready)
        self.settings, self._snapshot = settings, self._snapshot + 1
        setup_logging(settings.log.level, settings.log.format)
        part = self._part()
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send(Use(self._snapshot, part))

    def _part(self) -> Settings:
        """For each worker, now."""
        return share(as_started(self._first, self.settings), len(self.workers))

    async def stop(self) -> None:
        """Let all drain and end, and close everything."""
        self._stopping = True
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send(Stop())
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=self.settings.dicom.drain_timeout + _GRACE)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for each in (*self.sockets, self.web):
            if each is not None:
                each.close()
        self._board.close()
        self._metrics.cleanup()

    async def _keep(self, worker: Worker) -> None:
        """Have a process in this place, until we stop, or it cannot start in the beginning."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began, first = loop.time(), not worker.listening.is_set() and not worker.deaths.count
            code = await self._live(worker)
            if self._stopping or (first and not worker.listening.is_set()):
                return
            pause = worker.deaths.after(loop.time() - began)
            why = f": {worker.unfit.why}" if worker.unfit is not None else ""
            log.error("worker %d %s%s; it is started again in %.1f s", worker.number, ending(code), why, pause)
            await asyncio.sleep(pause)

    async def _live(self, worker: Worker) -> int:
        """One process, from start to end. Its exit code, negative where a signal ended it."""
        ours, theirs = socket.socketpair()
        sockets = self.sockets
        descriptors = [theirs.fileno(), self._board_descriptor, sockets.plain.fileno(), self.web.fileno()]
        if sockets.tls is not None:
            descriptors.append(sockets.tls.fileno())
        try:
            process = await asyncio.create_subprocess_exec(
                *command("gateway.workers.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**os.environ, METRICS_FOLDER: self._metrics.name},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker.process, worker.unfit = process, None
        worker.channel = channel = await Channel.open(ours)
        channel.send(
            Begin(
                number=worker.number,
                count=len(self.workers),
                parent=os.getpid(),
                snapshot=self._snapshot,
                settings=self._part(),
                board=self._board_descriptor,
                dicom=sockets.plain.fileno(),
                tls=sockets.tls.fileno() if sockets.tls is not None else None,
                web=self.web.fileno(),
                failures=self._failures,
            )
        )
        if self._stopping:
            channel.send(Stop())
        hearing = asyncio.create_task(self._hear(worker, channel))
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            await hearing
            worker.channel = None
            await channel.close()
            self._board.clear(worker.number - 1)
            mark_process_dead(process.pid, self._metrics.name)  # type: ignore[no-untyped-call]

    async def _hear(self, worker: Worker, channel: Channel) -> None:
        async for message in channel.messages():
            match message:
                case Listening():
                    worker.listening.set()
                    log.info("worker %d listens", worker.number)
                case Unfit():
                    worker.unfit = message
                    if worker.listening.is_set() and message.snapshot == self._snapshot:
                        log.error("worker %d goes on with the settings before: %s", worker.number, message.why)
                case Failed():
                    self._fail(f"worker {worker.number}: {message.why}", worker)
                case Jobs():
                    if (first := self.workers[0].channel) is not None:
                        first.send(message)
                case _:
                    pass

    def _fail(self, why: str, of: Worker) -> None:
        """One disk is under all of them, so none may vouch for it; those that are started later neither."""
        if why.removeprefix(f"worker {of.number}: ") in self._failures:
            return  # One that we have told it.
        self._failures.append(why)
        for worker in self.workers:
            if worker is not of and worker.channel is not None:
                worker.channel.send(Failed(why))


async def serve(
    settings: Settings,
    count: int,
    *,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    on_listening: Callable[[tuple[str, int], tuple[str, int] | None, str], None] = lambda dicom, tls, web: None,
) -> int:
    """As `server.serve`, in so many processes."""
    loop = asyncio.get_running_loop()
    stop, asked = asyncio.Event(), asyncio.Event()
    read = await server.stamp_of(config_file)
    await asyncio.to_thread(server.examine, settings)
    parent = Parent(settings, count)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    keeper: asyncio.Task[None] | None = None
    try:
        await parent.start()
        keeper = loop.create_task(server.keep_current(parent, config_file, overrides, asked, read))
        plain, tls = parent.sockets
        on_listening(
            plain.getsockname()[:2],
            tls.getsockname()[:2] if tls is not None else None,
            web_url(settings.http, parent.web.getsockname()[1]),
        )
        await stop.wait()
    finally:
        if keeper is not None:
            keeper.cancel()
        await parent.stop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return 0
