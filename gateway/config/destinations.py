"""The structure of the settings of destinations, one class for each kind.

`gateway.remote` implements the kinds, `gateway.forwarding` the deliveries.
"""

from __future__ import annotations

from typing import Literal

from gateway.config.base import MiB, Section, Size


class BaseDestination(Section, frozen=True, tag_field="kind"):
    """The settings common to all kinds of destinations."""

    tenant: str = ""
    """The tenant that may send to it, and whose people see it; `*`: every one. Empty: none, only those above them."""
    connections: int = 2
    """Associations or requests at once, at most."""
    bandwidth: Size = 0
    """Bytes a second over all of them. 0: no limit."""
    hours: tuple[str, ...] = ()
    """The hours for deliveries, as in rules. None: always."""
    priority: int = 0
    """Added to the priority of the rule: of waiting deliveries, the highest goes first."""
    attempts: int = 30
    """Failures after which a delivery is dead. Attempts while the destination cannot be reached do not count."""
    retry_after: float = 10.0
    """Seconds before the second attempt, give or take a half; twice that before the third, and so on."""
    retry_longest: float = 3600.0
    prove: bool = False
    """Ask the destination, after deliveries of a study, whether it really has the instances (by C-FIND, QIDO-RS, or the
    way of its kind), and send again what it lacks."""
    prove_after: float = 60.0
    """Seconds between the last delivery of a study and that question."""


class DicomDestination(BaseDestination, frozen=True, kw_only=True, tag="dicom"):
    """`kind = "dicom"`: a DICOM node; instances are sent by C-STORE."""

    modality: str
    """The modality, by name."""
    retried: tuple[str, ...] = ("A7xx", "0110", "Cxxx")
    """Failure statuses (PS3.7 Annex C) after which a delivery is tried again; x is any digit. After any other, it is
    refused."""


class _Files(BaseDestination, frozen=True, kw_only=True):
    """Kinds that receive a file, without negotiated presentation contexts: `dicomweb`, `peer`, `folder`."""

    transfer_syntaxes: tuple[str, ...] = ()
    """UIDs of the transfer syntaxes that it accepts, unless it accepts all: other instances are transcoded, or refused
    if that would lose something."""


class _Http(_Files, frozen=True, kw_only=True):
    """Kinds over HTTP: `dicomweb`, `peer`."""

    url: str
    auth: Literal["none", "basic", "bearer", "oauth2", "google"] = "none"
    """The authentication: `user` and `password`; a token; an access token by client credentials from `token_url`; or
    one for a service account of Google."""
    user: str = ""
    password: str = ""
    token: str = ""
    token_file: str = ""
    """File with the token instead, read again for each request."""
    token_url: str = ""
    """The address that issues access tokens (RFC 6749 §4.4); a token is replaced before it expires."""
    client_id: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    scope: str = ""
    """Scope of the access token; with `google`, empty means its Healthcare API."""
    audience: str = ""
    key_file: str = ""
    """The service account's key: the JSON file from Google."""
    ca: str = ""
    """PEM file with the certificate authorities trusted for this destination; empty: the system's."""
    certificate: str = ""
    """PEM file with our certificate chain, if the destination requires one."""
    key: str = ""
    """Private key of that certificate, PEM without a passphrase."""
    timeout: float = 60.0
    """Seconds for it to read the next part of a request, and to answer."""


class DicomwebDestination(_Http, frozen=True, kw_only=True, tag="dicomweb"):
    """`kind = "dicomweb"`: a DICOMweb server; instances are sent by STOW-RS. `url` is the part before `/studies`."""

    batch: int = 16
    """Instances in one request, at most."""
    batch_size: Size = 64 * MiB
    """Bytes of a request after which no further instance is added."""
    retried: tuple[str, ...] = ("A7xx", "0110", "Cxxx", "B00F")
    """Failure reasons (PS3.18 Annex I) after which a delivery is tried again, as for `dicom`."""


class PeerDestination(_Http, frozen=True, kw_only=True, tag="peer"):
    """`kind = "peer"`: another gateway or an Orthanc; instances are sent over its REST API at `url`."""


class FolderDestination(_Files, frozen=True, kw_only=True, tag="folder"):
    """`kind = "folder"`: files in a folder, which must exist."""

    path: str
    name: str = "{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"
    """The file of an instance in the folder. Names in braces are attributes, by keyword; characters that are impossible
    in a file name become `_`. An existing file of that name stays, and the new one is called `NAME~2`."""


Destination = DicomDestination | DicomwebDestination | PeerDestination | FolderDestination
