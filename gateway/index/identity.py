"""Orthanc's public identifiers, so that scripts written for them go on working.

An identifier is the SHA-1 of the DICOM identifiers from the patient down, joined by '|', in five groups of eight
hexadecimal digits. It names the same resource in every installation.
"""

from __future__ import annotations

from hashlib import sha1


def canonical_patient_id(patient_id: str) -> str:
    """The Patient ID as used in identifiers; '' if there is none.

    As in Orthanc 1.10 (observed on a live one, not as its sources suggest): trailing spaces go, then all from the
    first NUL on; leading spaces and other white space stay.
    """
    return patient_id.rstrip(" ").partition("\0")[0]


def public_id(*identifiers: str) -> str:
    """The identifier of a patient (PatientID), study (and StudyInstanceUID), series or instance, in that order.

    >>> public_id("ABC")
    '3c01bdbb-26f358ba-b27f2679-24aa2c9a-03fcfdb8'
    """
    digest = sha1("|".join(identifiers).encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return of_digest(digest.digest())


def owned(patient_id: str, tenant: str) -> str:
    """The first identifier of a patient: the Patient ID, in its canonical form, behind the name of the tenant whose
    patient it is, if any. No Patient ID has a NUL there, so that it is no other patient's."""
    return f"{tenant}\0{patient_id}" if tenant else patient_id


def of_digest(digest: bytes | bytearray) -> str:
    """The public id that a digest of 20 bytes is written as."""
    return digest.hex("-", 4)


def digest_of(public_id: str) -> bytes:
    """The 20 bytes of the digest that a public id is."""
    return bytes.fromhex(public_id.replace("-", ""))
