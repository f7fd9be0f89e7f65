"""What the system says of a file of Orthanc's that it does not let us read, and what to do about it."""

from __future__ import annotations


def reason_of(error: OSError) -> str:
    """The reason in words; for a lack of rights with whom to run this as."""
    said = error.strerror or type(error).__name__
    return f"{said}; run this as root or as Orthanc's user" if isinstance(error, PermissionError) else said
