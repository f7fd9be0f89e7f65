"""DICOM JSON of every sample file beside DCMTK's dcm2json and pydicom's; differences are listed in support/."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from gateway.dicom.json import encode_data_set
from gateway.errors import DataSetError
from tests.support import peers
from tests.support.datasets import data_sets_of, has_preamble, samples
from tests.support.json_differences import unexplained


def all_samples() -> list[Path]:
    """pydicom's own, and those of pydicom-data where it is installed."""
    found = list(samples())
    spec = importlib.util.find_spec("pydicom_data")
    for folder in (spec and spec.submodule_search_locations) or ():
        found += sorted(path for path in Path(folder).rglob("*") if path.is_file() and has_preamble(path))
    return found


def ours() -> Iterator[tuple[Path, str, dict[str, object]]]:
    for path, syntax, data in data_sets_of(all_samples()):
        try:
            text = encode_data_set(
                lambda offset, length, data=data: data[offset : offset + length],
                0,
                len(data),
                syntax,
                bulk_data_uri=lambda path: path,
            )
        except DataSetError:
            continue  # malformed
        yield path, syntax, json.loads(text)


@pytest.mark.interop
@pytest.mark.slow
def test_as_dcmtk() -> None:
    dcm2json = peers.need("dcm2json")
    wrong: list[str] = []
    compared = 0
    for path, syntax, mine in ours():
        done = subprocess.run([dcm2json, "-fc", "-q", str(path)], capture_output=True, timeout=30)
        if done.returncode:
            continue
        theirs = json.loads(done.stdout.decode("utf-8", "replace"))
        theirs = {key: value for key, value in theirs.items() if not key.startswith("0002")}
        found, alike = unexplained(mine, theirs, syntax)
        wrong += [f"{path.name}/{each}" for each in found]
        compared += alike
    assert wrong == []
    assert compared > 8_000


@pytest.mark.slow
def test_as_pydicom() -> None:
    wrong: list[str] = []
    compared = 0
    for path, syntax, mine in ours():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(path, force=True).to_json_dict(
                bulk_data_threshold=1025, bulk_data_element_handler=lambda _: "uri", suppress_invalid_tags=True
            )
        found, alike = unexplained(mine, theirs, syntax)
        wrong += [f"{path.name}/{each}" for each in found]
        compared += alike
    assert wrong == []
    assert compared > 10_000
