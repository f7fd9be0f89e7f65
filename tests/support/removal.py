"""Deleting the sources of a job, and what stops it halfway."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway.admin.deletion import Removal
from gateway.errors import RetainedByCommitment


def stop_deleting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have storage commitment retain what is left once one instance is deleted."""
    original, calls = Removal.as_copied, itertools.count()

    async def some(self: Removal, *given: Any) -> Any:
        match next(calls):
            case 0:
                return "newer"  # The whole stays, and instances go one by one.
            case 1:
                return await original(self, *given)
        raise RetainedByCommitment("it stays for now")

    monkeypatch.setattr(Removal, "as_copied", some)
