"""Fuzz with coverage: `make fuzz`, or `python -m tests.fuzz.run pdu dimse --seconds 60`.

Each target runs in a process of its own under Atheris (libFuzzer), which keeps inputs that reach new code and goes on
from them. These processes are forks of one that has instrumented the code, which takes seconds. For each target there
is a line: executions, the edges of our code that were covered, and when the last new one was found. With `--slices` a
target is run again and again, each time from all that was found, until one run of `--seconds` has reached no new edge:
a plateau, which the line then names. An input that shows a fault is printed and saved in `--artifacts`; the exit code
is then 1. With `--keep` the corpus in the tree becomes what covers most in the fewest inputs, old and new, without
those on which other software ends or hangs. Without Atheris it says so and leaves with 2.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import corpora, others

NAMES = (
    *("pdu", "dimse", "identifier"),
    *("dataset", "part10", "charset", "header", "report"),
    *("json", "xml", "workflow", "answer"),
    *("multipart", "zip", "accept", "query", "fields"),
    *("codestream", "residue", "frames", "picture"),
    "change",
    *("toml", "name"),
)
ROOT = Path(__file__).parents[2]
MAX_SECONDS_OF_ONE = 10
MAX_MEMORY_MIB = 2048
_END = "# the exit code of the target: "
_PROGRESS = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)")


@dataclass
class Report:
    """What came of a target. Coverage is of edges in the modules of `gateway` that were imported."""

    target: str
    seconds: float = 0.0
    executions: int = 0
    began_with: int = 0
    """Edges that seeds and corpus cover."""
    edges: int = 0
    last_growth_s: float = 0.0
    """When the last new edge was reached, after the start."""
    still_executions: int = 0
    """Executions since then."""
    plateau: bool = False
    """Whether a whole slice has passed since then."""
    fault: str = ""
    """The last lines of what was said about an input that showed one."""


class Fuzzer:
    """The process with the instrumented code. It forks one of its own for each slice of a target."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def fuzz(self, name: str, seconds: int, artifacts: Path, folder: Path, slices: int = 1) -> Report:
        """Run one target on the inputs in `folder`, where those that it finds go too: `slices` times at most, `seconds`
        each, until one slice has found no new edge."""
        whole = Report(name)
        for number in range(slices):
            one = self._slice(name, seconds, artifacts, folder)
            whole.began_with = whole.began_with if number else one.began_with
            grown = one.edges > whole.edges
            if grown:
                whole.edges, whole.last_growth_s = one.edges, round(whole.seconds + one.last_growth_s, 1)
            whole.still_executions = one.still_executions if grown else whole.still_executions + one.executions
            whole.seconds, whole.executions = round(whole.seconds + one.seconds, 1), whole.executions + one.executions
            whole.fault, whole.plateau = one.fault, number > 0 and not grown
            if whole.fault or whole.plateau:
                break
        return whole

    def _slice(self, name: str, seconds: int, artifacts: Path, folder: Path) -> Report:
        artifacts.mkdir(parents=True, exist_ok=True)
        options = [f"-max_total_time={seconds}", f"-timeout={MAX_SECONDS_OF_ONE}", f"-rss_limit_mb={MAX_MEMORY_MIB}"]
        options += [f"-artifact_prefix={artifacts}/{name}-", "-print_final_stats=1", str(folder)]
        report, began, text, growth = Report(name), time.monotonic(), [], 0
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        print(json.dumps([name, options]), file=self._process.stdin, flush=True)
        code = "1"  # where not even an end is said
        for line in self._process.stderr:
            if line.startswith(_END):
                code = line.removeprefix(_END).strip()
                break
            if found := _PROGRESS.match(line):
                report.executions, edges = int(found[1]), int(found[3])
                if found[2] == "INITED":
                    report.began_with = edges
                if edges > report.edges:
                    report.edges, report.last_growth_s = edges, round(time.monotonic() - began, 1)
                    growth = report.executions
                continue
            text = [*text[-40:], line]
            if line.startswith("stat::number_of_executed_units:"):
                report.executions = int(line.split()[1])
        report.seconds, report.still_executions = round(time.monotonic() - began, 1), report.executions - growth
        if code != "0":
            report.fault = "".join(text) or f"the fuzzer has ended: {code}"
        return report


@contextlib.contextmanager
def fuzzer() -> Iterator[Fuzzer]:
    """A fuzzer until the `with` ends, and with it the process."""
    command = [sys.executable, "-m", "tests.fuzz.run", "--inside"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Fuzzer(process)
        finally:
            process.kill()


def _inside() -> None:
    """What a fuzzer's process does: a fork for each line of standard input, one after the other."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["gateway"], enable_loader_override=False):
        from tests.fuzz import targets
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _fuzz(atheris, targets, *json.loads(line))
        _, status = os.waitpid(child, 0)
        print(f"{_END}{os.waitstatus_to_exitcode(status)}", file=sys.stderr, flush=True)


def _fuzz(atheris: Any, targets: Any, name: str, options: list[str]) -> None:
    """Fuzz one target; the process ends with it."""
    try:
        target = targets.TARGETS[name]
        warnings.simplefilter("error")
        for seed in target.seeds():  # what is imported at the first use is not the input's fault
            target.judge(seed)
        atheris.Setup([sys.argv[0], f"-max_len={targets.MAX_SIZE}", *options], target.run)
        atheris.Fuzz()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def _all(arguments: argparse.Namespace) -> int:
    from tests.fuzz import targets

    failed = 0
    with fuzzer() as forks:
        for name in arguments.targets or NAMES:
            with tempfile.TemporaryDirectory() as folder:
                grown = Path(folder)
                target = targets.TARGETS[name]
                for number, data in enumerate([*target.seeds(), *corpora.read(name)]):
                    (grown / f"{number}").write_bytes(data)
                report = forks.fuzz(name, arguments.seconds, arguments.artifacts, grown, arguments.slices)
                shown = {key: value for key, value in asdict(report).items() if key != "fault"}
                print(json.dumps(shown), flush=True)
                if report.fault:
                    failed += 1
                    print(report.fault, file=sys.stderr)
                elif arguments.keep:
                    kept, _ = corpora.fewest(target.judge, (path.read_bytes() for path in grown.iterdir()))
                    corpora.write(name, others.harmless(name, kept))
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--slices", type=int, default=1, help="so many times at most, until one finds no new edge")
    parser.add_argument("--keep", action="store_true", help="replace the corpus in the tree")
    parser.add_argument("--artifacts", type=Path, default=Path(tempfile.gettempdir(), "fuzz-faults"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("NOT FUZZED: Atheris is not here; pip install -e '.[fuzz]' (Python 3.11 to 3.13)", file=sys.stderr)
        return 2
    if arguments.inside:
        _inside()
        return 0
    return _all(arguments)


if __name__ == "__main__":
    sys.exit(main())
