"""The parent of several workers: binds the sockets, starts workers and restarts those that die, distributes new
settings, and drains all at the end. The parent serves nothing itself.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.multiprocess import mark_process_dead

from gateway import server
from gateway.config import Settings
from gateway.current_settings import (
    AT_START,
    announce,
    keep_current,
    log_start,
    log_stop,
    stamp_of,
    warn_of_unusable_folders,
)
from gateway.errors import ConfigurationError, GatewayError
from gateway.examination import examine
from gateway.ingest.data_folder import serving
from gateway.processes import board
from gateway.processes.metrics_folder import MetricsFolder
from gateway.processes.process import prepare_process
from gateway.processes.sockets import bind, web_url
from gateway.processes.spawning import command, ending
from gateway.supervision import Deaths, lasting
from gateway.telemetry import METRICS_FOLDER, set_verbosity, setup_logging
from gateway.workers.channel import Begin, Channel, Failed, Jobs, Listening, Stop, Systems, Unfit, Use, Verbosity
from gateway.workers.sizing import share

log = logging.getLogger(__name__)

_GRACE = 15.0
"""Seconds beyond `dicom.drain_timeout` for running requests, then SIGKILL."""


def as_started(first: Settings, now: Settings) -> Settings:
    """The current settings, except those that only a restart of the whole gateway changes, which stay as in `first`.

    A worker that is restarted must open the same data folder as the others, and listen as they do.
    """
    replace = msgspec.structs.replace
    for name in AT_START:
        section, _, field = name.partition(".")
        kept = {field: getattr(getattr(first, section), field)}
        now = replace(now, **{section: replace(getattr(now, section), **kept)})
    if bool(now.http.certificate) != bool(first.http.certificate):
        now = replace(now, http=replace(now.http, certificate=first.http.certificate, key=first.http.key))
    return now


class Worker:
    """One place in the group, and its current process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.listening = asyncio.Event()
        self.unfit: Unfit | None = None
        self.deaths = Deaths()


class Parent:
    """Runs the workers: `start`, `use` any number of times, `stop`. Belongs to one event loop."""

    def __init__(self, settings: Settings, count: int) -> None:
        """Binds the sockets. Raises ConfigurationError."""
        prepare_process()
        self.settings = self._first = settings
        self.sockets = bind(settings)
        self.workers = [Worker(number) for number in range(1, count + 1)]
        self._board_descriptor = board.make(count)
        self._board = board.Scoreboard(self._board_descriptor)
        self._metrics = MetricsFolder()
        self._snapshot = 1
        self._failures: list[str] = []
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all workers; returns when all listen.

        The first worker opens the data folder alone, migrates and recovers it; then the others start. Raises:
        ConfigurationError or GatewayError with the reason of the first that cannot start.
        """
        for some in (self.workers[:1], self.workers[1:]):
            self._keepers += [
                asyncio.create_task(lasting(f"watching worker {worker.number}", functools.partial(self._keep, worker)))
                for worker in some
            ]
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
        """Send a checked snapshot to all workers. Raises ConfigurationError, with nothing changed."""
        ready = await asyncio.to_thread(examine, settings)
        announce(self.settings, settings, ready)
        self.settings, self._snapshot = settings, self._snapshot + 1
        setup_logging(settings.log.level, settings.log.format)
        part = self._part()
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send(Use(self._snapshot, part))

    def _part(self) -> Settings:
        """The current settings with each worker's share of the limits."""
        return share(as_started(self._first, self.settings), len(self.workers))

    async def stop(self) -> None:
        """Drain and end all workers, and close everything."""
        self._stopping = True
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send(Stop())
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=self.settings.dicom.drain_timeout + _GRACE)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self.sockets.close()
        self._board.close()
        self._metrics.close()

    async def _keep(self, worker: Worker) -> None:
        """Run a process in one place, restarting it until the parent stops, unless the first start fails."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began, first = loop.time(), not worker.listening.is_set() and not worker.deaths.count
            try:
                how = ending(await self._live(worker))
            except OSError as error:
                how = f"cannot be started: {error.strerror}"
                if first:
                    log.error("worker %d %s", worker.number, how)
            if self._stopping or (first and not worker.listening.is_set()):
                return
            pause = worker.deaths.after(loop.time() - began)
            why = f": {worker.unfit.why}" if worker.unfit is not None else ""
            log.error("worker %d %s%s; it is started again in %.1f s", worker.number, how, why, pause)
            await asyncio.sleep(pause)

    async def _live(self, worker: Worker) -> int:
        """Run one process to its end; returns its exit code, negative for a signal."""
        ours, theirs = socket.socketpair()
        plain, tls = (each.fileno() if each is not None else None for each in self.sockets[:2])
        descriptors = [theirs.fileno(), self._board_descriptor]
        descriptors += [each.fileno() for each in self.sockets if each is not None]
        try:
            process = await asyncio.create_subprocess_exec(
                *command("gateway.workers.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**os.environ, METRICS_FOLDER: self._metrics.path},
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
                dicom=plain,
                tls=tls,
                web=self.sockets.web.fileno(),
                failures=self._failures,
            )
        )
        if self._stopping:
            channel.send(Stop())
        hearing = asyncio.create_task(
            lasting(f"hearing worker {worker.number}", functools.partial(self._hear, worker, channel))
        )
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
            mark_process_dead(process.pid, self._metrics.path)  # type: ignore[no-untyped-call]

    async def _hear(self, worker: Worker, channel: Channel) -> None:
        async for message in channel.messages():
            match message:
                case Listening():
                    worker.listening.set()
                    log.info("worker %d listens", worker.number)
                case Unfit():
                    worker.unfit = message
                    if worker.listening.is_set() and message.snapshot == self._snapshot:
                        log.error("worker %d continues with the previous settings: %s", worker.number, message.why)
                case Failed():
                    self._fail(f"worker {worker.number}: {message.why}", worker)
                case Jobs():
                    if (first := self.workers[0].channel) is not None:
                        first.send(message)
                case Verbosity():
                    set_verbosity(message.level, message.category)
                    for each in self.workers:
                        if each.channel is not None:
                            each.channel.send(message)
                case Systems():
                    for other in self.workers:
                        if other is not worker and other.channel is not None:
                            other.channel.send(message)
                case _:
                    pass

    def _fail(self, why: str, of: Worker) -> None:
        """Report a failure of the store to every other worker, and to those started later: all share one disk."""
        if why.removeprefix(f"worker {of.number}: ") in self._failures:
            return  # already reported by the parent
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
    on_listening: server.OnListening = lambda dicom, tls, web: None,
) -> int:
    """Serve like `server.serve`, in `count` processes."""
    async with serving(settings.storage):
        return await _serve(settings, count, config_file, overrides, on_listening)


async def _serve(
    settings: Settings,
    count: int,
    config_file: Path | None,
    overrides: Mapping[str, Any] | None,
    on_listening: server.OnListening,
) -> int:
    loop = asyncio.get_running_loop()
    stop, reload_requested = asyncio.Event(), asyncio.Event()
    read, began = await stamp_of(config_file), time.monotonic()
    await asyncio.to_thread(examine, settings)
    parent = Parent(settings, count)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
    keeper: asyncio.Task[None] | None = None
    try:
        await parent.start()
        await warn_of_unusable_folders(settings)
        keeper = loop.create_task(keep_current(parent, config_file, overrides, reload_requested, read))
        plain, tls = (each.getsockname()[:2] if each is not None else None for each in parent.sockets[:2])
        url = web_url(settings.http, parent.sockets.web.getsockname()[1])
        log_start(settings, plain, tls, url, count)
        on_listening(plain, tls, url)
        await stop.wait()
    finally:
        if keeper is not None:
            keeper.cancel()
        await parent.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    log_stop(began)
    return 0
