from __future__ import annotations

import pytest


@pytest.fixture
def new_indexes() -> None:
    """Here each index is migrated from nothing."""
