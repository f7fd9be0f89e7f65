"""Destinations that are open: one for each name, and all closed in time, whatever hangs."""

from __future__ import annotations

import asyncio

import pytest

from gateway.config import Settings
from gateway.forwarding import destinations
from gateway.forwarding.destinations import Destinations


class Hanging:
    """A destination whose last request is never answered."""

    def __init__(self) -> None:
        self.broken_off = False

    async def close(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.broken_off = True


@pytest.mark.case("broken 32 a stop keeps its time whatever a destination does")
async def test_a_stop_breaks_off_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(destinations={"nas": {"kind": "folder", "path": "/nowhere"}})  # type: ignore[dict-item]
    hanging = Hanging()
    monkeypatch.setattr(destinations, "open_destination", lambda name, section, settings: hanging)
    opened = Destinations(lambda: settings)
    assert opened.get("nas") is hanging  # type: ignore[comparison-overlap]
    async with asyncio.timeout(10):
        await opened.close(0.0)
    assert hanging.broken_off
