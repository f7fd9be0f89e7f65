"""The structure of the settings that say what instances are sent to: destinations, one class for each kind.

What they mean is `gateway.remote`'s; when they are sent to, `gateway.delivery`'s.
"""

from __future__ import annotations

from typing import Literal

from gateway.config.base import MiB, Section


class BaseDestination(Section, frozen=True, tag_field="kind"):
    """Where deliveries go."""

    connections: int = 2
    """Associations or requests at once, at most."""
    bandwidth: int = 0
    """Bytes a second over all of them. 0: as it comes."""
    hours: tuple[str, ...] = ()
    """When it is sent to, as in rules. None: always."""
    priority: int = 0
    """Added to that of the rule: of what waits, the highest goes first."""
    attempts: int = 30
    """After which a delivery that fails again and again is dead. While nobody answers at all none is counted."""
    retry_after: float = 10.0
    """Seconds before the second attempt, give or take a half; twice that before the third, and so on."""
    retry_longest: float = 3600.0
    prove: bool = False
    """Ask, once it has taken instances of a study, whether it really has them (C-FIND, QIDO-RS, or as its kind does
    that), and send what it lacks again."""
    prove_after: float = 60.0
    """Seconds after the last delivery of a study until it is asked."""


class DicomDestination(BaseDestination, frozen=True, kw_only=True, tag="dicom"):
    """`kind = "dicom"`: a DICOM node, to which we send by C-STORE."""

    modality: str
    """The modality, by name."""
    retried: tuple[str, ...] = ("A7xx", "0110", "Cxxx")
    """Failure statuses (PS3.7 Annex C) after which a delivery is tried again; x is any digit. After others it is
    refused."""


class _Files(BaseDestination, frozen=True, kw_only=True):
    """Kinds that send a file, and not in a presentation context that has been agreed on: `dicomweb`, `peer`,
    `folder`."""

    transfer_syntaxes: tuple[str, ...] = ()
    """UIDs of those that it takes, where it does not take all: other instances are re-encoded, or refused where that
    would lose something."""


class _Http(_Files, frozen=True, kw_only=True):
    """Kinds that are spoken to over HTTP: `dicomweb`, `peer`."""

    url: str
    auth: Literal["none", "basic", "bearer", "oauth2", "google"] = "none"
    """How it learns who we are: `user` and `password`; a token; an access token by client credentials from
    `token_url`; or one for a service account of Google."""
    user: str = ""
    password: str = ""
    token: str = ""
    token_file: str = ""
    """File with the token instead, read again for each request."""
    token_url: str = ""
    """Where access tokens are had (RFC 6749 §4.4), before the one we have expires."""
    client_id: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    scope: str = ""
    """Of the access token; with `google`, empty means its Healthcare API."""
    audience: str = ""
    key_file: str = ""
    """The service account's key, JSON as Google gives it out."""
    ca: str = ""
    """PEM file with the certificate authorities that we trust here; empty: the system's."""
    certificate: str = ""
    """PEM file with our certificate chain, for who wants one from its clients."""
    key: str = ""
    """Its private key, PEM without a passphrase."""
    timeout: float = 60.0
    """Seconds for it to take the next part of a request, and to answer."""


class DicomwebDestination(_Http, frozen=True, kw_only=True, tag="dicomweb"):
    """`kind = "dicomweb"`: a server to which we send by STOW-RS. `url` is what stands before `/studies`."""

    batch: int = 16
    """Instances in one request, at most."""
    batch_size: int = 64 * MiB
    """Bytes of a request after which no further instance is put into it."""
    retried: tuple[str, ...] = ("A7xx", "0110", "Cxxx", "B00F")
    """Failure reasons (PS3.18 Annex I) after which a delivery is tried again, as for `dicom`."""


class PeerDestination(_Http, frozen=True, kw_only=True, tag="peer"):
    """`kind = "peer"`: another gateway, or an Orthanc, to which we send over its REST API at `url`."""


class FolderDestination(_Files, frozen=True, kw_only=True, tag="folder"):
    """`kind = "folder"`: files in a folder, which must be there."""

    path: str
    name: str = "{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"
    """The file of an instance in it. What stands in braces are attributes, by keyword; what no file may be called
    becomes `_`. Another file of that name stays as it is, and the new one is called `NAME~2`."""


Destination = DicomDestination | DicomwebDestination | PeerDestination | FolderDestination
