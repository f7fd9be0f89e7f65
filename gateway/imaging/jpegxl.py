"""Parsing the header of a JPEG XL stream before decoding (ISO 18181-1 Annex D; file format 18181-2).

Features that no DICOM image has are refused: extra channels, animations and previews cost memory beyond the attributes.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import DataSetError
from gateway.imaging.codestream import Codestream

SIGNATURE: Final = b"\xff\x0a"
_FILE: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEADER_BYTES: Final = 64
"""Bytes of the parsed part of the header."""
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MAX_SAMPLES: Final = 1 << 27
"""Samples of a frame; during decoding each takes 8 bytes or more, whatever its depth."""
_SIZES: Final = (9, 13, 18, 30)


def inner_jpeg(data: bytes) -> bytes:
    """Restore the JPEG stream from which a JPEG XL file was made, byte for byte (ISO 18181-2: its `jbrd` box).

    Raises: DataSetError for a file that was not made from one, or is broken.
    """
    import imagecodecs

    parse_jpegxl(data)
    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))
    except Exception as error:  # the codec has errors of its own
        raise DataSetError(f"the JPEG inside the JPEG XL stream cannot be restored: {error}") from error


class _Bits:
    """Reads bits from the lowest of each byte up."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")
        self._remaining = 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._remaining:
            raise DataSetError("broken JPEG XL stream: its header is cut short")
        bits = self._number & (1 << count) - 1
        self._number >>= count
        self._remaining -= count
        return bits

    def flag(self) -> bool:
        return self.read(1) == 1

    def choice(self, *forms: tuple[int, int]) -> int:
        """Read a U32: one of four forms, a number to add and bits to read."""
        add, bits = forms[self.read(2)]
        return add + self.read(bits)


def parse_jpegxl(data: bytes) -> Codestream:
    """Parse size, samples and depth of a bare stream or one in the file format. Raises: DataSetError."""
    bits = _Bits(_header(data))
    small = bits.flag()

    def dimension() -> int:
        return (bits.read(5) + 1) * 8 if small else bits.read(_SIZES[bits.read(2)]) + 1

    rows = dimension()
    ratio = bits.read(3)
    columns = rows * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1] if ratio else dimension()
    if rows * columns > _MAX_SAMPLES // 3:
        raise DataSetError(f"a JPEG XL stream of {columns} by {rows} pixels, which is too much to decode")
    if bits.flag():  # all_default
        return Codestream(rows, columns, 3, 8)
    if bits.flag():  # extra_fields
        turned, sized, preview, animation = bits.read(3), bits.flag(), bits.flag(), bits.flag()
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
    if data[:2] == SIGNATURE:
        return data[2 : 2 + _HEADER_BYTES]
    if not data.startswith(_FILE):
        raise DataSetError("not a JPEG XL stream: it does not begin like one")
    at, header = len(_FILE), b""
    while at + 8 <= len(data) and len(header) < _HEADER_BYTES:
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        body = at + 8
        if length == 1:
            length = int.from_bytes(data[body : body + 8], "big")
            body += 8
        stop = at + length if length else len(data)
        if stop < body:
            break
        if kind == b"jxlp":  # a part of the stream, after its number
            header += data[body + 4 : min(stop, body + 4 + _HEADER_BYTES)]
        elif kind == b"jxlc":
            header = data[body : min(stop, body + _HEADER_BYTES)]
            break
        at = stop
    if header[:2] != SIGNATURE:
        raise DataSetError("broken JPEG XL file: no stream in it")
    return header[2:]
