#!/usr/bin/env bash
# GDCM 3.2.6, and SimpleITK 2.5.7 with the GDCM in it, clear the second byte of every pixel when Bits Allocated is 32
# and Bits Stored 24: 0x7922E4 is read as 0x7900E4, silently and without compression. With Bits Stored 32 the same
# values are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check python-gdcm==3.2.6 SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6

venv/bin/python - <<'EOF'
import sys

import gdcm
import numpy as np
import SimpleITK as sitk

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def image(pixels, bits_stored, sop_class=SecondaryCaptureImageStorage):
    """Make a valid image of the array (frames, rows, columns) or (rows, columns)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.itemsize * 8, bits_stored, bits_stored - 1
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds

pixels = np.random.default_rng(1).integers(0, 2**24, (40, 40)).astype("<u4")
read = {}
for bits in (24, 32):
    image(pixels, bits).save_as("in.dcm", enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName("in.dcm")
    assert reader.Read()
    buffer = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    read["GDCM " + gdcm.Version.GetVersion(), bits] = np.frombuffer(buffer, "<u4").reshape(40, 40)
    read["SimpleITK " + sitk.__version__, bits] = sitk.GetArrayFromImage(sitk.ReadImage("in.dcm"))[0]
for (reader, bits), got in read.items():
    first = [hex(value) for value in got[0, :3].tolist()]
    print(f"{reader}, {bits} bits stored: {first}, equal: {np.array_equal(got, pixels)}")
print("stored:", [hex(value) for value in pixels[0, :3].tolist()])
holds = all(np.array_equal(got, pixels if bits == 32 else pixels & 0xFFFF00FF) for (_, bits), got in read.items())
sys.exit(0 if holds else "no longer as found")
EOF
