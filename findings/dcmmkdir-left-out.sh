#!/usr/bin/env bash
# DCMTK 3.6.7 dcmmkdir makes a DICOMDIR that lacks whatever it cannot use, compressed images among them (its default
# profile is the general purpose CD-R), and exits 0: a burning script that trusts the code hands out media whose
# pictures no viewer lists.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

seen="3.6.7-9~deb12u4"
here=$(dpkg-query -W -f='${Version}' dcmtk) || { echo "This needs Debian's package dcmtk (seen with $seen)" >&2; exit 2; }
echo "dcmtk $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with dcmtk $seen; this machine has $here ***"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6

cat >make.py <<'EOF'
import numpy as np
from pydicom.uid import RLELossless

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

for name in ("PLAIN", "RLE"):
    ds = image(np.arange(64 * 64, dtype="<u2").reshape(64, 64), 16)
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "20200101", "120000", "1", 1, 1
    if name == "RLE":
        ds.compress(RLELossless)
    ds.save_as(name, enforce_file_format=True)
EOF
venv/bin/python make.py
code=0
dcmmkdir PLAIN RLE || code=$?
echo "dcmmkdir exits $code; the DICOMDIR lists:"
dcmdump +P 0004,1500 DICOMDIR
[ "$code" = 0 ] && [ "$(dcmdump +P 0004,1500 DICOMDIR | grep -c .)" = 1 ] || { echo "no longer as found" >&2; exit 1; }
