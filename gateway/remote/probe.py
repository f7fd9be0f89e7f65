"""Probes of an address, for the diagnosis of a connection: its name, its port, and the protocol that is spoken there.

Each opens a connection of its own and sends nothing but the opening of a protocol: an association request, a TLS
hello, or a request for the head of a web page.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final, Literal

from gateway.dicom import uids
from gateway.net.tls import ClientTls
from gateway.ul.items import ProposedContext, UserInformation
from gateway.ul.pdu import ABORT, ASSOCIATE_RQ, AssociateRQ

Spoken = Literal["dicom", "aborts", "tls", "http", "ssh", "hl7", "text", "other", "closed", "silent"]
"""What a port speaks. `aborts`: DICOM, with an A-ABORT for an answer; `closed`, `silent`: it says nothing."""
USUAL_PORTS: Final = (104, 11112, 2762)
"""The registered DICOM ports (PS3.8 §9.1.1, PS3.15 B.1): the last is for TLS."""
_HEAD: Final = b"HEAD / HTTP/1.0\r\n\r\n"
_FIRST: Final = 64
_PROBE_S: Final = 1.0
"""Seconds for each of the other ports that are tried."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A TCP connection that came about."""

    address: str
    local: str
    """Our own address, as the peer sees it unless something translates addresses."""
    seconds: float


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order in which to try them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def reach(addresses: list[str], port: int, timeout_s: float) -> Reached:
    """Connect to the first address that answers. Raises OSError of the last; TimeoutError is one."""
    began, last = time.monotonic(), OSError("no address")
    for address in addresses:
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(address, port)
        except OSError as error:
            last = error
            continue
        local = str(writer.get_extra_info("sockname")[0])
        await _close(writer)
        return Reached(address, local, time.monotonic() - began)
    raise last


async def open_ports(address: str, other_than: int) -> list[int]:
    """The usual ports of DICOM that are open at an address."""
    found = []
    for port in USUAL_PORTS:
        if port != other_than:
            with contextlib.suppress(OSError):
                await reach([address], port, _PROBE_S)
                found.append(port)
    return found


async def spoken_at(address: str, port: int, calling_aet: str, called_aet: str, timeout_s: float) -> Spoken:
    """Find out what a port speaks, by its answers to the openings of DICOM, TLS and HTTP."""
    quiet: Spoken = "closed"
    for opening in (_association_request(calling_aet, called_aet), _tls_hello(), _HEAD):
        try:
            first = await _first_bytes(address, port, opening, timeout_s)
        except TimeoutError:
            quiet = "silent"
            continue
        except OSError:
            continue
        if first:
            return _protocol(first)
    return quiet


async def handshake(address: str, port: int, tls: ClientTls, timeout_s: float) -> str:
    """Shake hands over TLS; returns the TLS version. Raises OSError, of which ssl.SSLError is one."""
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(address, port, ssl=tls.context, server_hostname=tls.name)
    version = str(writer.get_extra_info("ssl_object").version())
    await _close(writer)
    return version


async def certificate_at(address: str, port: int, name: str, timeout_s: float) -> bytes:
    """The certificate that a server shows, as DER, whoever has signed it; empty without one."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(address, port, ssl=_any_certificate(), server_hostname=name)
    except OSError:
        return b""
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await _close(writer)
    return found or b""


async def _first_bytes(address: str, port: int, opening: bytes, timeout_s: float) -> bytes:
    """The beginning of the answer to an opening; empty if the peer closes without one."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(opening)
            return await reader.read(_FIRST)
        except ConnectionError:
            return b""
        finally:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _protocol(first: bytes) -> Spoken:
    # The header of a PDU: type, a reserved byte, and a length of 32 bits, which is small.
    if ASSOCIATE_RQ <= first[0] <= ABORT and first[2:4] in (b"\0\0", b""):
        return "aborts" if first[0] == ABORT else "dicom"
    if first[0] in (0x15, 0x16) and first[1:2] == b"\x03":
        return "tls"
    for begins, protocol in ((b"HTTP/", "http"), (b"SSH-", "ssh"), (b"\x0b", "hl7")):
        if first.startswith(begins):
            return protocol  # type: ignore[return-value]
    return "text" if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in first) else "other"


def _association_request(calling_aet: str, called_aet: str) -> bytes:
    contexts = [ProposedContext(1, uids.VERIFICATION, [uids.IMPLICIT_VR_LITTLE_ENDIAN.uid])]
    user = UserInformation(max_length=16384, implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID)
    return AssociateRQ(called_aet, calling_aet, contexts, user).encode()


def _tls_hello() -> bytes:
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _any_certificate().wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
