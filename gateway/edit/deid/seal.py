"""Removed values, sealed: encrypted into the object for recipients who may restore them (PS3.15 E.1.1, E.1.2).

An item of the Encrypted Attributes Sequence (0400,0500) holds a CMS envelope (RFC 5652): its content is a data set
whose Modified Attributes Sequence (0400,0550) has the original attributes; its key is encrypted for each recipient.
`cryptography` is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.dicom import recode
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.errors import ConfigurationError, DataSetError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

ENCRYPTED_ATTRIBUTES: Final = 0x04000500
_SYNTAX_UID: Final = 0x04000510
CONTENT: Final = 0x04000520
MODIFIED_ATTRIBUTES: Final = 0x04000550
MAX_SEALED_BYTES: Final = 16 << 20
"""Bytes sealed in one object."""
_ITEM: Final = 0xFFFEE000
_LITTLE: Final = EXPLICIT_VR_LITTLE_ENDIAN


def read_certificate(file: Path, place: str) -> Certificate:
    """Read a certificate. Raises ConfigurationError when it has no RSA key, which CMS key transport needs."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{place}: {file} has no certificate in PEM form: {error}") from None
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise ConfigurationError(f"{place}: the certificate in {file} must have an RSA key")
    return certificate


def seal(originals: bytes, recipients: Sequence[Any]) -> list[tuple[int, str, bytes]]:
    """Seal elements in Explicit VR Little Endian; returns the elements of the item: tag, VR and value."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7EnvelopeBuilder, PKCS7Options

    if len(originals) > MAX_SEALED_BYTES:
        raise DataSetError(f"{len(originals)} bytes to be sealed, more than {MAX_SEALED_BYTES}")
    item = recode.bare(_ITEM, len(originals), _LITTLE) + originals
    content = recode.header(MODIFIED_ATTRIBUTES, "SQ", len(item), _LITTLE) + item
    builder = PKCS7EnvelopeBuilder().set_data(content).set_content_encryption_algorithm(AES256)
    for certificate in recipients:
        builder = builder.add_recipient(certificate)
    envelope = builder.encrypt(Encoding.DER, [PKCS7Options.Binary])
    uid = _LITTLE.uid.encode("ascii")
    return [(_SYNTAX_UID, "UI", uid + b"\0" * (len(uid) & 1)), (CONTENT, "OB", envelope + b"\0" * (len(envelope) & 1))]


def unseal(envelope: bytes, certificate: Any, key: Any) -> bytes:
    """Open an Encrypted Content (0400,0520); returns the data set in Explicit VR Little Endian.

    Raises: DataSetError when it is not for this certificate and key, or not an envelope.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs7 import pkcs7_decrypt_der

    # A null byte may pad the value to even length, which DER does not allow.
    for padded in (envelope, envelope[:-1]):
        try:
            return pkcs7_decrypt_der(padded, certificate, key, [])
        except (ValueError, UnsupportedAlgorithm) as error:
            reason = error
    raise DataSetError(f"the encrypted attributes cannot be opened with this key: {reason}")


def read_key(certificate: Path, key: Path) -> tuple[Any, Any]:
    """Read a certificate and its private key. Raises ConfigurationError when a file has none."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{key} has no private key in PEM form, without a passphrase: {error}") from None
    return read_certificate(certificate, "the certificate"), private
