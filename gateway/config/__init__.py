"""Settings: one immutable snapshot, checked as a whole.

`sections.py` has the structure and the defaults, `checks.py` what no single field shows, `sources.py` the order in
which sources win. What a section *means* is not here: each room makes its own sense of its own section.
"""

from gateway.config.addresses import as_network, is_loopback
from gateway.config.sections import (
    SERVICES,
    Commitment,
    Dicom,
    Dicomweb,
    Http,
    Imaging,
    Jobs,
    Log,
    Modality,
    Mpps,
    Query,
    Retrieve,
    Server,
    Service,
    Settings,
    Storage,
    Tokens,
    User,
    Worklist,
)
from gateway.config.sources import as_builtins, changes, load

__all__ = [
    "SERVICES",
    "Commitment",
    "Dicom",
    "Dicomweb",
    "Http",
    "Imaging",
    "Jobs",
    "Log",
    "Modality",
    "Mpps",
    "Query",
    "Retrieve",
    "Server",
    "Service",
    "Settings",
    "Storage",
    "Tokens",
    "User",
    "Worklist",
    "as_builtins",
    "as_network",
    "changes",
    "is_loopback",
    "load",
]
