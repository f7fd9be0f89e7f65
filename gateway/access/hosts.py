"""Under which names we may be asked: the Host and Origin checks against DNS rebinding and cross-site requests.

A page of an attacker can point its own host name at 127.0.0.1 and then ask us from inside the victim's browser; the
Host header still carries the attacker's name. A literal address cannot be rebound, so any is accepted. The check
holds with and without users, since a browser may remember a password. Pure decisions; HTTP is not here.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

_LONGEST = 300
"""Characters of a Host header: a name has at most 253, a port 5."""


def host_name(authority: str) -> str:
    """The lower-case name in a Host header (RFC 9110 §7.2), without port and brackets; empty when unreadable."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_our_host(authority: str, configured: Sequence[str]) -> bool:
    """Whether a Host header names us: loopback, a literal address, or one of the configured names."""
    if len(authority) > _LONGEST:
        return False
    return _is_our_host(authority, tuple(configured))


@functools.lru_cache(maxsize=256)
def _is_our_host(authority: str, configured: tuple[str, ...]) -> bool:
    name = host_name(authority)
    if not name or "@" in authority or "/" in authority or _with_port(authority, "http") is None:
        return False
    return name == "localhost" or _is_address(name) or name in {host_name(host) for host in configured}


def is_our_origin(origin: str, authority: str, configured: Sequence[str]) -> bool:
    """Whether an Origin header (RFC 6454) is a page of ours: the very host and port asked, or a configured name.

    Another port of the same machine is another origin. `null` is nobody's.
    """
    scheme, separator, rest = origin.partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    if _with_port(rest, scheme) == _with_port(authority, scheme):
        return True
    return host_name(rest) in {host_name(host) for host in configured}


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
    return host_name(authority), port if port is not None else {"http": 80, "https": 443}[scheme]
