"""What proxies in front of us say of a request: who asks, and under which scheme, host and path they were asked.

Only a proxy that `http.trusted_proxies` names is believed, and of the headers only those that `http.forwarded` names:
X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded (RFC 7239). A proxy that writes the one hands on the other as
it came from anybody. Pure decisions on texts; HTTP is not here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.config import as_network

_MOST: Final = 32
"""Proxies in a row that are looked at."""
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_ELEMENT: Final = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)')


class Seen(NamedTuple):
    """What the client did, as far as proxies told; '' for what they did not."""

    client: str
    """Address of whoever asked the outermost proxy that is trusted."""
    scheme: str = ""
    host: str = ""
    prefix: str = ""
    """Path under which the proxy shows us, and which it has taken away: `/gateway`."""


class _Hop(NamedTuple):
    """What one proxy says of whom it was asked by."""

    client: str
    scheme: str = ""
    host: str = ""


def is_trusted(address: str, trusted: Sequence[str]) -> bool:
    """Whether an address is that of one of our proxies."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in _networks(tuple(trusted)) if network.version == found.version)


def seen_by_x_forwarded(peer: str, trusted: Sequence[str], clients: str, schemes: str, hosts: str, prefix: str) -> Seen:
    """From the values of X-Forwarded-For, -Proto, -Host and -Prefix, of a request from a trusted `peer`.

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
    """The same from the value of Forwarded (RFC 7239 §4). It says no prefix."""
    hops = []
    for element in _listed(forwarded):
        pairs = {name.lower(): _unquoted(value) for name, value in _ELEMENT.findall(element)}
        hops.append(_Hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", "")))
    if not hops:
        return Seen(peer)
    chosen = hops[_outermost(hops, trusted)]
    return Seen(_address(chosen.client) or peer, _scheme(chosen.scheme), chosen.host)


def _outermost(hops: Sequence[_Hop], trusted: Sequence[str]) -> int:
    """The first, from our side, that is no proxy of ours: what stands before it anybody may have written."""
    for at in range(len(hops) - 1, 0, -1):
        if not is_trusted(_address(hops[at].client), trusted):
            return at
    return 0


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()][-_MOST:]


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
