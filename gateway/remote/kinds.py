"""The class of each kind of destination."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Settings
from gateway.config.destinations import Destination as Section
from gateway.config.destinations import DicomDestination, DicomwebDestination, FolderDestination, PeerDestination
from gateway.errors import ConfigurationError
from gateway.remote.credentials import check_credentials
from gateway.remote.destination import Destination, DestinationUnavailable
from gateway.remote.dicom import DicomNode
from gateway.remote.dicomweb import DicomwebServer
from gateway.remote.folder import Folder
from gateway.remote.http import tls_context
from gateway.remote.peer import Peer
from gateway.remote.template import Template


def examine_destination(name: str, section: Section) -> None:
    """Check what only the kind of the destination can check, files included. Blocks. Raises ConfigurationError."""
    match section:
        case FolderDestination():
            Template.parse(f"destinations.{name}.name", section.name)
        case DicomwebDestination() | PeerDestination():
            tls_context(name, section)
            check_credentials(name, section)


def open_destination(name: str, section: Section, settings: Callable[[], Settings]) -> Destination:
    """Open the destination of a settings section, without connecting yet. Belongs to the running event loop.

    Raises: DestinationUnavailable for a fault of the section that only its kind can find.
    """
    match section:
        case DicomDestination():
            return DicomNode(name, section, settings)
        case DicomwebDestination():
            return DicomwebServer(name, section)
        case FolderDestination():
            try:
                return Folder(name, section)
            except ConfigurationError as error:
                raise DestinationUnavailable(str(error)) from None
    return Peer(name, section)
