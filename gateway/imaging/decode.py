"""Decoding one compressed frame to native pixels: little endian, colour by pixel (Planar Configuration 0).

Runs in a thread: the codecs release the interpreter lock. They and numpy are imported at first use. The bytes of
a frame are found in `frames.py`, the data set around it is changed in `transcode.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gateway.dicom.source import inflate
from gateway.dicom.uids import Syntax
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import layout, rle
from gateway.imaging.codestream import Codestream, parse_jpeg
from gateway.imaging.image import Image
from gateway.imaging.jpeg2000 import bare, parse_jpeg2000
from gateway.imaging.jpegxl import parse_jpegxl

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def decode_frame(data: bytes, syntax: Syntax, image: Image) -> bytes:
    """The pixels of a frame, `image.frame_size` bytes, in the colours of `image.decoded_photometric(syntax)`.

    Raises: DataSetError if the frame is broken, truncated or another image than `image`; UnsupportedTransferSyntax
    for a syntax that is not in DECODABLE.
    """
    decoder = _DECODERS.get(syntax.uid)
    if decoder is None:
        raise UnsupportedTransferSyntax(f"{syntax.name} is not decoded here")
    if image.bits_allocated not in ((8, 16, 32) if decoder is _jpeg else (1, 8, 16, 32)) and decoder not in _ANY_SIZE:
        raise UnsupportedTransferSyntax(f"{syntax.name} is not decoded here with {image.bits_allocated} bits allocated")
    try:
        pixels = decoder(data, image)
    except DataSetError:
        raise
    except Exception as error:  # each codec has errors of its own
        raise DataSetError(f"{syntax.name}: the frame cannot be decoded: {error}") from error
    if len(pixels) != image.frame_size:
        raise DataSetError(f"{syntax.name}: a frame of {len(pixels)} bytes, where {image.frame_size} are expected")
    return pixels


def _jpeg(data: bytes, image: Image) -> bytes:
    """Decode JPEG with a discrete cosine transform; colours are converted to RGB."""
    import imagecodecs

    stream = checked(parse_jpeg(data), image)
    if stream.samples != 3:
        return _native(imagecodecs.jpeg8_decode(data[: stream.length]), stream, image)
    rgb = stream.is_rgb if stream.is_rgb is not None else not image.photometric_interpretation.startswith("YBR")
    space = "RGB" if rgb else "YCBCR"
    return _native(
        imagecodecs.jpeg8_decode(data[: stream.length], colorspace=space, outcolorspace="RGB"), stream, image
    )


def _jpeg_lossless(data: bytes, image: Image) -> bytes:
    """Decode with libjpeg-turbo: imagecodecs' other decoder, `ljpeg`, crashes on broken streams."""
    import imagecodecs

    stream = checked(parse_jpeg(data), image)
    if stream.samples != 3:
        return _native(imagecodecs.jpeg8_decode(data[: stream.length]), stream, image)
    # Declared as RGB on both sides, so that nothing is converted: lossless is lossless.
    return _native(
        imagecodecs.jpeg8_decode(data[: stream.length], colorspace="RGB", outcolorspace="RGB"), stream, image
    )


def _jpeg_ls(data: bytes, image: Image) -> bytes:
    import imagecodecs

    stream = checked(parse_jpeg(data), image)
    return _native(imagecodecs.jpegls_decode(data[: stream.length]), stream, image)


def _jpeg2000(data: bytes, image: Image) -> bytes:
    """Decode, HTJ2K streams too: imagecodecs' other decoder, `htj2k`, swallows errors and returns what it has."""
    import imagecodecs

    data = bare(data)
    stream = checked(parse_jpeg2000(data), image)
    return _native(imagecodecs.jpeg2k_decode(data[: stream.length], numthreads=1), stream, image)


def _jpeg_xl(data: bytes, image: Image) -> bytes:
    """Decode; colours become RGB, as the codec knows their transform."""
    import imagecodecs

    stream = checked(parse_jpegxl(data), image)
    return _native(imagecodecs.jpegxl_decode(data, numthreads=1), stream, image)


def _uncompressed(data: bytes, image: Image) -> bytes:
    return layout.by_pixel(data[: image.frame_size], image, image.frame_bits)


def _deflated(data: bytes, image: Image) -> bytes:
    return layout.by_pixel(inflate(data, image.frame_size), image, image.frame_bits)


def _rle(data: bytes, image: Image) -> bytes:
    """Decode PS3.5 Annex G: byte planes, the most significant first, sample by sample; single bits as stored."""
    import numpy as np

    if image.bits_allocated == 1:
        return _rle_bits(data, image)
    size = image.bits_allocated // 8
    bounds = rle.bounds(data, image.samples_per_pixel * size)
    planes = [rle.plane(data[start:stop], image.rows * image.columns) for start, stop in bounds]
    if len(planes) == 1:
        return planes[0]
    values = np.frombuffer(b"".join(planes), np.uint8).reshape(image.samples_per_pixel, size, -1)
    return bytes(values[:, ::-1].transpose(2, 0, 1).tobytes())


def _rle_bits(data: bytes, image: Image) -> bytes:
    """Decode single bits, packed as without compression, or by some writers a byte of 0 or 1 for each."""
    import numpy as np

    ((start, stop),) = rle.bounds(data, 1)
    segment = data[start:stop]
    size = rle.bits_size(segment, image)
    plane = rle.plane(segment, size)
    return plane if size == image.frame_size else layout.packed(np.frombuffer(plane, np.uint8))


_DECODERS: Final[dict[str, Callable[[bytes, Image], bytes]]] = {
    "1.2.840.10008.1.2.1.98": _uncompressed,
    "1.2.840.10008.1.2.4.50": _jpeg,
    "1.2.840.10008.1.2.4.51": _jpeg,
    "1.2.840.10008.1.2.4.53": _jpeg,
    "1.2.840.10008.1.2.4.55": _jpeg,
    "1.2.840.10008.1.2.4.57": _jpeg_lossless,
    "1.2.840.10008.1.2.4.70": _jpeg_lossless,
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _jpeg2000,
    "1.2.840.10008.1.2.4.91": _jpeg2000,
    "1.2.840.10008.1.2.4.92": _jpeg2000,
    "1.2.840.10008.1.2.4.93": _jpeg2000,
    "1.2.840.10008.1.2.4.110": _jpeg_xl,
    "1.2.840.10008.1.2.4.111": _jpeg_xl,
    "1.2.840.10008.1.2.4.112": _jpeg_xl,
    "1.2.840.10008.1.2.4.201": _jpeg2000,
    "1.2.840.10008.1.2.4.202": _jpeg2000,
    "1.2.840.10008.1.2.4.203": _jpeg2000,
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.8.1": _deflated,
}
_ANY_SIZE: Final = (_uncompressed, _deflated)
DECODABLE: Final = frozenset(_DECODERS)
"""Transfer syntaxes whose frames can be decoded. Video cannot, nor pixels that JPIP leaves with their provider."""


def checked(stream: Codestream, image: Image) -> Codestream:
    """Check a stream before a decoder allocates memory for it. Raises: DataSetError if it differs from `image`."""
    shape = (stream.rows, stream.columns, stream.samples)
    # Single bits are coded with a precision of 1, or by codecs that have none as bytes of 0 and 1 or 255.
    deepest = 8 if image.bits_allocated == 1 else image.bits_allocated
    if shape != (image.rows, image.columns, image.samples_per_pixel) or stream.precision > deepest:
        raise DataSetError(
            f"the frame is {stream.columns} by {stream.rows} pixels of {stream.samples} samples of {stream.precision} "
            f"bits, where the data set says {image.columns} by {image.rows} of {image.samples_per_pixel} "
            f"in {image.bits_allocated}"
        )
    return stream


def _native(pixels: Array, stream: Codestream, image: Image) -> bytes:
    """Convert to the allocated bytes a sample, and to the sign of Pixel Representation; pack single bits."""
    if image.bits_allocated == 1:
        return layout.packed(pixels)
    size = image.bits_allocated // 8
    values = pixels.astype(f"<i{size}" if pixels.dtype.kind == "i" else f"<u{size}", copy=False)
    shift = image.bits_allocated - stream.precision
    if shift and stream.signed != image.signed:
        # Coded with the other signedness, as most streams must be: the sign is in the highest bit of the precision.
        values = values.view(f"<i{size}" if image.signed else f"<u{size}")
        values = (values << shift) >> shift
    return bytes(values.tobytes())
