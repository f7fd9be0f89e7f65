"""One compressed frame as native pixels: little endian, samples of a pixel side by side (Planar Configuration 0).

Runs in a thread: the codecs let go of the interpreter lock. They and numpy are imported when first used. Which bytes
a frame has is `frames.py`'s, what becomes of the data set around it `transcode.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gateway.dicom.source import inflate
from gateway.dicom.uids import Syntax
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import layout
from gateway.imaging.codestream import Codestream, parse_jpeg
from gateway.imaging.image import Image
from gateway.imaging.jpeg2000 import bare, parse_jpeg2000
from gateway.imaging.jpegxl import parse_jpegxl

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def decode_frame(data: bytes, syntax: Syntax, image: Image) -> bytes:
    """The pixels of a frame, `image.frame_size` bytes, in the colours of `image.decoded_photometric(syntax)`.

    DataSetError where the frame is broken, cut short or another image than `image` says, UnsupportedTransferSyntax
    for a syntax that is not in DECODABLE.
    """
    decoder = _DECODERS.get(syntax.uid)
    if decoder is None:
        raise UnsupportedTransferSyntax(f"{syntax.name} is not decoded here")
    if image.allocated not in (8, 16, 32) and decoder not in _ANY_SIZE:
        raise UnsupportedTransferSyntax(f"{syntax.name} is not decoded here with {image.allocated} bits allocated")
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
    """JPEG with a discrete cosine transform: colours come out as RGB, whatever they were coded in."""
    import imagecodecs

    stream = checked(parse_jpeg(data), image)
    if stream.samples != 3:
        return _native(imagecodecs.jpeg8_decode(data), stream, image)
    rgb = stream.is_rgb if stream.is_rgb is not None else not image.photometric.startswith("YBR")
    space = "RGB" if rgb else "YCBCR"
    return _native(imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB"), stream, image)


def _jpeg_lossless(data: bytes, image: Image) -> bytes:
    """By libjpeg-turbo: imagecodecs' other decoder, `ljpeg`, crashes on broken streams."""
    import imagecodecs

    stream = checked(parse_jpeg(data), image)
    if stream.samples != 3:
        return _native(imagecodecs.jpeg8_decode(data), stream, image)
    # Said to be RGB on both sides, so that nothing is converted: lossless is lossless.
    return _native(imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"), stream, image)


def _jpeg_ls(data: bytes, image: Image) -> bytes:
    import imagecodecs

    stream = checked(parse_jpeg(data), image)
    return _native(imagecodecs.jpegls_decode(data), stream, image)


def _jpeg2000(data: bytes, image: Image) -> bytes:
    """High-throughput streams too: imagecodecs' other decoder, `htj2k`, swallows errors and gives what it has."""
    import imagecodecs

    data = bare(data)
    stream = checked(parse_jpeg2000(data), image)
    return _native(imagecodecs.jpeg2k_decode(data, numthreads=1), stream, image)


def _jpeg_xl(data: bytes, image: Image) -> bytes:
    """Colours come out as RGB: the codec knows what they were turned into."""
    import imagecodecs

    stream = checked(parse_jpegxl(data), image)
    return _native(imagecodecs.jpegxl_decode(data, numthreads=1), stream, image)


def _uncompressed(data: bytes, image: Image) -> bytes:
    return layout.by_pixel(data[: image.frame_size], image, image.frame_bits)


def _deflated(data: bytes, image: Image) -> bytes:
    return layout.by_pixel(inflate(data, image.frame_size), image, image.frame_bits)


def _rle(data: bytes, image: Image) -> bytes:
    """PS3.5 Annex G: byte planes, the most significant first, sample by sample."""
    import imagecodecs
    import numpy as np

    expected = image.samples * image.allocated // 8
    if int.from_bytes(data[:4], "little") != expected:
        raise DataSetError(f"RLE: {int.from_bytes(data[:4], 'little')} segments, where {expected} are expected")
    limit = image.frame_size
    pixels = bytes(imagecodecs.dicomrle_decode(data, f"<u{image.allocated // 8}", out=limit))
    if image.samples == 1 or len(pixels) != limit:
        return pixels
    planes = np.frombuffer(pixels, f"<u{image.allocated // 8}").reshape(image.samples, -1)
    return bytes(planes.T.tobytes())


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
"""Transfer syntaxes whose frames can be decoded. Video is not, nor what JPIP leaves with its provider."""


def checked(stream: Codestream, image: Image) -> Codestream:
    """Before a decoder allocates anything. DataSetError where the stream is of another image than `image`."""
    found = (stream.rows, stream.columns, stream.samples)
    if found != (image.rows, image.columns, image.samples) or stream.precision > image.allocated:
        raise DataSetError(
            f"the frame is {stream.columns} by {stream.rows} pixels of {stream.samples} samples of {stream.precision} "
            f"bits, where the data set says {image.columns} by {image.rows} of {image.samples} in {image.allocated}"
        )
    return stream


def _native(pixels: Array, stream: Codestream, image: Image) -> bytes:
    """As many bytes a sample as are allocated, and the sign that Pixel Representation announces."""
    size = image.allocated // 8
    values = pixels.astype(f"<i{size}" if pixels.dtype.kind == "i" else f"<u{size}", copy=False)
    shift = image.allocated - stream.precision
    if shift and stream.signed != image.signed:
        # Coded as the other kind, which most streams have to be: the sign is in the highest bit of the precision.
        values = values.view(f"<i{size}" if image.signed else f"<u{size}")
        values = (values << shift) >> shift
    return bytes(values.tobytes())
