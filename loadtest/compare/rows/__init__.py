"""The rows of a comparison by name, and groups of them. `measures.py` and the modules beside it measure."""

from __future__ import annotations

from loadtest.compare.rows.builds import ACCESS, BUILDS
from loadtest.compare.rows.intake import INTAKE
from loadtest.compare.rows.memory import MEMORY
from loadtest.compare.rows.reading import READING
from loadtest.compare.rows.rest import REST

ROWS = {row.name: row for row in (*INTAKE, *READING, *BUILDS, *ACCESS, *REST, *MEMORY)}
GROUPS = {
    "table": (*(row.name for row in (*INTAKE, *READING, *BUILDS)), "swarm", "giants"),
    "rest": tuple(row.name for row in REST),
    "quick": ("store-1", "store-8", "small-8", "stow", "qido", "frame", "find"),
    "memory": tuple(row.name for row in MEMORY if row.name != "growth"),
    "all": tuple(ROWS),
}
"""Groups of rows: `table` measures the gateway, `quick` takes few minutes, `growth` and `rest` many: they store 200 000
instances first."""
