"""Whether inputs harm other software: none that ends or hangs such a program is kept in this tree.

Tried are the programs that are here, of DCMTK, GDCM and dicom3tools, and pydicom, codecs and unzip. One that says what
is wrong and leaves is fine.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_PREFIX: Final = {"dataset": 1, "header": 4, "workflow": 1, "frames": 1, "picture": 1, "change": 1, "identifier": 2}
"""Bytes before the data set, by target."""
_DATA_SETS: Final = frozenset((*_PREFIX, "report", "part10", "dimse"))
_PYDICOM: Final = """
import sys, pydicom
for path in sys.argv[1:]:
    try:
        str(pydicom.dcmread(path, force=True))
    except Exception:
        pass
"""
_CODECS: Final = """
import sys, imagecodecs as codecs, openjpeg
decoders = [getattr(codecs, f"{name}_decode") for name in ("jpeg8", "jpegls", "jpeg2k", "htj2k", "ljpeg", "jpegxl")]
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    for decode in (*decoders, openjpeg.decode):
        try:
            decode(data)
        except Exception:
            pass
"""
_MAX_S: Final = 30
_ABORTED: Final = {128 + signal.SIGABRT, 128 + signal.SIGSEGV}


def harmless(name: str, inputs: Sequence[bytes]) -> list[bytes]:
    """The inputs of a target that no other program which is here ends or hangs on."""
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(folder, f"{number:05}.dcm"): data for number, data in enumerate(inputs)}
        for path, data in files.items():
            path.write_bytes(data[_PREFIX.get(name, 1 if name == "residue" else 0) :])
        for command, takes_many in _commands(name):
            for path in _harmed(command, list(files), takes_many=takes_many):
                del files[path]
        return list(files.values())


def _commands(name: str) -> list[tuple[list[str], bool]]:
    """What reads inputs of a target, and whether it takes many at once."""
    python = [sys.executable, "-W", "ignore", "-c"]
    commands: list[tuple[list[str], bool]] = []
    if name in _DATA_SETS:
        commands += [(["dcmdump", "-q"], True), (["dcmdump", "-q", "-f"], True), ([*python, _PYDICOM], True)]
        commands += [(["gdcmdump"], False), (["dciodvfy"], False)]
    elif name in ("codestream", "residue"):
        commands.append(([*python, _CODECS], True))
    elif name == "zip":
        commands.append((["unzip", "-tqq"], False))
    return [each for each in commands if shutil.which(each[0][0])]


def _harmed(command: list[str], paths: list[Path], *, takes_many: bool) -> list[Path]:
    if not takes_many:
        return [path for path in paths if _is_harmed(command, [path])]
    if not paths or not _is_harmed(command, paths):
        return []
    half = len(paths) // 2
    if not half:
        return paths
    return [each for part in (paths[:half], paths[half:]) for each in _harmed(command, part, takes_many=True)]


def _is_harmed(command: list[str], paths: list[Path]) -> bool:
    try:
        done = subprocess.run(
            [*command, *map(str, paths)], capture_output=True, timeout=_MAX_S + len(paths), check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode < 0 or done.returncode in _ABORTED
