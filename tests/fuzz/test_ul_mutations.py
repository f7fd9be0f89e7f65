"""A million mutated PDUs against the protocol core in memory, with an association served in between."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from tests.support import mutations
from tests.support.links import CT, Link

TRIALS = 1_000_000
BATCH = 50_000


@pytest.mark.fuzz
@pytest.mark.timeout(900)
def test_a_million_mutated_pdus() -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    begun = time.perf_counter()
    aborted = 0
    for batch in range(TRIALS // BATCH):
        aborted += mutations.run(BATCH, seed + batch).aborted
        link = Link()
        link.open()
        link.requestor.send_data(3, True, b"still there", True)
        assert len(link.to_acceptor()) == 1
        assert link.acceptor.contexts[3].abstract_syntax == CT
    print(f"{TRIALS} mutated PDUs in {time.perf_counter() - begun:.1f} s, {aborted} aborted")


@pytest.mark.fuzz
def test_nothing_is_left_behind() -> None:
    mutations.run(2000, seed=1)
    tracemalloc.start()
    try:
        mutations.run(2000, seed=2)
        before = tracemalloc.get_traced_memory()[0]
        mutations.run(10_000, seed=3)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 64 * 1024
