"""Mutated objects: another object or an error of ours, and never a word of the patient's in a place that is moved."""

from __future__ import annotations

import random

import pytest

from gateway.config.deidentify import Deidentify, Rectangles
from gateway.edit.deid.deidentify import Deidentifier
from gateway.errors import GatewayError
from tests.support.datasets import data_sets

KEY = b"0123456789abcdef"
SECTIONS = (
    Deidentify(burned_in="ignore"),
    Deidentify(
        burned_in="ignore",
        options=(
            *("clean-descriptors", "clean-graphics", "clean-structured-content", "retain-modified-dates"),
            "retain-safe-private",
        ),
    ),
    Deidentify(rectangles=(Rectangles(match={"Modality": "*"}, areas=((0, 0, 5, 5),)),), options=("clean-graphics",)),
)


@pytest.mark.parametrize("trials", [1500, pytest.param(30_000, marks=[pytest.mark.fuzz, pytest.mark.slow])])
def test_mutated_objects(trials: int) -> None:
    rng = random.Random(trials)
    originals = [(syntax, data) for _path, syntax, data in data_sets() if len(data) < 40_000]
    deidentifiers = [Deidentifier.build(section, KEY, "here") for section in SECTIONS]
    whole = 0
    for _ in range(trials):
        syntax, data = rng.choice(originals)
        mutable = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(mutable))
            how = rng.random()
            if how < 0.6:
                mutable[at] = rng.randrange(256)
            elif how < 0.8:
                del mutable[at : at + rng.randint(1, 8)]
            else:
                mutable[at:at] = rng.randbytes(rng.randint(1, 8))
        changed = bytes(mutable)
        try:
            edited = rng.choice(deidentifiers).apply(
                lambda offset, length, changed=changed: changed[offset : offset + length], 0, len(changed), syntax
            )
        except GatewayError:
            continue
        assert len(edited.read(0, edited.length)) == edited.length
        assert all(len(change.before) <= 64 for change in edited.changes)
        edited.close()
        whole += 1
    assert whole > trials // 10
