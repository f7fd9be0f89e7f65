"""Small synthetic data sets in any transfer syntax, and the sample files that come with pydicom.

Made with pydicom, so that what reads them here is not what wrote them.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, generate_uid

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
CT = "1.2.840.10008.5.1.4.1.1.2"


def ct_header(**values: Any) -> Dataset:
    """A header like those of CT scanners: about a hundred elements, sequences and private ones among them.

    `values` are set by keyword; None deletes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(sample("CT_small.dcm"))
    del data_set.PixelData
    for tag in [element.tag for element in data_set if element.tag.group == 0xFFFC]:
        del data_set[tag]
    result = Dataset()
    result.update(data_set)
    result.SpecificCharacterSet = "ISO_IR 100"
    result.AccessionNumber = "A123"
    result.StudyDescription = "Thorax nativ"
    result.SeriesDescription = "Lunge 1.0"
    result.BodyPartExamined = "CHEST"
    result.ProtocolName = "Thorax"
    result.PerformedProcedureStepStartDate = "20260102"
    result.PerformedProcedureStepStartTime = "101112"
    request = Dataset()
    request.ScheduledProcedureStepID = "S1"
    request.RequestedProcedureID = "R1"
    result.RequestAttributesSequence = [request]
    elsewhere = values.pop("PixelDataProviderURL", "http://127.0.0.1/")
    for keyword, value in values.items():
        if value is None:
            delattr(result, keyword)
        else:
            setattr(result, keyword, value)
    if elsewhere and "Rows" in result and len(result.get("PixelData", b"")) < result.Rows * result.Columns * 2:
        result.PixelDataProviderURL = elsewhere  # so that nobody misses the pixels
    return result


def instance(*, frames: int = 1, rows: int = 16, columns: int = 16, **values: Any) -> Dataset:
    """A small secondary-capture-like CT instance with pixel data and UIDs of its own."""
    data_set = Dataset()
    data_set.SOPClassUID = CT
    data_set.SOPInstanceUID = generate_uid()
    data_set.StudyInstanceUID = generate_uid()
    data_set.SeriesInstanceUID = generate_uid()
    data_set.PatientID = "P1"
    data_set.PatientName = "Doe^Jane"
    data_set.StudyDate = "20260102"
    data_set.StudyTime = "101112"
    data_set.StudyID = "1"
    data_set.AccessionNumber = "A1"
    data_set.Modality = "CT"
    data_set.SeriesNumber = 1
    data_set.InstanceNumber = 1
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows = rows
    data_set.Columns = columns
    data_set.NumberOfFrames = frames
    data_set.BitsAllocated = 16
    data_set.BitsStored = 12
    data_set.HighBit = 11
    data_set.PixelRepresentation = 0
    data_set.PixelData = bytes(range(256)) * (rows * columns * frames * 2 // 256 + 1)
    data_set.PixelData = data_set.PixelData[: rows * columns * frames * 2]
    data_set["PixelData"].VR = "OW"
    for keyword, value in values.items():
        if value is None:
            delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    return data_set


def encode(data_set: Dataset, transfer_syntax: str = EXPLICIT, *, undefined_lengths: bool = False) -> bytes:
    """The bytes of a data set as they go over the wire: no preamble, no group 0002.

    With `undefined_lengths`, sequences and items end with delimiters. An encapsulated syntax needs pixel data that
    is encapsulated already.
    """
    for element in data_set.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined_lengths
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined_lengths
    syntax = UID(transfer_syntax)
    target = DicomBytesIO()
    target.is_implicit_VR = syntax.is_implicit_VR
    target.is_little_endian = syntax.is_little_endian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if syntax.is_encapsulated and "PixelData" in data_set:
            data_set["PixelData"].VR = "OB"
            data_set["PixelData"].is_undefined_length = True
        write_dataset(target, data_set)
    data = target.getvalue()
    if syntax.is_deflated:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflate.compress(data) + deflate.flush()
        data += b"\0" * (len(data) & 1)
    return data


def decode(data: bytes, transfer_syntax: str = EXPLICIT) -> Dataset:
    """What pydicom reads from the bytes of a data set."""
    syntax = UID(transfer_syntax)
    if syntax.is_deflated:
        data = zlib.decompress(data, wbits=-zlib.MAX_WBITS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.filereader.read_dataset(
            io.BytesIO(data), is_implicit_VR=syntax.is_implicit_VR, is_little_endian=syntax.is_little_endian
        )


def sample(name: str) -> Path:
    """One of pydicom's own test files, by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = get_testdata_file(name, download=False)
    assert path is not None, f"pydicom has no test file {name}"
    return Path(str(path))


@cache
def samples() -> tuple[Path, ...]:
    """Every DICOM file that pydicom ships with a preamble, good and bad ones, without those to be downloaded."""
    root = Path(pydicom.__file__).parent / "data"
    return tuple(sorted(path for path in root.rglob("*") if path.is_file() and has_preamble(path)))


@cache
def all_samples() -> tuple[Path, ...]:
    """Those and the ones of pydicom-data, each name once, without asking the network for more as pydicom would."""
    package = importlib.util.find_spec("data_store")
    folder = Path(package.origin).parent if package is not None and package.origin is not None else None
    more = sorted(folder.rglob("*.dcm")) if folder is not None else []
    return tuple({path.name: path for path in (*more, *samples()) if has_preamble(path)}.values())


def read_sample(path: Path) -> Dataset:
    """A sample as pydicom reads it, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def data_sets() -> Iterator[tuple[Path, str, bytes]]:
    """(path, transfer syntax, data set bytes) of every sample whose File Meta Information can be read."""
    return data_sets_of(samples())


def data_sets_of(paths: Iterable[Path]) -> Iterator[tuple[Path, str, bytes]]:
    """The same of any files."""
    for path in paths:
        with path.open("rb") as file:
            try:
                meta = pydicom.filereader.read_file_meta_info(path)
                uid = str(meta.TransferSyntaxUID)
            except Exception:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pydicom.filereader.read_preamble(file, False)
                pydicom.filereader._read_file_meta_info(file)
            yield path, uid, file.read()
