#!/usr/bin/env bash
# GDCM 3.2.6, and SimpleITK 2.5.7 with the GDCM in it, take the spacing of a projection radiograph from Imager Pixel
# Spacing, at the detector, also where a calibrated Pixel Spacing, in the patient, is there (PS3.3 10.7.1): lengths in a
# DX, MG, CR or XA image magnified by 1.4 are 1.4 times too long. A CR with Pixel Spacing alone is 1 mm a pixel. There
# is no warning.
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
from pydicom import uid

from pydicom.dataset import Dataset, FileMetaDataset

CLASSES = {
    "DX": uid.DigitalXRayImageStorageForPresentation,
    "MG": uid.DigitalMammographyXRayImageStorageForPresentation,
    "CR": uid.ComputedRadiographyImageStorage,
    "XA": uid.XRayAngiographicImageStorage,
    "CT": uid.CTImageStorage,
}


def image(modality):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CLASSES[modality], uid.generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", modality
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.zeros((8, 8), "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def seen(ds):
    ds.save_as("in.dcm", enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName("in.dcm")
    assert reader.Read()
    return [list(spacing[:2]) for spacing in (reader.GetImage().GetSpacing(), sitk.ReadImage("in.dcm").GetSpacing())]


found = {}
for modality in CLASSES:
    ds = image(modality)
    ds.PixelSpacing = [0.1, 0.1]
    if modality != "CT":
        ds.ImagerPixelSpacing = [0.14, 0.14]
        ds.EstimatedRadiographicMagnificationFactor = "1.4"
        ds.PixelSpacingCalibrationType, ds.PixelSpacingCalibrationDescription = "GEOMETRY", "Test"
    found[modality] = seen(ds)
ds = image("CR")
ds.PixelSpacing, ds.PixelSpacingCalibrationType, ds.PixelSpacingCalibrationDescription = [0.1, 0.1], "FIDUCIAL", "Test"
found["CR, Pixel Spacing alone"] = seen(ds)
print("Pixel Spacing 0.1, Imager Pixel Spacing 0.14 (all but the CT)")
for what, (in_gdcm, in_itk) in found.items():
    print(f"{what}: GDCM {gdcm.Version.GetVersion()} {in_gdcm}, SimpleITK {sitk.__version__} {in_itk}")
wanted = {modality: [[0.14, 0.14]] * 2 for modality in CLASSES} | {"CT": [[0.1, 0.1]] * 2}
wanted["CR, Pixel Spacing alone"] = [[1, 1]] * 2
sys.exit(0 if found == wanted else "no longer as found")
EOF
