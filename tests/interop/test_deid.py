"""De-identified samples, read by DCMTK's dcmdump row by row of the standard's table, and judged by dciodvfy."""

from __future__ import annotations

import collections
import functools
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.config.deidentify import Deidentify
from gateway.dicom import part10
from gateway.dicom.uids import is_registered
from gateway.edit.deid import table
from gateway.edit.deid.deidentify import Deidentifier
from gateway.edit.deid.table import Action
from gateway.errors import DataSetError, EditError
from tests.support import peers
from tests.support.datasets import all_samples, data_sets_of

pytestmark = pytest.mark.interop

LINE = re.compile(r"^ *\(([0-9a-f]{4}),([0-9a-f]{4})\) (..) (.*?) +# *(\d+|u/l), *\d+ \S+$")
PSEUDONYMOUS = {0x00100010, 0x00100020, 0x00080050}
OURS = {0x00120062, 0x00120063, 0x00120064, 0x00280303}


def deidentified(folder: Path, **section: Any) -> Iterator[tuple[Path, Path]]:
    """Each sample that is a whole instance, and its file once it is de-identified."""
    folder.mkdir(exist_ok=True)
    deidentifier = Deidentifier.build(
        Deidentify(burned_in="ignore", recognizable="ignore", **section), b"k" * 32, "here"
    )
    for number, (path, syntax, data) in enumerate(data_sets_of(all_samples())):
        try:
            edited = deidentifier.apply(
                lambda offset, length, data=data: data[offset : offset + length], 0, len(data), syntax
            )
        except (DataSetError, EditError):  # EditError: its pixels are too broken to be looked into
            continue
        if not edited.sop_class_uid:
            continue  # a DICOMDIR
        target = folder / f"{number:03}-{path.name}"
        header = part10.file_header(
            sop_class_uid=edited.sop_class_uid,
            sop_instance_uid=edited.sop_instance_uid,
            transfer_syntax_uid=edited.transfer_syntax_uid,
        )
        target.write_bytes(header + edited.read(0, edited.length))
        edited.close()
        yield path, target


def dumps(program: str, files: Sequence[Path]) -> list[list[tuple[int, str, str]]]:
    """Tag, VR and value of every element at any depth, file by file, as dcmdump prints them: whole up to 64 KiB."""
    command = [program, "-q", "+F", "+L", "-Un", "-M", "+R", "64", *map(str, files)]
    done = subprocess.run(command, capture_output=True, encoding="latin-1", timeout=50, check=False)
    found: list[list[tuple[int, str, str]]] = []
    for line in done.stdout.splitlines():
        if len(found) < len(files) and line == f"# dcmdump ({len(found) + 1}/{len(files)}): {files[len(found)]}":
            found.append([])
        elif match := LINE.match(line):
            group, element, vr, value, _length = match.groups()
            value = value[1:-1] if value[:1] == "[" else "" if value.startswith("(no value") else value
            found[-1].append((int(group + element, 16), vr, value))
    assert len(found) == len(files)
    return found


def test_dcmdump_finds_each_row_of_the_table_done(tmp_path: Path) -> None:
    """PS3.15 Table E.1-1, on every sample, private attributes and sequences included."""
    dcmdump = peers.need("dcmdump")
    actions = table.resolve(())
    seen: collections.Counter[Action] = collections.Counter()
    originals, files = zip(*deidentified(tmp_path / "out"), strict=True)
    for original, before, after in zip(originals, dumps(dcmdump, originals), dumps(dcmdump, files), strict=True):
        had = collections.defaultdict(set)
        for tag, _vr, value in before:
            had[tag].add(value)
        for tag, vr, value in after:
            where = f"{original.name}: ({tag >> 16:04X},{tag & 0xFFFF:04X}) {vr} {value[:80]}"
            assert not tag >> 16 & 1, where
            assert not 0x5000 <= tag >> 16 <= 0x50FF, where
            assert not 0x6000 <= tag >> 16 <= 0x60FF, where
            if tag < 0x00080000 or tag >> 16 == 0xFFFE or tag in OURS:
                continue
            action = actions.get(tag)
            if action is None:
                continue
            seen[action] += 1
            assert action is not Action.REMOVE, where
            if tag in PSEUDONYMOUS:
                assert value == "" or value not in had[tag], where
            elif action is Action.EMPTY:
                assert value == "" or vr == "SQ", where
            elif action is Action.UID and vr == "UI":
                for uid in value.split("\\"):
                    assert uid == "" or uid.startswith(("2.25.", "=")) or is_registered(uid), where
            elif action is Action.DUMMY and vr != "SQ":
                assert value == "" or value not in had[tag] - {"REMOVED", "000000"}, where
    assert len(files) > 150
    assert {Action.EMPTY, Action.UID, Action.DUMMY} <= seen.keys()
    assert sum(seen.values()) > 3000


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("clean-descriptors", "clean-graphics", "clean-structured-content", "retain-modified-dates"),
        ("retain-uids", "retain-device-identity", "retain-patient-characteristics", "retain-full-dates"),
    ],
)
def test_dciodvfy_finds_no_new_error(options: tuple[str, ...], tmp_path: Path) -> None:
    dciodvfy = peers.need("dciodvfy")
    new = {}
    for original, file in deidentified(tmp_path / "out", options=options):
        before, after = errors(dciodvfy, original), errors(dciodvfy, file)
        if after - before and "Error - Dicom dataset read failed" not in before:
            new[original.name] = sorted(after - before)
    assert new == {}


@functools.cache
def errors(program: str, file: Path) -> set[str]:
    """Without values, and without group 0002, which is the test's."""
    done = subprocess.run([program, str(file)], capture_output=True, encoding="latin-1", timeout=50, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error") and "Media Storage" not in line]
    return {re.sub(r"<[^>]*>|\[.*\]|[\d.]+", "", line).strip() for line in lines}
