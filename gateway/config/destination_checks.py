"""Checks of destinations that no single field allows: addresses, credentials, statuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from gateway.config.addresses import is_loopback
from gateway.config.destinations import (
    BaseDestination,
    Destination,
    DicomDestination,
    DicomwebDestination,
    FolderDestination,
    PeerDestination,
)

Problem = tuple[str, str]

_STATUS: Final = re.compile(r"[0-9A-Fa-fXx]{4}")
_CREDENTIALS: Final = {
    "basic": (("user", "password"), ()),
    "bearer": ((), ("token", "token_file")),
    "oauth2": (("token_url", "client_id"), ("client_secret", "client_secret_file")),
    "google": (("key_file",), ()),
}
"""The fields that are all required, and those of which exactly one is required, by `auth`."""


def destination_problems(name: str, destination: Destination) -> Iterator[Problem]:
    """Yield place and text of every problem."""
    place = f"destinations.{name}"
    yield from _numbers(place, destination)
    if isinstance(destination, DicomDestination | DicomwebDestination):
        for text in destination.retried:
            if not _STATUS.fullmatch(text):
                yield f"{place}.retried", f"{text!r} is not a status: four hexadecimal digits, x for any"
    match destination:
        case DicomwebDestination() | PeerDestination():
            yield from _http(place, destination)
        case FolderDestination():
            if not destination.path.startswith("/"):
                yield f"{place}.path", f"{destination.path!r} is not an absolute path; begin it with /"


def _numbers(place: str, destination: BaseDestination) -> Iterator[Problem]:
    for field in ("connections", "attempts", "retry_after", "retry_longest", "prove_after", "timeout", "batch"):
        number = getattr(destination, field, 1)
        if number <= 0:
            yield f"{place}.{field}", f"{number} must be more than 0"
    for field in ("bandwidth", "batch_size"):
        number = getattr(destination, field, 0)
        if number < 0:
            yield f"{place}.{field}", f"{number} must not be negative"


def _http(place: str, section: DicomwebDestination | PeerDestination) -> Iterator[Problem]:
    yield from _url(f"{place}.url", section.url, secret=section.auth != "none")
    if bool(section.certificate) != bool(section.key):
        yield f"{place}.certificate", "and key belong together: set both, or neither"
    if section.certificate and not section.url.startswith("https:"):
        yield f"{place}.certificate", "needs a url with https"
    needed, either = _CREDENTIALS.get(section.auth, ((), ()))
    for field in needed:
        if not getattr(section, field):
            yield f"{place}.{field}", f'auth = "{section.auth}" needs it'
    if either and sum(bool(getattr(section, field)) for field in either) != 1:
        yield place, f'auth = "{section.auth}" needs either {either[0]} or {either[1]}'
    for kind, fields in _CREDENTIALS.items():
        for field in (*fields[0], *fields[1]):
            if kind != section.auth and getattr(section, field):
                yield f"{place}.{field}", f'is for auth = "{kind}", not "{section.auth}"'
    if section.auth == "oauth2":
        yield from _url(f"{place}.token_url", section.token_url, secret=True)


def _url(place: str, url: str, *, secret: bool) -> Iterator[Problem]:
    """Check a URL, without quoting it in any text: it may contain a password."""
    try:
        address = urlsplit(url)
        host, _port = address.hostname or "", address.port
    except ValueError:
        address, host = urlsplit(""), ""
    if address.scheme not in ("http", "https") or not host:
        yield place, "is not an address like https://archive.example.org/dicom-web"
    elif address.username is not None:
        yield place, "an address must not contain a user or password; set auth, user and password"
    elif address.query or address.fragment:
        yield place, "an address must not contain ? or #"
    elif secret and address.scheme == "http" and not is_loopback(host):
        yield place, "credentials could be read on the way over http; use https"
