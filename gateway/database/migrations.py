"""Numbered migrations and their statements for a dialect. Running them is the driver's work.

A migration is `migrations/NNNN_name.sql`. Three tokens differ between databases: `{key}` for a row number made by the
database, `{sequence}` for one that is never used twice, and `{bytes}` for the type of a column of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from gateway.errors import DatabaseError

SQLITE = {
    "{key}": "INTEGER PRIMARY KEY",
    "{sequence}": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "{bytes}": "BLOB",
}


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    def statements(self, dialect: dict[str, str]) -> list[str]:
        """The statements one by one, without comments. No statement contains a semicolon."""
        lines = [line for line in self.sql.splitlines() if not line.lstrip().startswith("--")]
        text = "\n".join(lines)
        for token, meaning in dialect.items():
            text = text.replace(token, meaning)
        return [statement.strip() for statement in text.split(";") if statement.strip()]


@cache
def migrations() -> tuple[Migration, ...]:
    """Every migration of this release, oldest first, numbered 1 to n without a gap."""
    entries = []
    for entry in resources.files("gateway.database").joinpath("migrations").iterdir():
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            entries.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    entries.sort(key=lambda migration: migration.version)
    if [migration.version for migration in entries] != list(range(1, len(entries) + 1)):
        raise DatabaseError(f"the migrations of this release have a gap: {[m.version for m in entries]}")
    return tuple(entries)


def pending(current: int) -> tuple[Migration, ...]:
    """The migrations still to run on a database at schema version `current` (0: empty).

    Raises: DatabaseError for a database that a newer release has migrated.
    """
    known = migrations()
    if current > len(known):
        raise DatabaseError(
            f"the database has schema version {current}, this release knows {len(known)} at most: it was opened by a "
            "newer release; install that one again, or restore a backup made before it"
        )
    return known[current:]
