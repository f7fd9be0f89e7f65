"""Results as files of a repository: every single run with the machine and the versions, and nothing that names a place.

`report/benchmark.py` makes the tables of BENCHMARK.md of them.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ConfigurationError
from loadtest.compare.growth import Growth
from loadtest.compare.table import Comparison

Record = Comparison | Growth
_TEXTS = ("trouble", "troubles", "remarks", "notes", "command")
"""Fields of free text, in which programs may have named folders and hosts."""


def write(folder: Path, found: Record, private: Iterable[object]) -> Path:
    """Write a result to a new file in a folder, without `private` and this machine's name in its texts."""
    kind = "growth" if isinstance(found, Growth) else "compare"
    file = folder / f"{kind}-{re.sub(r'[^0-9T]', '', found.began[:19]).replace('T', '-')}.json"
    ours = (Path(__file__).parents[1], Path.home(), socket.gethostname())
    names = {str(each) for each in (*private, *ours) if len(str(each)) > 1}
    pattern = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(_without(msgspec.to_builtins(found), pattern)), indent=1))
    return file


def read(folder: Path) -> dict[str, Record]:
    """All results in a folder by the name of the file, the newest first. Raises ConfigurationError."""
    found: dict[str, Record] = {}
    for file in folder.glob("*.json"):
        try:
            found[file.name] = msgspec.json.decode(file.read_bytes(), type=Record)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{file} is no result: {error}") from None
    return dict(sorted(found.items(), key=lambda each: (each[1].began, each[0]), reverse=True))


def _without(value: Any, pattern: re.Pattern[str], *, text: bool = False) -> Any:
    """The value with what the pattern matches left out of its fields of free text."""
    if isinstance(value, dict):
        return {key: _without(each, pattern, text=text or key in _TEXTS) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, pattern, text=text) for each in value]
    return pattern.sub("…", value) if text and isinstance(value, str) else value
