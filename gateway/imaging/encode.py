"""One frame compressed: what `decode.py` undoes.

Takes frames as they are given here: little endian, colour by pixel. Without loss unless a quality is asked for. What
the data set says afterwards is decided here for colours (`photometric`), and done by `transcode.py`. Runs in a thread:
the codecs let go of the interpreter lock. They and numpy are imported when first used.
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
    """How frames get into a transfer syntax, and which can."""

    without_loss: Callable[[Array, Image], bytes] | None = None
    with_loss: Callable[[Array, Image, int], bytes] | None = None
    """The last argument is the quality, 1 to 100."""
    method: str = ""
    """Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1)."""
    allocated: tuple[int, ...] = (8, 16)
    """Bits that may be allocated."""
    signed: bool = True
    colours: tuple[str, ...] = ("RGB", "YBR_FULL")
    """Photometric Interpretations of three samples."""
    rgb: str = "RGB"
    """What RGB is called once it is encoded without loss."""
    lossy_rgb: str = "RGB"


def check(image: Image, target: Syntax, quality: int | None = None) -> Encoder:
    """The encoder for frames of `image`, decoded, in `target`. UnsupportedTransferSyntax where there is none."""
    encoder = ENCODERS.get(target.uid)
    if encoder is None:
        raise UnsupportedTransferSyntax(f"{target.name} is not encoded here")
    if quality is None and encoder.without_loss is None:
        raise UnsupportedTransferSyntax(f"{target.name} loses quality, which nobody has asked for")
    if quality is not None and encoder.with_loss is None:
        raise UnsupportedTransferSyntax(f"{target.name} is not encoded with loss here")
    if image.floating or image.allocated not in encoder.allocated:
        raise UnsupportedTransferSyntax(f"{target.name} does not take samples of {image.allocated} bits")
    if image.samples == 3 and image.photometric not in encoder.colours:
        raise UnsupportedTransferSyntax(f"{target.name} does not take {image.photometric}")
    if image.signed and not encoder.signed:
        raise UnsupportedTransferSyntax(f"{target.name} does not take signed samples")
    if quality is not None:
        # An error of one step may turn the least into the greatest, and one entry of a palette into another.
        if image.photometric == "PALETTE COLOR" or (image.signed and target.uid not in _SIGNED_LOSS):
            raise UnsupportedTransferSyntax(f"{image.photometric}, signed {image.signed}, bears no loss")
        if target.uid in _DCT and (image.stored > _DCT[target.uid] or (image.samples == 3 and image.allocated > 8)):
            raise UnsupportedTransferSyntax(f"{target.name} does not take {image.stored} bits")
    return encoder


def photometric(image: Image, target: Syntax, quality: int | None = None) -> str:
    """The Photometric Interpretation once frames of `image`, decoded, are in `target` (PS3.5 §8.2)."""
    encoder = check(image, target, quality)
    if image.samples != 3:
        return image.photometric
    if target.uid in _DCT:
        return "YBR_FULL_422"
    if image.photometric != "RGB":
        return image.photometric
    return encoder.rgb if quality is None else encoder.lossy_rgb


def encode_frame(pixels: bytes, image: Image, target: Syntax, quality: int | None = None) -> bytes:
    """The frame `pixels` of `image`, decoded, in `target`; of any length.

    `quality` is 1 to 100, as for JPEG, or None for no loss. DataSetError where the codec fails,
    UnsupportedTransferSyntax as `check`.
    """
    import numpy as np

    encoder = check(image, target, quality)
    if len(pixels) != image.frame_size:
        raise DataSetError(f"a frame of {len(pixels)} bytes, where {image.frame_size} are expected")
    shape = (image.rows, image.columns, 3) if image.samples == 3 else (image.rows, image.columns)
    if image.allocated == 1:
        values = np.frombuffer(pixels, np.uint8)
    else:
        kind = "i" if image.signed else "u"
        values = np.frombuffer(pixels, f"<{kind}{image.allocated // 8}").reshape(shape)
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
    """Bits Stored, or all that are allocated where something stands above them, as overlays once did."""
    if image.stored == image.allocated:
        return image.stored
    least, most = (
        (-(1 << image.stored - 1), (1 << image.stored - 1) - 1) if image.signed else (0, (1 << image.stored) - 1)
    )
    return image.stored if least <= int(values.min()) and int(values.max()) <= most else image.allocated


def _narrow(values: Array, precision: int) -> Array:
    """In bytes where they suffice: most codecs want 8 bits so."""
    return values.astype(f"{values.dtype.kind}1") if precision <= 8 < values.itemsize * 8 else values


def _unsigned(values: Array) -> Array:
    """The same bits: JPEG and JPEG-LS know no sign, and count modulo what their precision holds."""
    return values.view(f"<u{values.itemsize}")


def _verbatim(values: Array, image: Image) -> bytes:
    return bytes(values.tobytes())


def _deflate(values: Array, image: Image) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(values.tobytes()) + deflate.flush()


def _rle(values: Array, image: Image) -> bytes:
    """PS3.5 Annex G: byte planes, the most significant first, sample by sample; rows are encoded one by one."""
    import imagecodecs
    import numpy as np

    size = image.allocated // 8
    planes = values.view(np.uint8).reshape(image.rows, image.columns, image.samples, size)
    segments = []
    for sample in range(image.samples):
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
    """Selection Value 1 for both of its transfer syntaxes. With a sign, all bits: they come back as they were."""
    import imagecodecs

    precision = image.allocated if image.signed else max(2, _precision(values, image))
    # Said to be RGB on both sides, so that nothing is converted.
    space = "RGB" if image.samples == 3 else None
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
    steps = (100 - quality) / 10 * (1 << image.stored) / 256
    return _jpeg_ls_within(values, min(max(1, round(steps)), 255))


def _jpeg_ls_within(values: Array, near: int) -> bytes:
    """`near` is the greatest error of a sample. The codec takes 8 or 16 bits, whatever of them is used."""
    import imagecodecs

    # The longest code of a sample has four times its bits (ISO 14495-1 C.2.4.1, LIMIT).
    data = bytes(imagecodecs.jpegls_encode(_unsigned(values), near, out=4 * values.nbytes + 4096))
    # A SPIFF header, in APP8 segments, which the interchange format does not have.
    at = 2
    while data[at : at + 2] == b"\xff\xe8":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:2] + data[at:]


def _jpeg2000(values: Array, image: Image, level: int = 0) -> bytes:
    """`level`: the ratio of signal to noise in dB; 0 without loss."""
    import imagecodecs

    return bytes(
        imagecodecs.jpeg2k_encode(
            values,
            level,
            codecformat="J2K",
            colorspace=_space(image),
            bitspersample=_precision(values, image),
            reversible=not level,
            mct=image.photometric == "RGB",
            resolutions=_resolutions(image),
            numthreads=1,
        )
    )


def _jpeg2000_lossy(values: Array, image: Image, quality: int) -> bytes:
    """The quality becomes a ratio of signal to noise of 25 to 55 dB."""
    return _jpeg2000(values, image, 25 + round(quality * 0.3))


def _space(image: Image) -> str:
    return "GRAY" if image.samples == 1 else "SRGB" if image.photometric == "RGB" else "UNSPECIFIED"


def _resolutions(image: Image) -> int:
    """Of an image and its halves, until one is no larger than 64 by 64 (PS3.5 §10.18 for HTJ2K); 1 to 6."""
    return min(max(1, (max(image.rows, image.columns) - 1).bit_length() - 5), 6)


def _htj2k(values: Array, image: Image) -> bytes:
    return _htj2k_reversible(values, image)


def _htj2k_rpcl(values: Array, image: Image) -> bytes:
    """In the order Resolution, Position, Component, Layer, as all of them are, and with tile-part lengths (TLM)."""
    return _htj2k_reversible(values, image, tlm=True)


def _htj2k_reversible(values: Array, image: Image, tlm: bool = False) -> bytes:
    """The codec encodes all bits that are allocated. Those that are stored are made to be the precision.

    An unsigned sample is coded as its distance from half the range (ISO 15444-1 G.1), so it is moved before, and the
    precision put in its place after.
    """
    precision = _precision(values, image)
    if not image.signed and precision < image.allocated:
        values = values + values.dtype.type((1 << image.allocated - 1) - (1 << precision - 1))
    data = bytearray(_htj2k_encode(values, image, reversible=True, tlm=tlm))
    at = data.index(b"\xff\x51") + 40
    for component in range(image.samples):
        data[at + 3 * component] = precision - 1 | (0x80 if image.signed else 0)
    return bytes(data)


def _htj2k_lossy(values: Array, image: Image, quality: int) -> bytes:
    """The quality becomes a step of quantisation of 1/32 to 1/2048 of the range."""
    return _htj2k_encode(values, image, reversible=False, level=1 / (32 * 2 ** (quality * 0.06)))


def _htj2k_encode(values: Array, image: Image, **options: Any) -> bytes:
    import imagecodecs
    import numpy as np

    planar = image.samples == 3 and image.photometric != "RGB"
    if planar:  # so that colours are not transformed
        if image.columns == 1:
            raise UnsupportedTransferSyntax("the codec takes one column of colours for three of greys")
        values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
    levels = _resolutions(image) - 1
    return bytes(imagecodecs.htj2k_encode(values, planar=planar, resolutions=levels, **options))


def _jpeg_xl(values: Array, image: Image) -> bytes:
    import imagecodecs

    precision = _precision(values, image)
    values = _narrow(values, precision)
    return _bare(imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=precision, numthreads=1, effort=3))


def _jpeg_xl_lossy(values: Array, image: Image, quality: int) -> bytes:
    """The quality becomes libjxl's distance, 0.1 to 9."""
    import imagecodecs

    distance = 0.1 + (100 - quality) * 0.09
    precision = _precision(values, image)
    values = _narrow(values, precision)
    return _bare(imagecodecs.jpegxl_encode(values, distance=distance, bitspersample=precision, numthreads=1))


def _bare(data: bytes | bytearray) -> bytes:
    """The codestream of a file: libjxl wraps it up where it has more than 12 bits."""
    at = 0
    while data[:2] != b"\xff\x0a" and at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"jxlc":
            return bytes(data[at + 8 : at + length if length else len(data)])
        at += length or len(data)
    return bytes(data)


def _jpeg(values: Array, image: Image, quality: int) -> bytes:
    """Baseline, or 12 bits where more than 8 are stored."""
    import imagecodecs

    if image.samples == 1:
        if image.stored > 8:
            return bytes(imagecodecs.jpeg8_encode(values, quality, bitspersample=12))
        return bytes(imagecodecs.jpeg8_encode(values.astype("u1"), quality))
    space = "RGB" if image.photometric == "RGB" else "YCBCR"
    return bytes(imagecodecs.jpeg8_encode(values, quality, colorspace=space, outcolorspace="YCBCR", subsampling="422"))


_DCT: Final = {"1.2.840.10008.1.2.4.50": 8, "1.2.840.10008.1.2.4.51": 12}
"""Bits a sample that each may have."""
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
"""What frames can be made into, by transfer syntax."""
LOSSLESS: Final = frozenset(uid for uid, encoder in ENCODERS.items() if encoder.without_loss is not None)
"""Those that need not lose anything."""
