"""The structure of the settings of tenants. `tenant_settings.py` has the part of all settings that is one tenant's."""

from __future__ import annotations

from typing import Final

from gateway.config.base import Section, Size

EVERYBODYS: Final = "*"
"""In the place of a tenant: every tenant's, and whoever's is above them."""


class Tenant(Section, frozen=True):
    """An institution or group with studies of its own, whose patients are no other's, over one archive."""

    aets: tuple[str, ...] = ()
    """AE titles of the gateway that are the tenant's: who calls one of them meets nothing but this tenant."""
    max_size: Size = 0
    """Bytes that its instances may take; what comes beyond them is refused. 0: no limit."""
    max_instances: int = 0
    """Its instances, at most. 0: no limit."""
    max_rate: Size = 0
    """Bytes a second that it may store, over all ways in: senders that are faster wait. 0: no limit."""
    worklist_folder: str = ""
    """Folder whose files are worklist items of the tenant, as `worklist.folder`. Empty: none."""
    keep_days: float = 0.0
    """Days after which a study of it of which nothing has come since is deleted, unless its patient is protected. 0:
    never."""
