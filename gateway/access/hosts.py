"""Host and Origin checks against DNS rebinding and cross-site requests.

A page of an attacker can point its own host name at 127.0.0.1 and then send us requests from inside the victim's
browser; the Host header still carries the attacker's name. A literal address cannot be rebound, so any is accepted. The
check applies with and without users, since a browser may remember a password. Pure decisions; HTTP is not here.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

_MAX_HOST_LENGTH = 300
"""Characters of a Host header: a name has at most 253, a port 5."""
_PORTS = {"http": 80, "https": 443}


def host_name(authority: str) -> str:
    """The lower-case name in a Host header (RFC 9110 §7.2), without port and brackets; empty when unreadable."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_our_host(authority: str, configured: Sequence[str]) -> bool:
    """Whether a Host header names us: loopback, a literal address, or one of the configured names."""
    if len(authority) > _MAX_HOST_LENGTH:
        return False
    return _is_our_host(authority, tuple(configured))


@functools.lru_cache(maxsize=256)
def _is_our_host(authority: str, configured: tuple[str, ...]) -> bool:
    name = host_name(authority)
    if not name or "@" in authority or "/" in authority or _with_port(authority, "http") is None:
        return False
    return name == "localhost" or _is_address(name) or name in {host_name(host) for host in configured}


def is_our_origin(origin: str, authority: str, configured: Sequence[str], *, scheme: str = "http") -> bool:
    """Whether an Origin header (RFC 6454) is a page of ours: the requested host and port, or a configured one.

    Another port is another origin on the same machine with the same name. So a configured name counts only
    with its port, which is that of a proxy with another name. A request by `scheme` "http" may have reached a proxy
    over https; never the other way round. `null` is never ours.
    """
    theirs, separator, rest = origin.partition("://")
    page = _with_port(rest, theirs) if separator and theirs in _PORTS else None
    if page is None or (theirs, scheme) == ("http", "https"):
        return False
    places = (authority, *(host for host in configured if _has_port(host)))
    return page in {_with_port(place, theirs) for place in places}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_port(authority: str, scheme: str) -> tuple[str, int] | None:
    try:
        port = urlsplit(f"//{authority}").port
    except ValueError:
        return None
    return host_name(authority), port if port is not None else _PORTS[scheme]


def _has_port(authority: str) -> bool:
    try:
        return urlsplit(f"//{authority}").port is not None
    except ValueError:
        return False
