"""Series of images that a person, or a comparison of pixels, recognises: which way up, which slice, which colour.

Each shows the letter F (so that a flip or a turn is seen) and a bar whose place says which slice or frame it is. Made
with pydicom; how a viewer shows them is looked at in tests/interop/test_ohif.py.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
    return made


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "JPEG", quality=90, subsampling="4:2:2")
    return target.getvalue()


def saved(data_set: Dataset, folder: Path) -> Path:
    """The data set as a file in `folder`. JPEG pixel data is told from the photometric interpretation."""
    jpeg = data_set.PhotometricInterpretation == "YBR_FULL_422"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(JPEG_BASELINE if jpeg else EXPLICIT)
    data_set["PixelData"].is_undefined_length = jpeg
    path = folder / f"{data_set.SOPInstanceUID}.dcm"
    data_set.save_as(path, enforce_file_format=True)
    return path


def imported(data: Path, files: Sequence[Path]) -> None:
    """Put files into a data folder on which no gateway runs yet."""
    command = [sys.executable, "-m", "gateway", "import", "--data", str(data), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
