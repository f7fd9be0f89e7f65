"""The diagnosis of a connection to a DICOM node: what works, what does not, and since when in the sequence of steps.

The steps are those of an association: name, connection, TLS, association, C-ECHO, services. The first that fails ends
the sequence. A finding is a code with values; `web/pages/words/doctor.toml` has its words and the remedy, for the page
and the command line alike. `incoming.py` judges what the node has asked of us.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.dicom import uids
from gateway.errors import AssociationLost, AssociationRefused
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Requestor
from gateway.remote import probe
from gateway.remote.peer_certificate import certificate_values
from gateway.scu.find import STUDY_ROOT as FIND
from gateway.scu.find import WORKLIST
from gateway.scu.get import STUDY_ROOT as GET
from gateway.scu.move import STUDY_ROOT as MOVE
from gateway.scu.node import PLAIN_SYNTAXES, Node

Step = Literal["name", "connection", "tls", "association", "echo", "services", "incoming", "clock"]
Grade = Literal["good", "warning", "bad"]
Value = str | int | float
SERVICES: Final = {
    "store": ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.4"),
    "find": (FIND, "1.2.840.10008.5.1.4.1.2.1.1"),
    "move": (MOVE, "1.2.840.10008.5.1.4.1.2.1.2"),
    "get": (GET, "1.2.840.10008.5.1.4.1.2.1.3"),
    "worklist": (WORKLIST,),
    "mpps": ("1.2.840.10008.3.1.2.3.3",),
    "commit": ("1.2.840.10008.1.20.1",),
}
"""SOP classes that show whether a node has a service: CT, Secondary Capture and MR for storage."""
_MAX_WAIT_S: Final = 10.0
_PROBE_S: Final = 4.0
"""Seconds for each probe of a node that did not answer as DICOM."""
_CERTIFICATE_CODES: Final = {9: "tls-not-yet", 10: "tls-expired", 62: "tls-name", 64: "tls-name"}
"""Of OpenSSL's verify codes; all others are about the authority."""
_VERSIONS: Final = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "HANDSHAKE_FAILURE", "NO_SHARED_CIPHER")


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of one step, and the values for its words."""

    step: Step
    grade: Grade
    code: str
    values: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings about one node, in the order of the steps."""

    findings: tuple[Finding, ...]
    local: str = ""
    """Our own address as the node sees it; empty if it could not be reached."""
    addresses: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """The keys of SERVICES that the node accepts contexts for."""

    @property
    def is_good(self) -> bool:
        return all(each.grade != "bad" for each in self.findings)


class _Failed(Exception):
    """A step failed, which ends the sequence."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


async def diagnose(node: Node, *, timeout_s: float = 10.0) -> Diagnosis:
    """Go through the steps towards a node. Every problem of the node or of the network becomes a finding."""
    return await _Examination(node, min(timeout_s, _MAX_WAIT_S)).run()


class _Examination:
    """One run through the steps."""

    def __init__(self, node: Node, timeout_s: float) -> None:
        self._node = replace(node, association_timeout=timeout_s, response_timeout=timeout_s)
        self._timeout_s = timeout_s
        self._found: list[Finding] = []
        self._addresses: list[str] = []
        self._local = self._address = ""
        self._services: list[str] = []

    async def run(self) -> Diagnosis:
        try:
            await self._resolve()
            await self._connect()
            if self._node.tls is not None:
                await self._shake_hands()
            await self._associate()
            await self._ask_services()
        except _Failed as failed:
            self._found.append(failed.finding)
        return Diagnosis(tuple(self._found), self._local, tuple(self._addresses), tuple(self._services))

    def _note(
        self, step: Literal["connection", "tls", "echo", "services"], grade: Grade, code: str, **values: Value
    ) -> None:
        self._found.append(Finding(step, grade, code, self._values(values)))

    def _values(self, values: dict[str, Value]) -> dict[str, Value]:
        node = self._node
        known: dict[str, Value] = {
            "host": node.host,
            "port": str(node.port),
            "aet": node.aet,
            "our_aet": node.calling_aet,
            "local": self._local,
            "seconds": f"{self._timeout_s:g}",
        }
        return known | values

    def _failure(
        self, step: Literal["name", "connection", "tls", "association", "echo"], code: str, **values: Value
    ) -> _Failed:
        return _Failed(Finding(step, "bad", code, self._values(values)))

    async def _resolve(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._addresses = await probe.resolve(self._node.host, self._node.port)
        except socket.gaierror as error:
            passing = error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL)
            raise self._failure("name", "name-service" if passing else "name-unknown") from None
        except (OSError, UnicodeError):
            raise self._failure("name", "name-service") from None

    async def _connect(self) -> None:
        port = self._node.port
        try:
            reached = await probe.reach(self._addresses, port, self._timeout_s)
        except TimeoutError:
            raise self._failure("connection", "no-answer") from None
        except OSError as error:
            if isinstance(error, ConnectionRefusedError):
                others = await probe.open_ports(self._addresses[-1], port)
                if others:
                    listed = ", ".join(map(str, others))
                    raise self._failure("connection", "refused-other", others=listed) from None
                raise self._failure("connection", "refused") from None
            if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                raise self._failure("connection", "no-route") from None
            if error.errno == errno.ETIMEDOUT:
                raise self._failure("connection", "no-answer") from None
            raise self._failure("connection", "not-connected", reason=error.strerror or str(error)) from None
        self._address, self._local = reached.address, reached.local
        self._note("connection", "good", "connected", address=reached.address, ms=round(reached.seconds * 1000))

    async def _shake_hands(self) -> None:
        node = self._node
        assert node.tls is not None
        try:
            version = await probe.handshake(self._address, node.port, node.tls, self._timeout_s)
        except ssl.SSLCertVerificationError as error:
            shown = await probe.certificate_at(self._address, node.port, node.tls.name, _PROBE_S)
            code = _CERTIFICATE_CODES.get(error.verify_code, "tls-authority")
            values = {"reason": error.verify_message, "wanted": node.tls.name, **certificate_values(shown)}
            raise self._failure("tls", code, **values) from None
        except OSError as error:
            raise await self._no_handshake(error) from None
        shown = await probe.certificate_at(self._address, node.port, node.tls.name, _PROBE_S)
        self._note("tls", "good", "tls-good", version=version, **certificate_values(shown))

    async def _no_handshake(self, error: OSError) -> _Failed:
        """The failure of a handshake in which no certificate was judged by us."""
        reason = (error.reason if isinstance(error, ssl.SSLError) else "") or str(error) or type(error).__name__
        if "ALERT" in reason and not any(word in reason for word in _VERSIONS):
            return self._failure("tls", "tls-client", reason=_words(reason))
        if any(word in reason for word in _VERSIONS) and "WRONG_VERSION" not in reason:
            return self._failure("tls", "tls-versions", reason=_words(reason))
        spoken = await self._spoken()
        if spoken in ("dicom", "aborts"):
            return self._failure("tls", "plain-there")
        if spoken in ("http", "ssh", "hl7", "text", "other"):
            return self._failure("association", f"not-dicom-{spoken}")
        return self._failure("tls", "tls-failed", reason=_words(reason))

    async def _associate(self) -> None:
        """Associate for C-ECHO alone: no other service can spoil it."""
        node = self._node
        try:
            requestor = await Requestor.open(node.call([(uids.VERIFICATION, PLAIN_SYNTAXES)]), BlockPool(4))
        except AssociationRefused as error:
            code = f"rejected-{error.result}.{error.source}.{error.reason}"
            known = code if code in REJECTIONS else "rejected-other"
            raise self._failure("association", known, reason=f"{error.result}/{error.source}/{error.reason}") from None
        except (AssociationLost, OSError):
            raise await self._no_association() from None
        try:
            if not requestor.association.contexts:
                self._note("echo", "warning", "no-echo")
                return
            status = await requestor.echo()
        except AssociationLost:
            raise self._failure("echo", "echo-lost") from None
        finally:
            await requestor.abort() if requestor.association.ended else await requestor.release()
        if status != 0:
            raise self._failure("echo", "echo-failed", status=f"{status:04X}")
        self._note("echo", "good", "echo")

    async def _no_association(self) -> _Failed:
        """The failure of an association that was neither accepted nor rejected."""
        spoken = await self._spoken()
        if self._node.tls is not None:
            return self._failure("association", "silent" if spoken == "silent" else "closed-tls")
        match spoken:
            case "tls":
                return self._failure("tls", "tls-there")
            case "aborts":
                return self._failure("association", "aborted")
            case "closed" | "silent":
                return self._failure("association", spoken)
            case "dicom":
                return self._failure("association", "closed")
        return self._failure("association", f"not-dicom-{spoken}")

    async def _spoken(self) -> probe.Spoken:
        node = self._node
        return await probe.spoken_at(self._address, node.port, node.calling_aet, node.aet, _PROBE_S)

    async def _ask_services(self) -> None:
        """Propose a context for each service, on an association of its own, and see which are accepted."""
        proposed = [(uid, PLAIN_SYNTAXES) for classes in SERVICES.values() for uid in classes]
        try:
            requestor = await Requestor.open(self._node.call(proposed), BlockPool(4))
        except (AssociationRefused, AssociationLost, OSError):
            self._note("services", "warning", "services-unknown")
            return
        granted = {each.abstract_syntax for each in requestor.association.contexts.values()}
        await requestor.release()
        self._services = [name for name, classes in SERVICES.items() if granted.intersection(classes)]
        if self._services:
            self._note("services", "good", "services", services=" ".join(self._services))
        elif any(each.code == "no-echo" for each in self._found):
            self._found.append(Finding("services", "bad", "no-context", self._values({})))
        else:
            self._note("services", "warning", "echo-only")


REJECTIONS: Final = frozenset(
    f"rejected-{code}" for code in ("1.1.1", "1.1.2", "1.1.3", "1.1.7", "1.2.2", "2.3.1", "2.3.2")
)
"""Codes of the rejections that have words of their own (PS3.8 Table 9-21)."""


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()


def merged(diagnosis: Diagnosis, *others: Sequence[Finding]) -> Diagnosis:
    """A diagnosis with further findings behind its own."""
    return replace(diagnosis, findings=(*diagnosis.findings, *(each for found in others for each in found)))
