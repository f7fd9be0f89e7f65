"""Inputs that were worth keeping: one zip for each target, each member the smallest that takes some turn in our code.

They come from `make fuzz KEEP=yes`, which leaves none that adds nothing, and none that `others.py` finds to harm other
software. The suite runs all of them.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import gateway

CORPUS = Path(__file__).with_name("corpus")
_OURS = str(Path(gateway.__file__).parent)
Turn = tuple[str, int, int]
"""A file, and two lines that were run one after the other."""


def read(name: str) -> list[bytes]:
    """The inputs of a target, in a fixed order."""
    path = CORPUS / f"{name}.zip"
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return [archive.read(member) for member in archive.namelist()]


def write(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these and no others. The same inputs make the same file."""
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for data in sorted(set(inputs), key=lambda each: (len(each), each)):
            archive.writestr(zipfile.ZipInfo(hashlib.sha256(data).hexdigest()[:16]), data)


def turns(run: Callable[[bytes], None], data: bytes) -> set[Turn]:
    """What an input takes in the code of `gateway`."""
    found: set[Turn] = set()

    def follow(frame: FrameType, event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS):
            return None
        before = 0

        def line(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal before
            if event == "line":
                found.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line

    sys.settrace(follow)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return found


def fewest(run: Callable[[bytes], None], inputs: Iterable[bytes]) -> tuple[list[bytes], set[Turn]]:
    """Those that together take every turn that all take, the smallest first, and these turns."""
    kept: list[bytes] = []
    taken: set[Turn] = set()
    for data in sorted(set(inputs), key=lambda each: (len(each), each)):
        new = turns(run, data) - taken
        if new:
            kept.append(data)
            taken |= new
    return kept, taken
