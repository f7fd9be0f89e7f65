"""What is seen of a process on this machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

from loadtest import peers, watch
from loadtest.watch import Watch

CHILD = "import sys; kept = bytearray(80_000_000); print('ready', flush=True); sys.stdin.read()"
BUSY = f"""
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE)
    sys.stdin.readline()
    kept = bytearray(60_000_000)
    while time.process_time() < 0.5:
        pass
    print("done", flush=True)
    sys.stdin.readline()
    child.kill()
    child.wait()
"""


async def test_memory_and_time_of_a_process_and_its_children() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(BUSY)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(30):
        await process.stdout.readline()
        async with Watch(process.pid, 100_000_000) as watching:
            process.stdin.write(b"\n")
            await process.stdout.readline()
        process.stdin.write(b"\n")
        await process.communicate()
    usage = watching.usage
    assert usage.memory_before > 80_000_000  # The child's too.
    assert 40_000_000 < usage.memory_growth < 90_000_000
    assert 0.2 < usage.cpu_seconds < 1
    assert 0 < max(sample.cpus for sample in usage.samples) < 2.5
    assert usage.samples[0].at == 0
    assert usage.budget == 100_000_000


BURN = "import time\nwhile time.process_time() < 0.4:\n    pass"
BURN_AND_WAIT = f"{BURN}\nprint('burnt', flush=True)\ninput()"
SPENT = f"""
    import subprocess, sys
    subprocess.run([sys.executable, "-c", {BURN!r}])
    child = subprocess.Popen([sys.executable, "-c", {BURN_AND_WAIT!r}])
    child.communicate()
"""


def test_processor_time_of_children_counts_those_that_have_ended_too() -> None:
    command = [sys.executable, "-c", textwrap.dedent(SPENT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        used = watch.cpu_seconds(process.pid)
        process.kill()
    assert 0.8 <= used < 2


async def test_a_process_that_is_gone_is_no_error() -> None:
    async with Watch(2**22 - 1) as watching:
        pass
    assert watching.usage.memory_peak == 0


def test_who_listens_is_found_on_this_machine_and_nowhere_else(tmp_path: Path) -> None:
    with peers.sink(tmp_path) as sink:
        assert watch.listening("127.0.0.1", sink.port) == sink.pid
        assert "loadtest sink" in watch.command_of(sink.pid)
    assert watch.listening("192.0.2.1", sink.port) is None
    assert watch.listening("127.0.0.1", peers.free_port()) is None
