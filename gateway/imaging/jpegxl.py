"""What the header of a JPEG XL stream says, before anything is decoded (ISO 18181-1 Annex D; file format 18181-2).

What no DICOM image has is refused here: further channels, animations and previews cost memory that no attribute says.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import DataSetError
from gateway.imaging.codestream import Codestream

_SIGNATURE: Final = b"\xff\x0a"
_FILE: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEADER: Final = 64
"""Bytes that the part of the header that is read here may have."""
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MAX_SAMPLES: Final = 1 << 27
"""Samples of a frame; while it is decoded each takes 8 bytes or more, whatever its depth."""
_SIZES: Final = (9, 13, 18, 30)


class _Bits:
    """Reads from the lowest bit of each byte up."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise DataSetError("broken JPEG XL stream: its header is cut short")
        found = self._number & (1 << count) - 1
        self._number >>= count
        self._left -= count
        return found

    def flag(self) -> bool:
        return self.take(1) == 1

    def choice(self, *forms: tuple[int, int]) -> int:
        """U32: one of four forms, a number to add and bits to read."""
        add, bits = forms[self.take(2)]
        return add + self.take(bits)


def parse_jpegxl(data: bytes) -> Codestream:
    """Size, samples and depth of a bare stream or one in the file format. DataSetError."""
    bits = _Bits(_header(data))
    small = bits.flag()

    def dimension() -> int:
        return (bits.take(5) + 1) * 8 if small else bits.take(_SIZES[bits.take(2)]) + 1

    rows = dimension()
    ratio = bits.take(3)
    columns = rows * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1] if ratio else dimension()
    if rows * columns > _MAX_SAMPLES // 3:
        raise DataSetError(f"a JPEG XL stream of {columns} by {rows} pixels, which is too much to decode")
    if bits.flag():  # all_default
        return Codestream(rows, columns, 3, 8)
    if bits.flag():  # extra_fields
        turned, sized, preview, animation = bits.take(3), bits.flag(), bits.flag(), bits.flag()
        if turned or sized or preview or animation:
            raise DataSetError("a JPEG XL stream that is turned round, animated or has a preview")
    if bits.flag():
        raise DataSetError("a JPEG XL stream of floating point samples")
    precision = bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
    bits.flag()  # modular_16_bit_buffers
    if bits.choice((0, 0), (1, 0), (2, 4), (1, 12)):
        raise DataSetError("a JPEG XL stream with channels besides its colours")
    bits.flag()  # xyb_encoded
    samples = 3
    if not bits.flag():  # the colour encoding is not the default
        if bits.flag():
            raise DataSetError("a JPEG XL stream with a colour profile")
        samples = 1 if bits.choice((0, 0), (1, 0), (2, 4), (18, 6)) == 1 else 3
    return Codestream(rows, columns, samples, precision)


def _header(data: bytes) -> bytes:
    if data[:2] == _SIGNATURE:
        return data[2 : 2 + _HEADER]
    if not data.startswith(_FILE):
        raise DataSetError("not a JPEG XL stream: it does not begin like one")
    at, found = len(_FILE), b""
    while at + 8 <= len(data) and len(found) < _HEADER:
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        body = at + 8
        if length == 1:
            length = int.from_bytes(data[body : body + 8], "big")
            body += 8
        stop = at + length if length else len(data)
        if stop < body:
            break
        if kind == b"jxlp":  # a part of it, after its number
            found += data[body + 4 : min(stop, body + 4 + _HEADER)]
        elif kind == b"jxlc":
            found = data[body : min(stop, body + _HEADER)]
            break
        at = stop
    if found[:2] != _SIGNATURE:
        raise DataSetError("broken JPEG XL file: no stream in it")
    return found[2:]
