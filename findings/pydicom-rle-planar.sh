#!/usr/bin/env bash
# pydicom 3.0.2 Dataset.compress(RLELossless) takes pixel data of Planar Configuration 1 (RRR GGG BBB) for Planar
# Configuration 0: the colours of the result are wrong, with both encoders and without a warning. For JPEG-LS and JPEG
# 2000 the same call reorders the samples and is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 \
  pylibjpeg==2.1.0 pylibjpeg-rle==2.2.0 pylibjpeg-openjpeg==2.6.0 numpy==2.4.6

venv/bin/python - <<'EOF'
import copy
import sys

import numpy as np
from pydicom.uid import JPEG2000Lossless, RLELossless

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

colours = (np.indices((64, 64)).sum(0)[..., None] + [0, 40, 90]).astype("u1")
planar = image(np.ascontiguousarray(colours.transpose(2, 0, 1)), 8)
planar.SamplesPerPixel, planar.PhotometricInterpretation, planar.PlanarConfiguration = 3, "RGB", 1
planar["PixelData"].VR = "OB"
print("pydicom", pydicom.__version__)
assert np.array_equal(planar.pixel_array, colours)
right = {}
for syntax, encoder in ((RLELossless, "pydicom"), (RLELossless, "pylibjpeg"), (JPEG2000Lossless, "pylibjpeg")):
    packed = copy.deepcopy(planar)
    packed.compress(syntax, encoding_plugin=encoder)
    right[syntax, encoder] = np.array_equal(packed.pixel_array, colours)
    print(f"{syntax.name} by {encoder}: colours {'right' if right[syntax, encoder] else 'wrong'}")
sys.exit(0 if list(right.values()) == [False, False, True] else "no longer as found")
EOF
