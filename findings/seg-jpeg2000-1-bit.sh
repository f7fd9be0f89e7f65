#!/usr/bin/env bash
# highdicom 0.28.2 writes a binary segmentation in JPEG 2000 with one bit per sample, and pydicom 3.0.2 reads it with
# each of its three decoders, GDCM 3.2.6 among them. SimpleITK 2.5.7, which is built on GDCM, refuses the same object,
# and so does dcmconv of DCMTK 3.6.7 (looked at where it is there). RLE Lossless for a
# binary segmentation highdicom refuses to write.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 \
  pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 python-gdcm==3.2.6 pillow==13.0.0 SimpleITK==2.5.7 numpy==2.4.6

venv/bin/python - <<'EOF'
import shutil
import subprocess
import sys
import warnings

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from highdicom.sr.coding import CodedConcept
from pydicom.uid import CTImageStorage, JPEG2000Lossless, RLELossless

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

warnings.simplefilter("ignore")
source = image(np.zeros((33, 35), "<u2"), 16, CTImageStorage)
source.Modality, source.FrameOfReferenceUID, source.InstanceNumber = "CT", generate_uid(), 1
source.ImagePositionPatient, source.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
source.PixelSpacing, source.SliceThickness = [1, 1], 1
for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
    setattr(source, keyword, "")
source.ReferringPhysicianName = ""
segment = hd.seg.SegmentDescription(
    1,
    "Liver",
    CodedConcept("91723000", "SCT", "Anatomical structure"),
    CodedConcept("10200004", "SCT", "Liver"),
    hd.seg.SegmentAlgorithmTypeValues.MANUAL,
)
mask = (np.random.default_rng(3).random((1, 33, 35)) > 0.5).astype("u1")


def write(syntax):
    kind = hd.seg.SegmentationTypeValues.BINARY
    uid = hd.UID
    made = hd.seg.Segmentation(
        [source], mask, kind, [segment], uid(), 1, uid(), 1, "m", "m", "1", "1", transfer_syntax_uid=syntax
    )
    made.save_as("seg.dcm", enforce_file_format=True)


try:
    write(RLELossless)
    rle = "written"
except ValueError as error:
    rle = f"refused: {error}"
print("highdicom", hd.__version__, "RLE Lossless", rle)
write(JPEG2000Lossless)
equal = {}
for decoder in ("pylibjpeg", "pillow", "gdcm"):
    ds = pydicom.dcmread("seg.dcm")
    ds.pixel_array_options(decoding_plugin=decoder)
    equal[decoder] = np.array_equal(ds.pixel_array.reshape(33, 35), mask[0])
    print(f"pydicom with {decoder}: Bits Allocated {ds.BitsAllocated}, pixels equal: {equal[decoder]}")
try:
    sitk.ReadImage("seg.dcm")
    itk = "read"
except RuntimeError as error:
    itk = "refused: " + str(error).strip().splitlines()[-1]
print("SimpleITK", sitk.__version__, itk)
dcmtk = 1
if shutil.which("dcmconv"):
    run = subprocess.run(["dcmconv", "+te", "seg.dcm", "out.dcm"], capture_output=True, text=True)
    dcmtk = run.returncode
    print("dcmconv +te exits", dcmtk, run.stderr.strip())
holds = all(equal.values()) and itk != "read" and dcmtk and rle != "written"
sys.exit(0 if holds else "no longer as found")
EOF
