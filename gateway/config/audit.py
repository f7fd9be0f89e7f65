"""The section of the audit log."""

from __future__ import annotations

from gateway.config.base import Section


class Audit(Section, frozen=True):
    """The audit log: who saw, searched, changed, sent and deleted what."""

    enabled: bool | None = None
    """Write it. Unset: as soon as `[[http.users]]` names anybody."""
    keep_days: float = 3650.0
    """Days for which entries are kept; then the oldest are removed. 0: for ever."""
    syslog: str = ""
    """`host:port` of a receiver of DICOM audit messages (PS3.15 A.5) by syslog over TLS (RFC 5425), such as
    `arr.hospital.example:6514`. Empty: none."""
    ca: str = ""
    """PEM file with the authorities that sign the certificate of that receiver; empty: the system's."""
    certificate: str = ""
    """PEM file with the certificate chain that we show to it; empty: none."""
    key: str = ""
    """Private key of that certificate, PEM without a passphrase."""
    source: str = ""
    """Name of this gateway in audit messages (AuditSourceID); empty: `dicom.aet`."""
    site: str = ""
    """Name of the site in audit messages (AuditEnterpriseSiteID); empty: none."""
