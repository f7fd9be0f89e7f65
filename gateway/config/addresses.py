"""Addresses in settings: hosts, networks, loopback. Names are not resolved here."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def as_network(host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network written as `host`, a single address included; None for a name."""
    try:
        return ipaddress.ip_network(host, strict=False)
    except ValueError:
        return None


def is_host_name(text: str) -> bool:
    return _HOST_NAME.fullmatch(text) is not None


def without_password(url: str) -> str:
    """The URL of a database as it may be shown: without the password, and what else `?` gives."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}" if url else ""
