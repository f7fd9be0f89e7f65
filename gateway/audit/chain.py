"""The chain of hashes over the audit log: what is removed, changed, swapped or put between shows.

The hash of an entry is the SHA-256 of the hash before it and of the entry in JSON. Whoever may write to the database
can make a whole chain anew: only a hash that is kept elsewhere, as a receiver of audit messages has it, shows that too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from gateway.audit.entry import AuditEntry

BEGIN: Final = bytes(32)
"""The hash before the first entry of all."""


class ChainLink(NamedTuple):
    """A place in the chain: the number of an entry, and its hash. (0, BEGIN) is the place before all."""

    seq: int = 0
    hash: bytes = BEGIN


def linked(before: ChainLink, new: AuditEntry) -> AuditEntry:
    """The entry as the one that follows `before`."""
    numbered = new._replace(seq=before.seq + 1)
    return numbered._replace(hash=_hash(before.hash, numbered))


def break_in(before: ChainLink, entries: Iterable[AuditEntry]) -> tuple[ChainLink, str]:
    """The place after entries in order, and the first of what is wrong with them; an empty text for nothing."""
    for each in entries:
        if each.seq != before.seq + 1:
            return before, f"entry {each.seq} follows entry {before.seq}: what was between them is missing"
        if each.hash != _hash(before.hash, each):
            return before, f"entry {each.seq} is not what was written, or the one before it is not"
        before = ChainLink(each.seq, each.hash)
    return before, ""


def _hash(before: bytes, one: AuditEntry) -> bytes:
    return hashlib.sha256(before + msgspec.json.encode(one[:-1])).digest()
