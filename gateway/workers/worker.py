"""One worker: a gateway on inherited sockets, which dies with its parent.

`gateway/server.py` has the gateway; its start, the messages of the parent, and its end are here.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys

import uvloop

from gateway import server, telemetry
from gateway.errors import ConfigurationError, GatewayError
from gateway.processes.board import Scoreboard
from gateway.processes.group import Group
from gateway.processes.sockets import Sockets
from gateway.storage.failures import NO_DESCRIPTORS
from gateway.supervision import lasting
from gateway.workers.channel import Begin, Channel, Failed, Jobs, Listening, Stop, Systems, Unfit, Use, Verbosity

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_WAKE_EVERY = 0.02
"""Seconds between two messages to the parent about new jobs."""


def main() -> None:
    """Run a worker. The only argument is the descriptor of the channel."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the terminal signals the whole group: the parent decides
    try:
        sys.exit(uvloop.run(_run(socket.socket(fileno=int(sys.argv[1])))))
    except Exception as error:
        if not _lacks_descriptors(error):
            raise
        sys.exit("a worker cannot run: the limit on open files is reached; raise it")


def _lacks_descriptors(error: BaseException | None) -> bool:
    """Whether a lack of descriptors is behind an error; uvloop raises others while it closes a loop that met one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_DESCRIPTORS:
            return True
        error = error.__context__
    return False


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


async def _run(end: socket.socket) -> int:
    channel = await Channel.open(end)
    messages = channel.messages()
    begin = await anext(messages)
    assert isinstance(begin, Begin)
    die_with(begin.parent)
    settings = begin.settings
    telemetry.setup_logging(settings.log.level, settings.log.format, worker=begin.number)
    loop = asyncio.get_running_loop()
    pending: list[asyncio.TimerHandle] = []

    def report_job() -> None:
        if not pending:
            pending.append(loop.call_later(_WAKE_EVERY, send_jobs))

    def send_jobs() -> None:
        pending.clear()
        channel.send(Jobs())

    group = Group(
        number=begin.number,
        count=begin.count,
        board=Scoreboard(begin.board, begin.number - 1),
        sockets=Sockets(
            socket.socket(fileno=begin.dicom) if begin.dicom is not None else None,
            socket.socket(fileno=begin.tls) if begin.tls is not None else None,
            socket.socket(fileno=begin.web),
        ),
        failures=begin.failures,
        report_failure=lambda why: channel.send(Failed(why)),
        report_job=report_job,
        report_systems=lambda: channel.send(Systems()),
        report_verbosity=lambda level, category: channel.send(Verbosity(level, category)),
        main_process=begin.parent,
    )
    try:
        async with server.running(settings, group) as gateway:
            stop = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            reporting = loop.create_task(lasting("reporting to the other workers", group.report_forever))

            async def listen() -> None:
                async for message in messages:
                    if isinstance(message, Use):
                        await _use(gateway, channel, message)
                    elif isinstance(message, Failed):
                        gateway.health.fail(message.why)
                    elif isinstance(message, Jobs):
                        gateway.jobs_added.set()
                    elif isinstance(message, Systems):
                        await gateway.refresh_systems()
                    elif isinstance(message, Verbosity):
                        telemetry.set_verbosity(message.level, message.category)
                    elif isinstance(message, Stop):
                        stop.set()
                os._exit(1)  # The parent died: another gateway may be starting, and this worker could not be stopped.

            listening = loop.create_task(lasting("hearing the parent", listen))
            channel.send(Listening())
            await stop.wait()
        for task in (reporting, listening):
            task.cancel()
        await asyncio.gather(reporting, listening, return_exceptions=True)
    except GatewayError as error:
        channel.send(Unfit(str(error), begin.snapshot))
        await channel.close()
        return 2 if isinstance(error, ConfigurationError) else 1
    finally:
        group.board.close()
    await channel.close()
    return 0


async def _use(gateway: server.Gateway, channel: Channel, message: Use) -> None:
    try:
        await gateway.use(message.settings)
    except ConfigurationError as error:
        channel.send(Unfit(str(error), message.snapshot))
