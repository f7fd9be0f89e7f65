"""Roles: what their holders may do, and which studies they may do it with."""

from __future__ import annotations

import typing
from typing import Final, Literal

from gateway.config.base import Section

Permission = Literal[
    "view",
    "download",
    "upload",
    "modify",
    "anonymize",
    "edit-labels",
    "delete",
    "send",
    "share",
    "q-r-remote-modalities",
    "worklists",
    "route",
    "settings",
    "audit-logs",
    "admin-permissions",
    "break-glass",
]
"""The names are those of Orthanc's authorization plugin, which its clients know; `route` and `break-glass` are ours."""
PERMISSIONS: Final[tuple[Permission, ...]] = typing.get_args(Permission)
OF_STUDIES: Final[frozenset[str]] = frozenset(
    {"view", "download", "upload", "modify", "anonymize", "edit-labels", "delete", "send", "share"}
)
"""Permissions to do something with studies, which a role may limit to some of them. The others are about what belongs
to no study, or to all: only a role without conditions gives them."""
DEPOSIT: Final = "deposit"
"""The permission to upload to the inbox and nothing else: that of a link for it. Roles of the configuration do not name
it."""
OF_TENANTS: Final[frozenset[str]] = OF_STUDIES | {"q-r-remote-modalities", "worklists", "route", DEPOSIT}
"""Permissions that a role of a tenant may give: those with studies, and with what is the tenant's own beside them: its
modalities, its worklist, and the deliveries of its studies."""
LEVELS_OF_PERMISSION: Final = ("patient", "study", "series", "instance")
"""A permission with one of them, `delete:series`, holds for resources of that level and below."""


class Role(Section, frozen=True, cache_hash=True):
    """A role says what its holders may do, and with which studies: with all, unless it has conditions on them."""

    permissions: tuple[str, ...]
    """Permissions, or `all`; with a level, `delete:series`, for resources of that level and below alone."""
    tenant: str = ""
    """Only studies of this tenant, by its name in `[tenants]`; what a holder of the role brings in belongs to it.
    Empty: the role is above all tenants, and what a holder brings in belongs to none."""
    labels: tuple[str, ...] = ()
    """Only studies that have one of these labels, or whose patient has."""
    without_labels: tuple[str, ...] = ()
    """Only studies that have none of these labels, and whose patient has none."""
    sources: tuple[str, ...] = ()
    """Only studies whose first instance came from one of these AE titles."""
    patients: tuple[str, ...] = ()
    """Only studies of these Patient IDs, in which * stands for any characters."""
    studies: tuple[str, ...] = ()
    """Only studies with these Study Instance UIDs, or Orthanc's identifiers."""
    days: float | None = None
    """Only studies of which something came in the last so many days."""

    @property
    def has_conditions(self) -> bool:
        """Whether it shows some studies only."""
        return bool(self.tenant) or self.has_conditions_in_tenant

    @property
    def has_conditions_in_tenant(self) -> bool:
        """Whether it shows some of the studies of its tenant only, or without one, of all."""
        conditions = (self.labels, self.without_labels, self.sources, self.patients, self.studies)
        return any(conditions) or self.days is not None

    def grants_all_of_tenant(self, permission: str) -> bool:
        """Whether it gives a permission for all that a tenant has, and not merely for some of the tenant's studies."""
        named = permission in self.permissions or "all" in self.permissions
        return bool(self.tenant) and not self.has_conditions_in_tenant and named

    @property
    def excessive(self) -> tuple[str, ...]:
        """The permissions that it names and may not give, since they are about more than what it shows."""
        allowed = self.grantable
        if allowed is None:
            return ()
        return tuple([each for each in self.permissions if each.partition(":")[0] not in ("all", *allowed)])

    @property
    def grantable(self) -> frozenset[str] | None:
        """The permissions that it may give; None for all."""
        if not self.has_conditions:
            return None
        return OF_STUDIES if self.has_conditions_in_tenant else OF_TENANTS


BUILT_IN: Final[dict[str, Role]] = {
    "admin": Role(permissions=("all",)),
    "view": Role(permissions=("view", "download")),
    "store": Role(permissions=("upload",)),
    "route": Role(permissions=("view", "send", "q-r-remote-modalities", "route")),
    "manage": Role(
        permissions=(
            *("view", "download", "upload", "modify", "anonymize", "edit-labels", "delete", "send", "share"),
            *("q-r-remote-modalities", "worklists", "route", "settings"),
        )
    ),
    "audit": Role(permissions=("audit-logs",)),
}
"""The roles that there are without any configuration. A role of the configuration with the same name replaces it."""
