#!/usr/bin/env bash
# SimpleITK 2.5.7 reads an enhanced MR object whose frames have rescale slopes of their own (as PET and quantitative MR
# have) as raw stored values, without a word: 100, 100, 100 where the object says 100, 210, 420. dcm2niix 1.0.20260724
# applies each frame's own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6 dcm2niix==1.0.20260724

venv/bin/python - <<'EOF'
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.uid import EnhancedMRImageStorage

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


def item(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


ds = image(np.full((3, 4, 4), 100, "<u2"), 16, EnhancedMRImageStorage)
ds.Modality, ds.NumberOfFrames, ds.SeriesNumber, ds.InstanceNumber = "MR", 3, 1, 1
ds.SharedFunctionalGroupsSequence = [
    item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=1, SpacingBetweenSlices=1)],
    )
]
ds.PerFrameFunctionalGroupsSequence = [
    item(
        FrameContentSequence=[item(StackID="1", InStackPositionNumber=i + 1, DimensionIndexValues=[1, i + 1])],
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, i])],
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=10 * i, RescaleType="US")],
    )
    for i, slope in enumerate((1, 2, 4))
]
Path("one").mkdir()
ds.save_as("one/in.dcm", enforce_file_format=True)
itk = sitk.GetArrayFromImage(sitk.ReadImage("one/in.dcm"))[:, 0, 0].tolist()
subprocess.run(["venv/bin/dcm2niix", "-o", ".", "-f", "out", "one"], check=True, stdout=subprocess.DEVNULL)
nifti = np.frombuffer(Path("out.nii").read_bytes()[352:], "<f4").reshape(3, 4, 4)[:, 0, 0].tolist()
print("SimpleITK", sitk.__version__, "GDCM's values:", itk)
print("dcm2niix", nifti, "as the object says")
sys.exit(0 if itk == [100, 100, 100] and nifti == [100, 210, 420] else "no longer as found")
EOF
