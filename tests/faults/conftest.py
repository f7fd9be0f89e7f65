"""What the fault tests share: the library that makes calls fail, compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults import Shim


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Shim.build(tmp_path_factory.mktemp("shim"))
