"""Facts on a request from the proxies in front of us: the client, and scheme, host and path as the client used them.

Only a proxy in `http.trusted_proxies` is believed, and only the headers named by `http.forwarded`:
X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded (RFC 7239). A proxy that writes one kind passes the other on
unchanged, whoever sent it. Pure decisions on texts; HTTP is not here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.config import as_network

_MAX_PROXIES: Final = 32
"""Proxies in a row that are considered."""
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_ELEMENT: Final = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)')


class Seen(NamedTuple):
    """The request as the client made it, as far as proxies report it; '' for the rest."""

    client: str
    """Address of the client of the outermost trusted proxy."""
    scheme: str = ""
    host: str = ""
    prefix: str = ""
    """Path under which the proxy publishes us, and which it has removed: `/gateway`."""


class _Hop(NamedTuple):
    """One proxy's report on its client."""

    client: str
    scheme: str = ""
    host: str = ""


def is_trusted(address: str, trusted: Sequence[str]) -> bool:
    """Whether an address is that of a trusted proxy."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in _networks(tuple(trusted)) if network.version == parsed.version)


def seen_by_x_forwarded(peer: str, trusted: Sequence[str], clients: str, schemes: str, hosts: str, prefix: str) -> Seen:
    """The request by X-Forwarded-For, -Proto, -Host and -Prefix, from a trusted `peer`.

    Of lists as long as that of the clients the entry beside the client's counts, otherwise the nearest proxy's.
    """
    addresses = _listed(clients)
    chosen = _outermost([_Hop(each) for each in addresses], trusted)
    client = addresses[chosen] if addresses else ""
    return Seen(
        client=_address(client) or peer,
        scheme=_scheme(_beside(_listed(schemes), chosen, len(addresses))),
        host=_beside(_listed(hosts), chosen, len(addresses)),
        prefix=prefix.rstrip("/") if _PREFIX.fullmatch(prefix.rstrip("/")) else "",
    )


def seen_by_forwarded(peer: str, trusted: Sequence[str], forwarded: str) -> Seen:
    """The request by Forwarded (RFC 7239 §4), from a trusted `peer`; that header has no prefix."""
    hops = []
    for element in _listed(forwarded):
        pairs = {name.lower(): _unquoted(value) for name, value in _ELEMENT.findall(element)}
        hops.append(_Hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", "")))
    if not hops:
        return Seen(peer)
    chosen = hops[_outermost(hops, trusted)]
    return Seen(_address(chosen.client) or peer, _scheme(chosen.scheme), chosen.host)


def _outermost(hops: Sequence[_Hop], trusted: Sequence[str]) -> int:
    """The first hop, from our side, that is no trusted proxy: anything before it may be forged."""
    for at in range(len(hops) - 1, 0, -1):
        if not is_trusted(_address(hops[at].client), trusted):
            return at
    return 0


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()][-_MAX_PROXIES:]


def _beside(values: Sequence[str], at: int, count: int) -> str:
    if not values:
        return ""
    return values[at] if len(values) == count else values[-1]


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in ("http", "https") else ""


def _address(text: str) -> str:
    """The address in a node identifier (RFC 7239 §6): without port and brackets; '' for `unknown` and made-up names."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


@lru_cache(8)
def _networks(trusted: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [network for network in map(as_network, trusted) if network is not None]
