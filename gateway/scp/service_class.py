"""The declaration of a service class, and the registry of all declarations.

Each file of a service class ends with its declaration. Negotiation, the choice of the receiver of a message,
permissions and the conformance statement use the declarations; `services.py` lists those of the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from gateway.config import Service
from gateway.dicom import uids
from gateway.dimse.command import Command
from gateway.net.receiver import Receiver
from gateway.net.session import Session
from gateway.scp.context import Context
from gateway.ul.negotiation import PresentationContext

Receive = Callable[[Context, Session, PresentationContext, Command], Receiver]
"""A function that makes the receiver of one request."""

UNCOMPRESSED: Final = frozenset(
    syntax.uid
    for syntax in (uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN)
)
UNCOMPRESSED_OR_DEFLATED: Final = UNCOMPRESSED | {uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.uid}
"""Transfer syntaxes of identifiers; deflated, as some are long lists of UIDs."""


@dataclass(frozen=True, slots=True, eq=False)
class ServiceClass:
    """One service class that the gateway provides as SCP."""

    permission: Service
    """The permission that a caller needs."""
    title: str
    """Name in the conformance statement."""
    sop_classes: tuple[str, ...]
    commands: Mapping[int, Receive]
    """The receivers of requests, by Command Field. All other requests are answered 0211."""
    transfer_syntaxes: frozenset[str] | None = UNCOMPRESSED
    """Transfer syntaxes accepted for each SOP class. None: all known ones, except those refused by the settings."""
    extended: bytes = b""
    """The service-class-application-information that is accepted (PS3.4 C.5), as far as a peer proposes it."""
    requestor_may_be_scp: bool = False
    """Whether the calling peer may take the SCP role (PS3.7 D.3.3.4); the gateway then sends the requests."""
    takes_unregistered: bool = False
    """Whether the service class serves SOP classes that PS3.6 does not name, if the settings accept those."""
    more_statuses: tuple[ModuleType, ...] = ()
    """Modules that name statuses of its responses, besides those of its receivers."""


class Registry:
    """The service classes by SOP class. Raises ValueError when two service classes claim one SOP class."""

    def __init__(self, services: Iterable[ServiceClass]) -> None:
        self.services = tuple(services)
        self._by_sop_class: dict[str, ServiceClass] = {}
        self._of_unregistered: ServiceClass | None = None
        for service in self.services:
            for uid in service.sop_classes:
                owner = self._by_sop_class.setdefault(uid, service)
                if owner is not service:
                    raise ValueError(f"SOP class {uid} belongs to {owner.title}, and cannot be {service.title}'s too")
            if service.takes_unregistered:
                if self._of_unregistered is not None:
                    raise ValueError(f"{self._of_unregistered.title} and {service.title} both take unregistered ones")
                self._of_unregistered = service

    def __iter__(self) -> Iterator[tuple[str, ServiceClass]]:
        """Iterate over every SOP class with its service class."""
        return iter(self._by_sop_class.items())

    def of(self, sop_class_uid: str) -> ServiceClass | None:
        """The service class of a SOP class; None if it is not served."""
        found = self._by_sop_class.get(sop_class_uid)
        if found is None and not uids.is_registered(sop_class_uid):
            return self._of_unregistered
        return found

    def permission_of(self, sop_class_uid: str) -> Service | None:
        """The permission that a SOP class needs; None if it is not served."""
        found = self.of(sop_class_uid)
        return None if found is None else found.permission

    @property
    def extensions(self) -> dict[str, bytes]:
        """The information accepted in SOP Class Extended Negotiation, by SOP class (PS3.4 C.5)."""
        return {uid: service.extended for uid, service in self if service.extended}

    @property
    def as_scu(self) -> frozenset[str]:
        """SOP classes of which the requestor may be the SCP."""
        return frozenset(uid for uid, service in self if service.requestor_may_be_scp)
