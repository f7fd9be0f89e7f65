"""Settings: one immutable snapshot, checked as a whole.

`sections.py` has the structure and the defaults, `checks.py` the relations between fields, `sources.py` the sources of
settings, `problems.py` reading and checking. The meaning of a section is implemented in the room that uses it.
"""

from gateway.config.addresses import as_network, is_loopback
from gateway.config.audit import Audit
from gateway.config.problems import Problem, Reading, load, read
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
    Rest,
    Retrieve,
    Server,
    Service,
    Settings,
    Storage,
    Tracing,
    Worklist,
)
from gateway.config.sign_in import BreakGlass, Oidc, Tokens, User
from gateway.config.sources import as_builtins, changes
from gateway.config.tenants import Tenant

__all__ = [
    "SERVICES",
    "Audit",
    "BreakGlass",
    "Commitment",
    "Dicom",
    "Dicomweb",
    "Http",
    "Imaging",
    "Jobs",
    "Log",
    "Modality",
    "Mpps",
    "Oidc",
    "Problem",
    "Query",
    "Reading",
    "Rest",
    "Retrieve",
    "Server",
    "Service",
    "Settings",
    "Storage",
    "Tenant",
    "Tokens",
    "Tracing",
    "User",
    "Worklist",
    "as_builtins",
    "as_network",
    "changes",
    "is_loopback",
    "load",
    "read",
]
