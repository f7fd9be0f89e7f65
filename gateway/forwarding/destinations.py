"""Open destinations: one object for each name, replaced when the settings of the destination have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config import Settings
from gateway.config.destinations import Destination as Section
from gateway.errors import PermanentFailure
from gateway.remote.destination import Destination
from gateway.remote.kinds import open_destination
from gateway.routing.hours import Hours


class Destinations:
    """Opens each destination at its first use; `close` closes all of them. Belongs to one event loop."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._open: dict[str, tuple[Section, object, Destination]] = {}
        self._hours: dict[str, tuple[Section, Hours]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, name: str) -> Destination:
        """The destination under the current settings. Raises PermanentFailure when the settings have none of that
        name."""
        settings = self._settings()
        section = settings.destinations.get(name)
        if section is None:
            raise PermanentFailure(f"there is no [destinations.{name}] any more")
        depends_on = settings.modalities.get(getattr(section, "modality", "")), settings.dicom
        found = self._open.get(name)
        if found is not None and found[:2] == (section, depends_on):
            return found[2]
        if found is not None:
            self._close_later(found[2])
        destination = open_destination(name, section, self._settings)
        self._open[name] = section, depends_on, destination
        return destination

    def open_hours(self, name: str, at: float) -> bool:
        """Whether a moment is within the hours of a destination."""
        section = self._settings().destinations[name]
        found = self._hours.get(name)
        if found is None or found[0] is not section:
            found = self._hours[name] = section, Hours(section.hours, f"destinations.{name}.hours")
        return found[1].include(at)

    def _close_later(self, destination: Destination) -> None:
        task = asyncio.get_running_loop().create_task(destination.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, grace_s: float) -> None:
        """Close every destination once nothing is being sent; after `grace_s`, cancel what is still under way."""
        for _section, _depends, destination in self._open.values():
            self._close_later(destination)
        self._open.clear()
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
