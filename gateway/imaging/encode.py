"""Encoding one frame: the inverse of `decode.py`.

Input is native: little endian, colour by pixel. Lossless unless a quality is given. The photometric interpretation of
the result is decided here (`photometric`), and the data set is changed in `transcode.py`. Runs in a thread:
the codecs release the interpreter lock. They and numpy are imported at first use.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.dicom.uids import Syntax
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging.image import Image

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Encoder:
    """The functions that encode frames in a transfer syntax, and their limits."""

    without_loss: Callable[[Array, Image], bytes] | None = None
    with_loss: Callable[[Array, Image, int], bytes] | None = None
    """The last argument is the quality, 1 to 100."""
    method: str = ""
    """Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1)."""
    allocated: tuple[int, ...] = (8, 16)
    """Supported values of Bits Allocated."""
    signed: bool = True
    colours: tuple[str, ...] = ("RGB", "YBR_FULL")
    """Photometric Interpretations of three samples."""
    rgb: str = "RGB"
    """The Photometric Interpretation of RGB after lossless encoding."""
    lossy_rgb: str = "RGB"


def check(image: Image, target: Syntax, quality: int | None = None) -> Encoder:
    """The encoder for decoded frames of `image` in `target`. Raises: UnsupportedTransferSyntax if there is none."""
    encoder = ENCODERS.get(target.uid)
    if encoder is None:
        raise UnsupportedTransferSyntax(f"{target.name} is not encoded here")
    if quality is None and encoder.without_loss is None:
        raise UnsupportedTransferSyntax(f"{target.name} is lossy, and no quality is given")
    if quality is not None and encoder.with_loss is None:
        raise UnsupportedTransferSyntax(f"{target.name} is not encoded with loss here")
    if image.floating or image.bits_allocated not in encoder.allocated:
        raise UnsupportedTransferSyntax(f"{target.name} does not take samples of {image.bits_allocated} bits")
    if image.samples_per_pixel == 3 and image.photometric_interpretation not in encoder.colours:
        raise UnsupportedTransferSyntax(f"{target.name} does not take {image.photometric_interpretation}")
    if image.signed and not encoder.signed:
        raise UnsupportedTransferSyntax(f"{target.name} does not take signed samples")
    if quality is not None:
        # An error of one step may turn the least value into the greatest, and one entry of a palette into another.
        if image.photometric_interpretation == "PALETTE COLOR" or (image.signed and target.uid not in _SIGNED_LOSS):
            raise UnsupportedTransferSyntax(
                f"{image.photometric_interpretation}, signed {image.signed}, cannot be encoded with loss"
            )
        if target.uid in _DCT and (
            image.bits_stored > _DCT[target.uid] or (image.samples_per_pixel == 3 and image.bits_allocated > 8)
        ):
            raise UnsupportedTransferSyntax(f"{target.name} does not take {image.bits_stored} bits")
    return encoder


def photometric(image: Image, target: Syntax, quality: int | None = None) -> str:
    """The Photometric Interpretation of `image` after encoding its decoded frames in `target` (PS3.5 §8.2)."""
    encoder = check(image, target, quality)
    if image.samples_per_pixel != 3:
        return image.photometric_interpretation
    if target.uid in _DCT:
        return "YBR_FULL_422"
    if image.photometric_interpretation != "RGB":
        return image.photometric_interpretation
    return encoder.rgb if quality is None else encoder.lossy_rgb


def encode_frame(pixels: bytes, image: Image, target: Syntax, quality: int | None = None) -> bytes:
    """Encode a decoded frame of `image` in `target`; the result may have any length.

    `quality` is 1 to 100, as for JPEG, or None for no loss. Raises: DataSetError if the codec fails;
    UnsupportedTransferSyntax as `check`.
    """
    import numpy as np

    encoder = check(image, target, quality)
    if len(pixels) != image.frame_size:
        raise DataSetError(f"a frame of {len(pixels)} bytes, where {image.frame_size} are expected")
    shape = (image.rows, image.columns, 3) if image.samples_per_pixel == 3 else (image.rows, image.columns)
    if image.bits_allocated == 1:
        values = np.frombuffer(pixels, np.uint8)
    else:
        kind = "i" if image.signed else "u"
        values = np.frombuffer(pixels, f"<{kind}{image.bits_allocated // 8}").reshape(shape)
    try:
        if quality is None:
            assert encoder.without_loss is not None
            return encoder.without_loss(values, image)
        assert encoder.with_loss is not None
        return encoder.with_loss(values, image, min(max(quality, 1), 100))
    except DataSetError:
        raise
    except Exception as error:  # each codec has errors of its own
        raise DataSetError(f"{target.name}: the frame cannot be encoded: {error}") from error


def _precision(values: Array, image: Image) -> int:
    """Bits Stored, or Bits Allocated if any higher bit is set, as by overlays once."""
    if image.bits_stored == image.bits_allocated:
        return image.bits_stored
    least, most = (
        (-(1 << image.bits_stored - 1), (1 << image.bits_stored - 1) - 1)
        if image.signed
        else (0, (1 << image.bits_stored) - 1)
    )
    return image.bits_stored if least <= int(values.min()) and int(values.max()) <= most else image.bits_allocated


def _narrow(values: Array, precision: int) -> Array:
    """Convert to bytes if 8 bits suffice: most codecs require that."""
    return values.astype(f"{values.dtype.kind}1") if precision <= 8 < values.itemsize * 8 else values


def _unsigned(values: Array) -> Array:
    """Reinterpret as unsigned: JPEG and JPEG-LS have no sign, and count modulo 2 to the power of their precision."""
    return values.view(f"<u{values.itemsize}")


def _verbatim(values: Array, image: Image) -> bytes:
    return bytes(values.tobytes())


def _deflate(values: Array, image: Image) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(values.tobytes()) + deflate.flush()


def _rle(values: Array, image: Image) -> bytes:
    """Encode PS3.5 Annex G: byte planes, the most significant first, sample by sample; rows are encoded one by one."""
    import imagecodecs
    import numpy as np

    size = image.bits_allocated // 8
    planes = values.view(np.uint8).reshape(image.rows, image.columns, image.samples_per_pixel, size)
    segments = []
    for sample in range(image.samples_per_pixel):
        for place in reversed(range(size)):
            plane = planes[:, :, sample, place].copy()
            segment = bytes(imagecodecs.packbits_encode(plane, axis=-1))
            segments.append(segment + b"\0" * (len(segment) & 1))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments)))
    return b"".join((header, *segments))


def _jpeg_lossless(values: Array, image: Image) -> bytes:
    """Encode with Selection Value 1 for both transfer syntaxes. Signed samples use all bits, to come back unchanged."""
    import imagecodecs

    precision = image.bits_allocated if image.signed else max(2, _precision(values, image))
    # Declared as RGB on both sides, so that nothing is converted.
    space = "RGB" if image.samples_per_pixel == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            _narrow(_unsigned(values), precision),
            lossless=True,
            predictor=1,
            bitspersample=precision,
            colorspace=space,
            outcolorspace=space,
        )
    )


def _jpeg_ls(values: Array, image: Image) -> bytes:
    return _jpeg_ls_within(values, 0)


def _jpeg_ls_near(values: Array, image: Image, quality: int) -> bytes:
    steps = (100 - quality) / 10 * (1 << image.bits_stored) / 256
    return _jpeg_ls_within(values, min(max(1, round(steps)), 255))


def _jpeg_ls_within(values: Array, near: int) -> bytes:
    """Encode; `near` is the greatest error of a sample. The codec codes 8 or 16 bits, whatever part of them is used."""
    import imagecodecs

    # The longest code of a sample has four times its bits (ISO 14495-1 C.2.4.1, LIMIT).
    data = bytes(imagecodecs.jpegls_encode(_unsigned(values), near, out=4 * values.nbytes + 4096))
    # A SPIFF header, in APP8 segments, which the interchange format does not have.
    at = 2
    while data[at : at + 2] == b"\xff\xe8":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:2] + data[at:]


def _jpeg2000(values: Array, image: Image, level: int = 0) -> bytes:
    """Encode; `level` is the signal-to-noise ratio in dB, 0 for lossless."""
    import imagecodecs

    precision = _precision(values, image)
    return bytes(
        imagecodecs.jpeg2k_encode(
            _narrow(values, precision),  # imagecodecs 2026.10 takes no more than 8 bits out of larger elements.
            level,
            codecformat="J2K",
            colorspace=_space(image),
            bitspersample=precision,
            reversible=not level,
            mct=image.photometric_interpretation == "RGB",
            resolutions=_resolutions(image),
            numthreads=1,
        )
    )


def _jpeg2000_lossy(values: Array, image: Image, quality: int) -> bytes:
    """Encode with loss; the quality maps to a signal-to-noise ratio of 25 to 55 dB."""
    return _jpeg2000(values, image, 25 + round(quality * 0.3))


def _space(image: Image) -> str:
    return (
        "GRAY"
        if image.samples_per_pixel == 1
        else "SRGB"
        if image.photometric_interpretation == "RGB"
        else "UNSPECIFIED"
    )


def _resolutions(image: Image) -> int:
    """The number of resolutions, halving until one is no larger than 64 by 64 (PS3.5 §10.18 for HTJ2K); 1 to 6."""
    return min(max(1, (max(image.rows, image.columns) - 1).bit_length() - 5), 6)


def _htj2k(values: Array, image: Image) -> bytes:
    return _htj2k_reversible(values, image)


def _htj2k_rpcl(values: Array, image: Image) -> bytes:
    """Encode in the order Resolution, Position, Component, Layer, as all are, and with tile-part lengths (TLM)."""
    return _htj2k_reversible(values, image, tlm=True)


def _htj2k_reversible(values: Array, image: Image, tlm: bool = False) -> bytes:
    """Encode; the codec uses all allocated bits, so the precision is changed to the stored bits.

    An unsigned sample is coded as its distance from half the range (ISO 15444-1 G.1), so it is moved before, and the
    precision is written after.
    """
    precision = _precision(values, image)
    if not image.signed and precision < image.bits_allocated:
        values = values + values.dtype.type((1 << image.bits_allocated - 1) - (1 << precision - 1))
    data = bytearray(_htj2k_encode(values, image, reversible=True, tlm=tlm))
    at = data.index(b"\xff\x51") + 40
    for component in range(image.samples_per_pixel):
        data[at + 3 * component] = precision - 1 | (0x80 if image.signed else 0)
    return bytes(data)


def _htj2k_lossy(values: Array, image: Image, quality: int) -> bytes:
    """Encode with loss; the quality maps to a quantisation step of 1/32 to 1/2048 of the range."""
    return _htj2k_encode(values, image, reversible=False, level=1 / (32 * 2 ** (quality * 0.06)))


def _htj2k_encode(values: Array, image: Image, **options: Any) -> bytes:
    import imagecodecs
    import numpy as np

    planar = image.samples_per_pixel == 3 and image.photometric_interpretation != "RGB"
    if planar:  # to keep colours from being transformed
        if image.columns == 1:
            raise UnsupportedTransferSyntax("the codec mistakes one column of colours for three of greys")
        values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
    levels = _resolutions(image) - 1
    return bytes(imagecodecs.htj2k_encode(values, planar=planar, resolutions=levels, **options))


def _jpeg_xl(values: Array, image: Image) -> bytes:
    import imagecodecs

    precision = _precision(values, image)
    values = _narrow(values, precision)
    return _bare(imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=precision, numthreads=1, effort=3))


def _jpeg_xl_lossy(values: Array, image: Image, quality: int) -> bytes:
    """Encode with loss; the quality maps to libjxl's distance, 0.1 to 9."""
    import imagecodecs

    distance = 0.1 + (100 - quality) * 0.09
    precision = _precision(values, image)
    values = _narrow(values, precision)
    return _bare(imagecodecs.jpegxl_encode(values, distance=distance, bitspersample=precision, numthreads=1))


def _bare(data: bytes | bytearray) -> bytes:
    """The codestream without its file format, in which libjxl puts more than 12 bits."""
    at = 0
    while data[:2] != b"\xff\x0a" and at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"jxlc":
            return bytes(data[at + 8 : at + length if length else len(data)])
        at += length or len(data)
    return bytes(data)


def _jpeg(values: Array, image: Image, quality: int) -> bytes:
    """Encode baseline, or 12 bits if more than 8 are stored."""
    import imagecodecs

    if image.samples_per_pixel == 1:
        if image.bits_stored > 8:
            return bytes(imagecodecs.jpeg8_encode(values, quality, bitspersample=12))
        return bytes(imagecodecs.jpeg8_encode(values.astype("u1"), quality))
    space = "RGB" if image.photometric_interpretation == "RGB" else "YCBCR"
    return bytes(imagecodecs.jpeg8_encode(values, quality, colorspace=space, outcolorspace="YCBCR", subsampling="422"))


_DCT: Final = {"1.2.840.10008.1.2.4.50": 8, "1.2.840.10008.1.2.4.51": 12}
"""Most bits a sample, by transfer syntax."""
_SIGNED_LOSS: Final = frozenset(("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"))
ENCODERS: Final[dict[str, Encoder]] = {
    "1.2.840.10008.1.2.1.98": Encoder(_verbatim, allocated=(1, 8, 16, 32, 64)),
    "1.2.840.10008.1.2.4.50": Encoder(None, _jpeg, "ISO_10918_1", allocated=(8,), signed=False),
    "1.2.840.10008.1.2.4.51": Encoder(None, _jpeg, "ISO_10918_1", signed=False),
    "1.2.840.10008.1.2.4.57": Encoder(_jpeg_lossless),
    "1.2.840.10008.1.2.4.70": Encoder(_jpeg_lossless),
    "1.2.840.10008.1.2.4.80": Encoder(_jpeg_ls),
    "1.2.840.10008.1.2.4.81": Encoder(_jpeg_ls, _jpeg_ls_near, "ISO_14495_1"),
    "1.2.840.10008.1.2.4.90": Encoder(_jpeg2000, rgb="YBR_RCT"),
    "1.2.840.10008.1.2.4.91": Encoder(_jpeg2000, _jpeg2000_lossy, "ISO_15444_1", rgb="YBR_RCT", lossy_rgb="YBR_ICT"),
    "1.2.840.10008.1.2.4.110": Encoder(_jpeg_xl, signed=False, colours=("RGB",)),
    "1.2.840.10008.1.2.4.112": Encoder(
        _jpeg_xl, _jpeg_xl_lossy, "ISO_18181_1", signed=False, colours=("RGB",), lossy_rgb="XYB"
    ),
    "1.2.840.10008.1.2.4.201": Encoder(_htj2k, rgb="YBR_RCT"),
    "1.2.840.10008.1.2.4.202": Encoder(_htj2k_rpcl, rgb="YBR_RCT"),
    "1.2.840.10008.1.2.4.203": Encoder(_htj2k, _htj2k_lossy, "ISO_15444_15", rgb="YBR_RCT", lossy_rgb="YBR_ICT"),
    "1.2.840.10008.1.2.5": Encoder(_rle, allocated=(8, 16, 32)),
    "1.2.840.10008.1.2.8.1": Encoder(_deflate, allocated=(1, 8, 16, 32, 64)),
}
"""Encoders by transfer syntax."""
LOSSLESS: Final = frozenset(uid for uid, encoder in ENCODERS.items() if encoder.without_loss is not None)
"""Transfer syntaxes that can be encoded without loss."""
