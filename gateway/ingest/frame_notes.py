"""What is noted with an instance in a segment, beside its file: what no file of it says, so that its rows can be made
again from the frame alone."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import StorageError
from gateway.index.store import Origin


class FrameNotes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The notes of one frame: where the instance came from, and when. Its tenant stands in the file itself."""

    via: str
    received_at: float
    calling_aet: str = ""
    called_aet: str = ""
    peer: str = ""
    lacking: str = ""
    """What its pixel data lack, in words; '' if nothing is known."""
    replayable: bool = True
    """Whether its rows can be made again from the frame. Others (a new version, what waits in the inbox) are
    acknowledged only after a transaction that is flushed. A copy counts once its row names it: what it is a copy of may
    have been deleted while it was made, and must not come back."""
    entails: dict[str, Any] = {}
    """What it entails beside its rows, as `Consequences.noted`."""

    @classmethod
    def of(
        cls, origin: Origin, lacking: str, *, replayable: bool = True, entails: dict[str, Any] | None = None
    ) -> FrameNotes:
        sender = origin.calling_aet, origin.called_aet, origin.peer
        return cls(origin.via, origin.received_at, *sender, lacking, replayable, entails or {})

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    def origin(self, tenant: str) -> Origin:
        """The origin of the instance, which belongs to this tenant."""
        return Origin(self.calling_aet, self.called_aet, self.peer, self.received_at, self.via, tenant)  # type: ignore[arg-type]


def decode(notes: bytes) -> FrameNotes:
    """The notes of a frame. Raises: StorageError."""
    try:
        return msgspec.json.decode(notes, type=FrameNotes)
    except msgspec.DecodeError as error:
        raise StorageError(f"the notes of a frame cannot be read: {error}") from None


def of_copy(notes: bytes) -> bytes:
    """The notes of a frame as its copy in another segment has them. Raises: StorageError."""
    return msgspec.structs.replace(decode(notes), replayable=False, entails={}).encode()
