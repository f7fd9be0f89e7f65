"""Every test, in two processes of pytest side by side: what `make test` runs. Arguments are passed on to both.

One half is the folders of `PROGRAMS`, whose tests start programs and wait for them: the gateway itself, its peers,
browsers. The other half is all the rest, which computes. Together they keep two cores busy. The output of the rest is
shown as it comes, that of the programs after it, so that each reads as pytest wrote it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

TESTS = Path(__file__).parent
PROGRAMS = ("cli", "database", "faults", "interop", "migration", "workers")
"""Folders of `tests/` that make one half."""
HALVES = ("rest", "programs")
"""In the order in which they are shown."""
_LOOK_INTERVAL_S = 0.2
_END_TIMEOUT_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """The exit code of both halves, as `exit_code` has it."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        halves = [stack.enter_context(_running(half, arguments)) for half in HALVES]
        for half, (process, output) in zip(HALVES, halves, strict=True):
            print(f"\n=== Half of the tests: {half}", flush=True)
            _show(process, output)
            print(f"=== {half}: exit code {process.returncode} after {time.monotonic() - began:.0f} s", flush=True)
        return exit_code(process.returncode for process, _ in halves)


def half_of(path: Path) -> str:
    """The half that a file of tests, or a folder of them, belongs to."""
    return "programs" if any(path.is_relative_to(TESTS / name) for name in PROGRAMS) else "rest"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--half", choices=HALVES, help="these tests alone")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whether a folder or file need not be imported. What is named on the command line is not asked about."""
    if collection_path == TESTS or half_of(collection_path) == config.getoption("half"):
        return None
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    by_half: dict[str, list[pytest.Item]] = {half: [] for half in HALVES}
    for item in items:
        by_half[half_of(item.path)].append(item)
    items[:] = by_half.pop(config.getoption("half"))
    config.hook.pytest_deselected(items=[item for others in by_half.values() for item in others])


def exit_code(codes: Iterable[int]) -> int:
    """The exit code of pytest for all of `codes`: 0, 1 where tests failed, 5 where no half had any test, or whatever
    else the first broken half ended with: 3 for one that a signal ended.
    """
    left = [3 if code < 0 else code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    broken = [code for code in left if code > pytest.ExitCode.TESTS_FAILED]
    return (broken or [max(left, default=int(pytest.ExitCode.NO_TESTS_COLLECTED))])[0]


@contextlib.contextmanager
def _running(half: str, arguments: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """pytest, started, and the file that it writes to. Each half has a cache of its own: the one that ends last would
    overwrite what the other one failed at.
    """
    command = [sys.executable, "-m", "pytest", "-p", "tests.halves", "--half", half]
    command += ["-o", f"cache_dir=.pytest_cache/{half}", *arguments]
    command += ["--color=yes"] if sys.stdout.isatty() else []
    with tempfile.NamedTemporaryFile(prefix=f"gateway-tests-{half}-") as output:
        process = subprocess.Popen(
            command,
            cwd=TESTS.parent,
            stdin=subprocess.DEVNULL,
            stdout=output.fileno(),
            stderr=subprocess.STDOUT,
            process_group=0,  # A terminal interrupts a whole group: pytest would hear of it twice.
        )
        try:
            with Path(output.name).open("rb") as shown:
                yield process, shown
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # It ends the programs of its test.
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _show(process: subprocess.Popen[bytes], output: BinaryIO) -> None:
    """Write what is in the file to standard output until the process has ended."""
    while True:
        ended = process.poll() is not None
        sys.stdout.buffer.write(output.read())
        sys.stdout.buffer.flush()
        if ended:
            return
        time.sleep(_LOOK_INTERVAL_S)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
