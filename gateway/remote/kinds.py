"""Which kind of destination is which class."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Settings
from gateway.config.routes import Destination as Section
from gateway.remote.destination import Destination
from gateway.remote.dicom import DicomNode


def open_destination(name: str, section: Section, settings: Callable[[], Settings]) -> Destination:
    """The destination of a section of the settings; nothing is connected yet. Belongs to the running event loop."""
    return DicomNode(name, section, settings)
