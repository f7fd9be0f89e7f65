"""Nodes that the gateway calls: a modality of the settings by its name, or `AET@HOST:PORT`.

Addresses, timeouts, TLS, and an association whose errors name the node live here; the requests are in the files beside
this one.
"""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.config import Modality, Settings
from gateway.dicom import uids
from gateway.errors import AssociationLost, ConfigurationError
from gateway.net.buffers import BlockPool
from gateway.net.refused_request import RefusedRequest
from gateway.net.requestor import Call, Handler, Requestor
from gateway.net.tls import ClientTls, client_tls, describe
from gateway.ul.items import RoleSelection, UserIdentity

PLAIN_SYNTAXES = (uids.EXPLICIT_VR_LITTLE_ENDIAN.uid, uids.IMPLICIT_VR_LITTLE_ENDIAN.uid)
"""Proposed for messages whose data sets the gateway encodes itself."""
_MAX_IDENTITY_BYTES = 16 << 10
"""Bytes of an identity token: more than any issuer makes, and the length field has 16 bits."""
_ADDRESS = re.compile(r"(?P<aet>[^@\\]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A DICOM node that the gateway can call."""

    aet: str
    host: str
    port: int
    calling_aet: str = "GATEWAY"
    name: str = ""
    """Name of the modality; empty for a bare address."""
    association_timeout: float = 30.0
    """Seconds to connect, to negotiate, and to release."""
    response_timeout: float = 60.0
    """Seconds until the next response to a request."""
    max_length: int = 256 * 1024
    """Maximum length of a received PDU, bytes."""
    tls: ClientTls | None = dataclasses.field(default=None, repr=False)
    identity: UserIdentity | None = dataclasses.field(default=None, repr=False)
    """The user identity to present (PS3.7 D.3.3.7)."""
    identity_confirmed: bool = False
    """Whether the association is refused unless the node confirms that it has checked the identity."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{self.aet}@{host}:{self.port}"
        return f"{self.name} ({address})" if self.name else address

    def call(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]],
        *,
        max_operations: int = 1,
        roles: Sequence[RoleSelection] = (),
    ) -> Call:
        return Call(
            self.host,
            self.port,
            self.aet,
            self.calling_aet,
            contexts,
            max_length=self.max_length,
            max_operations=max_operations,
            timeout=self.association_timeout,
            response_timeout=self.response_timeout,
            roles=roles,
            tls=self.tls,
            identity=self.identity,
        )


def node_of(settings: Settings, name: str, modality: Modality) -> Node:
    """The node of a modality. May block. Raises ConfigurationError when the modality cannot be called."""
    if not modality.port:
        raise ConfigurationError(
            f"modalities.{name}: it has no port, so it cannot be called; set modalities.{name}.port"
        )
    dicom = settings.dicom
    return Node(
        modality.aet,
        modality.host,
        modality.port,
        modality.our_aet or dicom.aet,
        name,
        dicom.association_timeout if modality.association_timeout is None else modality.association_timeout,
        dicom.response_timeout if modality.response_timeout is None else modality.response_timeout,
        dicom.max_pdu,
        client_tls(dicom, modality),
        identity_of(name, modality),
        modality.identity_confirmed,
    )


def identity_of(name: str, modality: Modality) -> UserIdentity | None:
    """The user identity to present to a modality. May block. Raises ConfigurationError when its token is unreadable."""
    if modality.identity_token_file:
        try:
            token = Path(modality.identity_token_file).read_bytes().strip()
        except OSError as error:
            where = f"modalities.{name}.identity_token_file {modality.identity_token_file}"
            raise ConfigurationError(f"{where}: {error.strerror}") from None
        if not 0 < len(token) <= _MAX_IDENTITY_BYTES:
            raise ConfigurationError(f"modalities.{name}.identity_token_file: {len(token)} bytes cannot be a token")
        return UserIdentity(5, token, response_requested=True)
    if not modality.identity_name:
        return None
    kind = 2 if modality.identity_password else 1
    return UserIdentity(kind, modality.identity_name.encode(), modality.identity_password.encode(), True)


def find_node(settings: Settings, text: str) -> Node:
    """The node named by a user: the name of a modality, or `AET@HOST:PORT`. May block. Raises ConfigurationError."""
    modality = settings.modalities.get(text)
    if modality is not None:
        return node_of(settings, text, modality)
    address = _ADDRESS.fullmatch(text.strip())
    if address is None or not address["aet"].strip() or not 0 < int(address["port"]) <= 65535:
        known = ", ".join(sorted(settings.modalities)) or "none is configured"
        raise ConfigurationError(f"{text!r} is no modality ({known}) and no address such as ARCHIVE@10.1.2.3:104")
    dicom = settings.dicom
    return Node(
        address["aet"].strip(),
        address["host"].strip("[]"),
        int(address["port"]),
        dicom.aet,
        association_timeout=dicom.association_timeout,
        response_timeout=dicom.response_timeout,
        max_length=dicom.max_pdu,
    )


@asynccontextmanager
async def associate(
    node: Node,
    contexts: Sequence[tuple[str, Sequence[str]]],
    *,
    max_operations: int = 1,
    roles: Sequence[RoleSelection] = (),
    blocks: BlockPool | None = None,
    handler: Handler = RefusedRequest,
) -> AsyncIterator[Requestor]:
    """An association with a node, released at exit, aborted when the body raised.

    Raises AssociationLost (also when the node cannot be reached) and AssociationRefused, with texts that name the node.
    """
    call = node.call(contexts, max_operations=max_operations, roles=roles)
    try:
        requestor = await Requestor.open(call, blocks or BlockPool(8), handler)
    except OSError as error:
        plain = node.tls is not None and isinstance(error, ConnectionResetError)
        hint = "; does it expect TLS there?" if plain else ""
        raise AssociationLost(f"{node}: no connection: {_reason(error)}{hint}") from None
    try:
        if node.identity_confirmed and not requestor.identity_confirmed:
            raise AssociationLost(f"{node} does not confirm our user identity, as identity_confirmed asks for")
        yield requestor
    except BaseException:
        await requestor.abort()
        raise
    await requestor.release()


def _reason(error: OSError) -> str:
    return describe(error) if isinstance(error, ssl.SSLError) or not error.strerror else error.strerror.lower()
