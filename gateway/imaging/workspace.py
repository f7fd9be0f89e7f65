"""The resources for work on the pixels of one object: a memory budget for frames, and a folder for temporary files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final


def _unlimited(_size: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder of temporary files, and the memory budget of frames."""

    folder: Path | None = None
    """The folder of temporary files; None: that of the system."""
    reserved: Callable[[int], AbstractContextManager[None]] = _unlimited
    """Reserves bytes of memory until the context is left; waits for them, in a thread. Raises: Overloaded."""


ANY: Final = Workspace()
"""A workspace without limits, for commands that process one object after the other."""
