"""What a certificate says, for people: names, issuer, days of validity."""

from __future__ import annotations

import contextlib

from cryptography import x509


def certificate_values(der: bytes) -> dict[str, str]:
    """The `subject`, `names`, `issuer`, `begins` and `ends` of a certificate; `?` where one cannot be read."""
    found = dict.fromkeys(("subject", "names", "issuer", "begins", "ends"), "?")
    with contextlib.suppress(ValueError):
        certificate = x509.load_der_x509_certificate(der)
        found |= {
            "subject": certificate.subject.rfc4514_string()[:200] or "?",
            "issuer": certificate.issuer.rfc4514_string()[:200] or "?",
            "begins": certificate.not_valid_before_utc.strftime("%Y-%m-%d"),
            "ends": certificate.not_valid_after_utc.strftime("%Y-%m-%d"),
        }
        found["names"] = _names(certificate) or found["subject"]
    return found


def _names(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return ", ".join(str(each.value) for each in names)[:200]
