"""A peer or DICOMweb server in the fields of Orthanc's REST API, and as a section of our settings; each way.

Pure. Files with certificates are named in the configuration only: over REST nobody names a path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.errors import BadRequest
from gateway.remote.modality_fields import Fields, timeout_of

Section = PeerDestination | DicomwebDestination
S = TypeVar("S", PeerDestination, DicomwebDestination)

_URL: Final = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", re.IGNORECASE)
_MAX_URL: Final = 2048
_MAX_TEXT: Final = 1024
_MAX_PROPERTIES: Final = 50
_FILES: Final = ("CertificateFile", "CertificateKeyFile", "CertificateKeyPassword")
_KNOWN: Final = frozenset({"Url", "Username", "Password", "HttpHeaders", "Timeout", "Pkcs11"})
_TIMEOUT_S: Final = 60.0


def read_http(body: Any) -> Fields:
    """The fields of a peer or server, with the properties of its own. Raises BadRequest, with the field that is wrong.

    `body` is an object, or the list of older scripts: URL, user and password.
    """
    if isinstance(body, list):
        if len(body) not in (1, 3):
            raise BadRequest("it is a list of its URL and perhaps user and password, or an object")
        body = dict(zip(("Url", "Username", "Password"), body, strict=False))
    if not isinstance(body, Mapping):
        raise BadRequest("it is a JSON object with the field Url")
    url = _text(body, "Url")
    if not url:
        raise BadRequest("Empty URL")
    if not _URL.fullmatch(url) or len(url) > _MAX_URL:
        raise BadRequest(f"Bad URL: {url[:80]}")
    for name in _FILES:
        if body.get(name):
            raise BadRequest(f"{name}: files are named in the configuration, as [destinations.NAME]")
    if body.get("Pkcs11", False) is not False:
        raise BadRequest("Pkcs11: hardware tokens are not used here")
    fields: Fields = {"Url": url.rstrip("/") + "/", "Pkcs11": False, "Timeout": timeout_of(body)}
    if user := _text(body, "Username"):
        fields |= {"Username": user, "Password": _text(body, "Password")}
    fields["HttpHeaders"] = _headers(body.get("HttpHeaders", {}))
    if len(body) > _MAX_PROPERTIES:
        raise BadRequest(f"more than {_MAX_PROPERTIES} properties")
    for name in body.keys() - _KNOWN - set(_FILES):
        fields[str(name)[:_MAX_TEXT]] = _property(name, body[name])
    return fields


def section_of(kind: type[S], fields: Mapping[str, Any]) -> S:
    """The section that says the same."""
    token = fields["HttpHeaders"].get("Authorization", "").partition(" ")[2]
    return kind(
        url=fields["Url"],
        auth="bearer" if token else "basic" if "Username" in fields else "none",
        user=fields.get("Username", ""),
        password=fields.get("Password", ""),
        token=token,
        timeout=float(fields["Timeout"]) or _TIMEOUT_S,
    )


def fields_of_section(section: Section) -> Fields:
    """The fields of a peer or server of the configuration, as far as they can say it."""
    user = {"Username": section.user, "Password": ""} if section.auth == "basic" else {}
    url = section.url.rstrip("/") + "/"
    return {"Url": url, "Pkcs11": False, "Timeout": int(section.timeout), "HttpHeaders": {}, **user}


def shown(fields: Mapping[str, Any]) -> Fields:
    """The fields as they are shown: of headers their names, of a password that there is one."""
    secrets = {"Password": None} if "Username" in fields else {}
    return {**fields, **secrets, "HttpHeaders": sorted(fields["HttpHeaders"])}


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > max(_MAX_TEXT, _MAX_URL):
        raise BadRequest(f"String value expected in field: {name}")
    return value


def _headers(headers: Any) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise BadRequest("HttpHeaders is an object of texts by name")
    found = ""
    for name, value in headers.items():
        is_token = isinstance(value, str) and re.fullmatch(r"Bearer [\x21-\x7e]{1,8192}", value)
        if str(name).lower() != "authorization" or not is_token:
            raise BadRequest('HttpHeaders: only "Authorization": "Bearer TOKEN" is sent')
        found = value
    return {"Authorization": found} if found else {}


def _property(name: Any, value: Any) -> str:
    """As text, as Orthanc keeps it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if not isinstance(value, str | int | float) or len(str(value)) > _MAX_TEXT:
        raise BadRequest(f"{str(name)[:80]}: a property is a short text, a number or a truth")
    return str(value)
