"""Every parser of foreign bytes on the inputs that were kept, on changes of these, and for a moment with Atheris."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.fuzz import corpora, others, run
from tests.fuzz.targets import MAX_SIZE, TARGETS
from tests.support import peers
from tests.support.mutations import mutate

SECONDS = 1
"""Of Atheris, for each target."""
TRIALS = 1000
LONG = 64 << 10
"""Bytes."""
MAX_LONG_CPU_S = 3.0
"""Of one of these inputs; where all is linear, the longest takes 0.7."""


def test_each_can_be_asked_for_by_name() -> None:
    assert set(run.NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept(name: str) -> None:
    kept = corpora.read(name)
    assert kept
    assert max(map(len, kept)) <= MAX_SIZE
    seeds = TARGETS[name].seeds()
    for data in seeds:  # what is imported at the first use is not the input's fault
        TARGETS[name].judge(data)
    for data in [*seeds, *kept]:
        TARGETS[name].run(data)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_long_takes_as_much_longer(name: str) -> None:
    """Inputs that were kept, their halves and their middles again and again: 64 times as long as they may be there."""
    inputs = [*TARGETS[name].seeds(), *corpora.read(name)]
    for data in inputs:
        TARGETS[name].judge(data)
    for data in filter(None, inputs):
        half, times = len(data) // 2, LONG // len(data)
        for long in (
            data[:1] + data[1:] * times,
            data + data[half:] * times,
            data[:half] + data[half : half + 8] * (LONG // 8) + data[half:],
        ):
            began = time.thread_time()
            TARGETS[name].judge(long)
            assert time.thread_time() - began < MAX_LONG_CPU_S, long.hex()


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_it(name: str) -> None:
    """Without Atheris too: that one is not made for every Python."""
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    inputs = [*TARGETS[name].seeds(), *corpora.read(name)]
    for _ in range(TRIALS):
        data = mutate(chance.choice(inputs), chance.choice(inputs) or b"\0", chance)
        began = time.thread_time()
        try:
            TARGETS[name].run(data)
        except Exception as error:
            error.add_note(f"seed {seed}: {data.hex()}")
            raise
        assert time.thread_time() - began < 5, f"seed {seed}: {data.hex()}"


@pytest.fixture(scope="module")
def forks() -> Iterator[run.Fuzzer]:
    peers.need("atheris")
    with run.fuzzer() as fuzzer:
        yield fuzzer


@pytest.mark.fuzz
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", TARGETS)
def test_with_coverage(name: str, forks: run.Fuzzer, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number, data in enumerate([*TARGETS[name].seeds(), *corpora.read(name)]):
        (folder / f"{number}").write_bytes(data)
    report = forks.fuzz(name, SECONDS, tmp_path / "faults", folder)
    print(report)
    assert not report.fault, report.fault
    assert report.executions > 0
    assert report.edges >= report.began_with > 0


@pytest.mark.timeout(180)
def test_a_fault_is_found_and_shown(forks: run.Fuzzer, tmp_path: Path) -> None:
    """The way there works: a target that does not exist ends with words, and not with a report of no fault."""
    report = forks.fuzz("none", 1, tmp_path, tmp_path)
    assert "KeyError" in report.fault


def test_slices_end_where_one_has_found_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        run.Report("pdu", 5.0, 100, 7, 9, 4.0, still_executions=10),
        run.Report("pdu", 5.0, 200, 9, 10, 1.0, still_executions=150),
        run.Report("pdu", 5.0, 300, 10, 10, 0.5, still_executions=290),
    ]
    monkeypatch.setattr(run.Fuzzer, "_slice", lambda *_: made.pop(0))
    report = run.Fuzzer(cast(subprocess.Popen[str], None)).fuzz("pdu", 5, tmp_path, tmp_path, slices=9)
    assert (report.executions, report.seconds, report.began_with, report.edges) == (600, 15.0, 7, 10)
    assert (report.last_growth_s, report.still_executions, report.plateau) == (6.0, 450, True)
    assert not made


def test_what_harms_other_software_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One program takes files one by one, another all of them; which input it was is found either way."""
    script = "import os, sys\nif any(b'x' in open(path, 'rb').read() for path in sys.argv[1:]): os.abort()"
    for takes_many in (False, True):
        monkeypatch.setattr(others, "_commands", lambda _, many=takes_many: [([sys.executable, "-c", script], many)])
        assert others.harmless("zip", [b"a", b"x", b"b", b"c", b"xx"]) == [b"a", b"b", b"c"]
