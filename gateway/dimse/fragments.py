"""An outgoing data set, cut so that each of its message fragments has an even number of bytes (PS3.8 Annex E.1).

Here: pieces of any length become pieces of even length, not copied. Not here: how long a PDV may be (`gateway.ul`), and
the padding of elements, which is that of their encoding (`gateway.dicom.recode`).
"""

from __future__ import annotations

Piece = bytes | memoryview


class EvenFragments:
    """The pieces of one data set, made even; the last piece is held back until the end is known.

    DCMTK, and Orthanc with it, aborts the association at a fragment of odd length ("DIMSE: Odd Fragment Length").
    A data set with an odd number of bytes, such as a deflated one that lacks its "trailing NULL byte"
    (PS3.5 A.5), gets a null at its end.
    """

    __slots__ = ("_held", "_odd")

    def __init__(self) -> None:
        self._held: Piece = b""
        self._odd = b""

    def take(self, piece: Piece) -> list[Piece]:
        """Add a piece; returns the pieces that can be sent now, without the last. An empty piece changes nothing."""
        if not piece:
            return []
        ready = [self._held] if self._held else []
        if self._odd:
            pair, piece, self._odd = self._odd + piece[:1], memoryview(piece)[1:], b""
            if not piece:
                self._held = pair
                return ready
            ready.append(pair)
        if len(piece) & 1:
            self._odd = bytes(piece[-1:])
            piece = memoryview(piece)[:-1]
        self._held = piece
        return ready

    def end(self) -> list[Piece]:
        """The remaining pieces, the last of them the end of the data set; one empty piece for an empty data set."""
        if not self._odd:
            return [self._held]
        last = self._odd + b"\0"
        return [self._held, last] if self._held else [last]
