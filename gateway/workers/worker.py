"""One worker: a gateway on sockets that it has been given, which lives no longer than its parent.

Everything that it serves is `gateway/server.py`; here are its beginning, what the parent tells it, and its end.
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

from gateway import server
from gateway.errors import ConfigurationError, GatewayError
from gateway.sharing.board import Board
from gateway.sharing.group import Group
from gateway.telemetry import setup_logging
from gateway.workers.channel import Begin, Channel, Failed, Jobs, Listening, Stop, Unfit, Use

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_WAKE_EVERY = 0.02
"""Seconds between two words to the parent that there are jobs."""


def main() -> None:
    """Run with the descriptor of the channel as the only argument."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # of the terminal, to the whole group: the parent decides
    sys.exit(uvloop.run(_run(socket.socket(fileno=int(sys.argv[1])))))


def die_with(parent: int) -> None:
    """From now on the kernel kills us when our parent dies; it may have died already."""
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
    setup_logging(settings.log.level, settings.log.format, worker=begin.number)
    loop = asyncio.get_running_loop()
    telling: list[asyncio.TimerHandle] = []

    def tell_jobs() -> None:
        if not telling:
            telling.append(loop.call_later(_WAKE_EVERY, told))

    def told() -> None:
        telling.clear()
        channel.send(Jobs())

    group = Group(
        number=begin.number,
        count=begin.count,
        board=Board(begin.board, begin.number - 1),
        dicom=socket.socket(fileno=begin.dicom),
        tls=socket.socket(fileno=begin.tls) if begin.tls is not None else None,
        web=socket.socket(fileno=begin.web),
        failures=begin.failures,
        tell_failure=lambda why: channel.send(Failed(why)),
        tell_jobs=tell_jobs,
    )
    try:
        async with server.running(settings, group) as gateway:
            stop = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            reporting = loop.create_task(group.keep_reporting())

            async def listen() -> None:
                async for message in messages:
                    if isinstance(message, Use):
                        await _use(gateway, channel, message)
                    elif isinstance(message, Failed):
                        gateway.folder.health.fail(message.why)
                    elif isinstance(message, Jobs):
                        group.wake_jobs()
                    elif isinstance(message, Stop):
                        stop.set()
                os._exit(1)  # Our parent has gone: another gateway may be on its way, and nobody would stop us.

            listening = loop.create_task(listen())
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
