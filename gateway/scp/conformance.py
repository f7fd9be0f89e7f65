"""The DICOM Conformance Statement (PS3.2), generated from the tables that the code uses.

`python -m gateway.scp.conformance >deploy/CONFORMANCE.md` writes the document; a test compares both. The prose here has
only what is in no table; facts of a table must not be repeated here.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

import pydicom

from gateway.access.tokens import ALGORITHMS
from gateway.config import SERVICES, Dicom, Settings
from gateway.dicom import charset, uids
from gateway.dimse import status
from gateway.dimse.command import Command
from gateway.net.tls import SUITES_1_2
from gateway.scp import commitment, services, storage
from gateway.scp.service_class import Registry, ServiceClass
from gateway.scp.services import REGISTRY
from gateway.scu import find, get, move
from gateway.scu import mpps as mpps_scu
from gateway.scu.node import PLAIN_SYNTAXES
from gateway.ul.association import Limits
from gateway.ul.items import APPLICATION_CONTEXT_NAME

_ASKED: dict[str, str] = {
    uids.VERIFICATION: "`echo`",
    find.PATIENT_ROOT: "`find`",
    find.STUDY_ROOT: "`find`",
    find.WORKLIST: "`find`",
    move.PATIENT_ROOT: "`move`",
    move.STUDY_ROOT: "`move`",
    get.PATIENT_ROOT: "`get`",
    get.STUDY_ROOT: "`get`",
    commitment.SOP_CLASS: "`commit`, and reports of our own commitments",
    mpps_scu.SOP_CLASS: "forwarding of performed procedure steps",
}
"""The SOP classes of which the gateway is SCU, besides storage, and the occasion."""


def statement(settings: Settings | None = None, registry: Registry = REGISTRY) -> str:
    """The whole document as Markdown, for these settings (by default, the default settings)."""
    settings = settings or Settings()
    parts = [_overview, _introduction, _networking, _acceptance, _initiation, _interfaces, _configuration, _rest]
    return "\n".join(line for part in parts for line in part(settings, registry)) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _by_service(settings: Settings, registry: Registry) -> dict[ServiceClass, list[str]]:
    """The accepted SOP classes by service class, in the order of the services; SOP classes by name."""
    offered = services.Offer(settings.dicom, registry).contexts
    found: dict[ServiceClass, list[str]] = {}
    for service in sorted(registry.services, key=lambda each: SERVICES.index(each.permission)):
        found[service] = sorted((uid for uid in service.sop_classes if uid in offered), key=uids.name_of)
    return found


def _messages(service: ServiceClass) -> str:
    """The names of the requests of a service class, without their common ending."""
    return ", ".join([Command(field).name.removesuffix("-RQ") for field in service.commands])


def _preferred(offer: services.Offer) -> str:
    return ", ".join(map(uids.name_of, offer.preferred)) or "none"


def _overview(settings: Settings, registry: Registry) -> Iterator[str]:
    yield "# DICOM Conformance Statement"
    yield ""
    yield "Made by `python -m gateway.scp.conformance` from the tables of the program; in the form of PS3.2."
    yield ""
    yield "## 1 Overview"
    yield ""
    yield "DICOM Gateway receives composite instances from modalities and other systems, stores them, and answers"
    yield "queries and retrievals over DIMSE and DICOMweb. It uses the same services of other systems. This statement"
    yield "is about DIMSE."
    yield ""
    offered = _by_service(settings, registry)
    yield from _table(
        ("network service", "messages", "SOP classes", "user (SCU)", "provider (SCP)"),
        (
            (service.title, _messages(service), f"{len(classes)}", _yes(_is_scu(service, classes)), "yes")
            for service, classes in offered.items()
        ),
    )


def _is_scu(service: ServiceClass, classes: Iterable[str]) -> bool:
    return service is storage.SERVICE or any(uid in _ASKED for uid in classes)


def _introduction(settings: Settings, registry: Registry) -> Iterator[str]:
    yield "## 3 Introduction"
    yield ""
    yield "For integrators who connect a system to the gateway. Terms are those of the standard. Conformance does not"
    yield "guarantee interoperation; test what you depend on. SOP classes and transfer syntaxes are those of PS3.6 as"
    yield f"pydicom {pydicom.__version__} has them. Media are neither written nor read as such (section 5)."
    yield ""


def _networking(settings: Settings, registry: Registry) -> Iterator[str]:
    dicom = settings.dicom
    yield "## 4 Networking"
    yield ""
    yield "### 4.1 Implementation model"
    yield ""
    yield f"One application entity, `{dicom.aet}` by default, may have further titles (`dicom.aets`). It accepts"
    yield "associations for as long as it runs, and opens them for its users, its rules and its own reports."
    yield ""
    yield "### 4.2 AE specification"
    yield ""
    yield "#### 4.2.1 SOP classes"
    yield ""
    for service, classes in _by_service(settings, registry).items():
        yield f"{service.title} ({_messages(service)}); permission `{service.permission}`:"
        yield ""
        yield from _table(
            ("SOP class", "UID", "SCU", "SCP"),
            ((uids.name_of(uid), uid, _yes(service is storage.SERVICE or uid in _ASKED), "yes") for uid in classes),
        )
    yield "#### 4.2.2 Association policies"
    yield ""
    yield from _table(
        ("policy", "value"),
        (
            ("application context name", APPLICATION_CONTEXT_NAME),
            ("implementation class UID", uids.IMPLEMENTATION_CLASS_UID),
            ("implementation version name", uids.IMPLEMENTATION_VERSION_NAME),
            ("maximum length received", f"{dicom.max_pdu} bytes (`dicom.max_pdu`)"),
            ("A-ASSOCIATE-RQ and -AC", f"{Limits().max_associate_length} bytes at most"),
            ("associations accepted at once", f"{dicom.max_associations} (`dicom.max_associations`)"),
            ("of one calling AE title", f"{dicom.max_associations_per_aet} (`dicom.max_associations_per_aet`)"),
            ("asynchronous operations performed", f"up to {dicom.max_operations}, where negotiated"),
            ("ARTIM", f"{dicom.artim_timeout:g} s (`dicom.artim_timeout`)"),
            ("idle time until A-ABORT", f"{dicom.idle_timeout:g} s (`dicom.idle_timeout`, of a modality too)"),
            ("wait for the answer to our association requests", f"{dicom.association_timeout:g} s, of a modality too"),
            ("wait for the answer to our messages", f"{dicom.response_timeout:g} s, of a modality too"),
        ),
    )


def _acceptance(settings: Settings, registry: Registry) -> Iterator[str]:
    yield "#### 4.2.3 Association acceptance"
    yield ""
    yield "Known callers are the modalities of the configuration: by calling AE title, address, and certificate. The"
    yield "called AE title is checked where `dicom.check_called_aet` says so. Rejections (result, source, reason):"
    yield ""
    yield from _table(
        ("when", "A-ASSOCIATE-RJ"),
        (
            ("the application context is not that of DICOM", "1, 1, 2"),
            ("the caller is unknown, or calls from another address or with another certificate", "1, 1, 3"),
            ("the called AE title is not ours", "1, 1, 7"),
            ("the user identity that is required is missing or wrong", "1, 1, 1"),
            ("the protocol version is not supported", "1, 2, 2"),
            ("the gateway is stopping, or could not look up the caller", "2, 3, 1"),
            ("the limit of open associations is reached", "2, 3, 2"),
        ),
    )
    yield "A context whose service the caller may not request is rejected (user-rejection); a request for it on a"
    yield f"context accepted for another reason is answered {status.describe(status.NOT_AUTHORIZED)}."
    yield ""
    offer = services.Offer(settings.dicom, registry)
    yield "For a context, the first proposed transfer syntax that we accept is chosen. If that is one of the following,"
    yield f"the first of these that is proposed is chosen (`dicom.preferred_transfer_syntaxes`): {_preferred(offer)}."
    yield ""
    sets: dict[frozenset[str], list[str]] = {}
    for service, classes in _by_service(settings, registry).items():
        for uid in classes:
            names = sets.setdefault(frozenset(offer.contexts[uid]), [])
            if service.permission not in names:
                names.append(service.permission)
    for syntaxes, names in sets.items():
        yield f"Transfer syntaxes accepted for {', '.join(names)}:"
        yield ""
        yield from _table(
            ("transfer syntax", "UID"),
            ((one.name, uid) for uid, one in uids.TRANSFER_SYNTAXES.items() if uid in syntaxes),
        )
    unknown = "accepted" if settings.dicom.accept_unknown_sop_classes else "not accepted"
    yield f"SOP classes that PS3.6 does not name are {unknown} for storage (`dicom.accept_unknown_sop_classes`)."
    yield ""
    yield "Roles (PS3.7 D.3.3.4): the caller may be SCP of the storage SOP classes, to receive what it requests by"
    commitments = [uids.name_of(uid) for uid in sorted(registry.as_scu) if uid not in uids.STORAGE_CLASSES]
    yield f"C-GET, and of {', '.join(commitments)}, to report the outcome of a request of ours."
    yield ""
    yield "SOP class extended negotiation (PS3.4 C.5):"
    yield ""
    yield from _table(
        ("SOP class", "service class application information accepted"),
        ((uids.name_of(uid), value.hex(" ")) for uid, value in sorted(registry.extensions.items())),
    )
    yield "#### 4.2.4 Statuses of our responses"
    yield ""
    yield "Each service answers the statuses listed for it. Any service may also answer"
    general = (status.NOT_AUTHORIZED, status.UNRECOGNIZED_OPERATION)
    yield f"{', '.join(map(status.describe, general))}."
    yield ""
    for service in _by_service(settings, registry):
        named = {code for module in _modules(service) for code in _statuses(module)}
        found = sorted({status.SUCCESS, *named} - set(general))
        words = (status.describe(code).partition(" ") for code in found)
        yield from _table((_messages(service), "meaning"), ((code, meaning) for code, _, meaning in words))


def _modules(service: ServiceClass) -> set[ModuleType]:
    """The modules that name the statuses of a service class: those of its receivers, and its `more_statuses`."""
    found = set(service.more_statuses)
    for receive in service.commands.values():
        bases = receive.__mro__ if isinstance(receive, type) else (receive,)
        found |= {sys.modules[base.__module__] for base in bases if base.__module__.startswith(__package__)}
    return found


def _statuses(module: ModuleType) -> Iterator[int]:
    """The statuses named in the source of a module."""
    for name in re.findall(r"\bstatus\.([A-Z][A-Z_]+)\b", inspect.getsource(module)):
        value = getattr(status, name)
        if isinstance(value, int):
            yield value
    yield from (value for name, value in vars(module).items() if name.startswith("STATUS_"))


def _initiation(settings: Settings, registry: Registry) -> Iterator[str]:
    yield "#### 4.2.5 Association initiation"
    yield ""
    yield "An association is opened on demand, and released when its work is done. The calling AE title is `dicom.aet`,"
    yield "or the modality's `our_aet`. For messages whose data sets the gateway creates, it proposes:"
    yield ""
    yield from _table(
        ("transfer syntax", "UID"),
        ((uids.transfer_syntax(uid).name, uid) for uid in PLAIN_SYNTAXES),
    )
    yield from _table(("SOP class requested", "when"), ((uids.name_of(u), when) for u, when in _ASKED.items()))
    yield "For storage it proposes the SOP classes of the instances to send, each in the transfer syntax in which they"
    yield "are stored; if they can be decoded, in Explicit and Implicit VR Little Endian too."
    yield ""


def _interfaces(settings: Settings, registry: Registry) -> Iterator[str]:
    yield "### 4.3 Network interfaces"
    yield ""
    yield "TCP/IP, IPv4 and IPv6, by the operating system. Host names of modalities are resolved at each use."
    yield ""


def _configuration(settings: Settings, registry: Registry) -> Iterator[str]:
    dicom = settings.dicom
    yield "### 4.4 Configuration"
    yield ""
    yield "A remote AE is a modality of the configuration: AE title, host, port, permissions, TLS, timeouts."
    yield ""
    default = Dicom()
    yield from _table(
        ("parameter", "default"),
        (
            ("local AE title (`dicom.aet`)", f"`{dicom.aet}`"),
            ("address (`dicom.host`)", f"`{dicom.host}`"),
            ("port (`dicom.port`)", "none" if dicom.plain_port is None else f"{dicom.plain_port}"),
            ("port for TLS (`dicom.tls_port`)", "none" if dicom.tls_port is None else f"{dicom.tls_port}"),
            ("services for callers that are not modalities", ", ".join(default.any_caller_may)),
        ),
    )


def _rest(settings: Settings, registry: Registry) -> Iterator[str]:
    yield "## 5 Media interchange"
    yield ""
    yield "None. PS3.10 files can be imported and exported singly."
    yield ""
    yield "## 6 Character sets"
    yield ""
    yield "Data sets are stored byte for byte. For the index, queries and DICOMweb, text is decoded from:"
    yield ""
    numbered = [f"ISO_IR {number} / ISO 2022 IR {number}" for number in sorted(charset._BY_NUMBER)]
    yield f"{', '.join(('default repertoire', *numbered, *sorted(charset._BY_NAME)))}."
    yield ""
    yield "## 7 Security"
    yield ""
    yield "BCP 195 TLS Secure Transport Connection Profile (PS3.15 B.12, RFC 9325; the suites of B.9 for devices"
    yield "without elliptic curves come last), acceptor and requestor: TLS 1.3,"
    yield f"and TLS 1.2 with {', '.join(SUITES_1_2)}."
    yield f"Client certificates: `{settings.dicom.tls_client_certificates}`; none, optional or required can be set,"
    yield "and bound to the calling AE title."
    yield ""
    yield "User identity negotiation (PS3.7 D.3.3.7), acceptor: types 1 (name), 2 (name and passcode) and 5 (JSON Web"
    yield f"Token, signed by {', '.join(ALGORITHMS)}), checked if configured; a positive response is sent if requested,"
    yield "with no content. Kerberos and SAML are not supported. Requestor: types 1, 2 and 5 as configured for a"
    yield "modality; a positive response is requested, and required if configured."
    yield ""
    yield "## 8 Annexes"
    yield ""
    yield "No private attributes, SOP classes or transfer syntaxes are defined. Instances are not changed: the preamble"
    yield "and group 0002 of stored files are the gateway's own, with the AE titles in (0002,0016) to (0002,0018)."


def _yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    sys.stdout.write(statement())
