"""Series of images that a person, or a comparison of pixels, recognises: which way up, which slice, which colour.

Each shows the letter F (so that a flip or a turn is seen) and a bar whose place says which slice or frame it is. Made
with pydicom; how a viewer shows them is looked at in tests/interop/test_ohif.py.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid

from tests.support.datasets import CT, EXPLICIT, JPEG_BASELINE, instance

MR = "1.2.840.10008.5.1.4.1.1.4"
ULTRASOUND_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
SIZE = 128


def shape(part: float) -> NDArray[np.bool_]:
    """The F with the bar at `part` (0 to 1) of the height of the right half, SIZE by SIZE."""
    drawn = np.zeros((SIZE, SIZE), np.bool_)
    drawn[16:112, 16:32] = drawn[16:32, 16:64] = drawn[56:72, 16:56] = True
    top = 16 + round(part * 80)
    drawn[top : top + 16, 80:112] = True
    return drawn


def slices(number: int, *, sop_class: str, modality: str, name: str, bright: int, dark: int) -> list[Dataset]:
    """An axial series from the head down, 2 mm apart, as viewers order it; the bar goes down with it."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for index in range(number):
        pixels = np.where(shape(index / (number - 1)), bright, dark).astype("<i2")
        made.append(
            instance(
                rows=SIZE,
                columns=SIZE,
                SOPClassUID=sop_class,
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
                FrameOfReferenceUID=frame,
                Modality=modality,
                PatientName=name,
                PatientID=name,
                StudyDescription=f"{modality} of the letter F",
                SeriesDescription="F",
                InstanceNumber=index + 1,
                NumberOfFrames=None,
                ImagePositionPatient=[-64.0, -64.0, -2.0 * index],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PixelSpacing=[1.0, 1.0],
                SliceThickness=2.0,
                PixelRepresentation=1,
                WindowCenter=(bright + dark) // 2,
                WindowWidth=bright - dark,
                PixelData=pixels.tobytes(),
                **({"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"} if sop_class == CT else {}),
            )
        )
    return made


def ct(number: int = 12) -> list[Dataset]:
    return slices(number, sop_class=CT, modality="CT", name="Picture^CT", bright=900, dark=-900)


def mr(number: int = 8) -> list[Dataset]:
    return slices(number, sop_class=MR, modality="MR", name="Picture^MR", bright=1200, dark=100)


def coloured(part: float) -> NDArray[np.uint8]:
    """The same in colour: a green F on blue with a red bar."""
    drawn = shape(part)
    picture = np.full((SIZE, SIZE, 3), (0, 0, 160), np.uint8)
    picture[drawn] = (0, 200, 0)
    picture[drawn & (np.arange(SIZE) > 72)] = (220, 0, 0)
    return picture


def ultrasound(frames: int = 6, *, jpeg: bool = False) -> Dataset:
    """A colour cine. `jpeg`: each frame as JPEG baseline, YBR_FULL_422."""
    name = "Picture^JPEG" if jpeg else "Picture^US"
    pictures = [coloured(index / (frames - 1)) for index in range(frames)]
    if jpeg:
        data = encapsulate([_jpeg(picture) for picture in pictures])
    else:
        data = b"".join(picture.tobytes() for picture in pictures)
    made = instance(
        rows=SIZE,
        columns=SIZE,
        frames=frames,
        SOPClassUID=ULTRASOUND_MULTIFRAME,
        Modality="US",
        PatientName=name,
        PatientID=name,
        StudyDescription="US of the letter F",
        SeriesDescription="F",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL_422" if jpeg else "RGB",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        FrameTime="100",
        FrameIncrementPointer=0x00181063,
        PixelData=data,
    )
    made["PixelData"].VR = "OB"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(JPEG_BASELINE if jpeg else EXPLICIT)
    return made


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "JPEG", quality=90, subsampling="4:2:2")
    return target.getvalue()


def compressed() -> list[Dataset]:
    """A series with every slice in another of ENCODERS' transfer syntaxes, which its File Meta Information names."""
    made = slices(len(ENCODERS), sop_class=CT, modality="CT", name="Picture^Codecs", bright=1900, dark=100)
    for data_set, (transfer_syntax, encoder) in zip(made, ENCODERS.items(), strict=True):
        pixels = np.frombuffer(data_set.PixelData, "<u2").reshape(SIZE, SIZE)
        data_set.PixelRepresentation = 0
        data_set.PixelData = encapsulate([encoder(pixels)])
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    return made


ENCODERS: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    "1.2.840.10008.1.2.4.70": lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=16),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, level=0
    ),
    "1.2.840.10008.1.2.4.201": lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    "1.2.840.10008.1.2.5": lambda pixels: _rle(pixels),
}
"""Lossless compression by transfer syntax UID."""


def _rle(pixels: NDArray[np.uint16]) -> bytes:
    """PS3.5 Annex G: a segment for the high bytes, one for the low ones, each as literal runs of two bytes."""
    planes = [(pixels >> 8).astype(np.uint8), (pixels & 255).astype(np.uint8)]
    segments = []
    for plane in planes:
        pairs = plane.reshape(-1, 2)
        literal = np.hstack([np.ones((len(pairs), 1), np.uint8), pairs])  # "copy the next two bytes"
        segments.append(literal.tobytes())
    first = 64
    header = struct.pack("<16I", 2, first, first + len(segments[0]), *([0] * 13))
    return header + b"".join(segments)


def file(data_set: Dataset) -> bytes:
    """A DICOM file: in the transfer syntax that the data set names, or else Explicit VR Little Endian."""
    if not hasattr(data_set, "file_meta"):
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    syntax = data_set.file_meta.TransferSyntaxUID
    if "PixelData" in data_set:
        data_set["PixelData"].is_undefined_length = syntax.is_encapsulated
    if syntax.is_encapsulated:
        data_set["PixelData"].VR = "OB"
    target = io.BytesIO()
    data_set.save_as(target, enforce_file_format=True)
    return target.getvalue()


def saved(data_set: Dataset, folder: Path) -> Path:
    """The same in `folder`."""
    path = folder / f"{data_set.SOPInstanceUID}.dcm"
    path.write_bytes(file(data_set))
    return path


def imported(data: Path, files: Sequence[Path]) -> None:
    """Put files into a data folder on which no gateway runs yet."""
    command = [sys.executable, "-m", "gateway", "import", "--create", "--data", str(data), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
