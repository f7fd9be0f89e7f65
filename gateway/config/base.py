"""What every section of the settings is made of."""

from __future__ import annotations

import msgspec

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass
