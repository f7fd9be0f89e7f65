#!/usr/bin/env bash
# Of signed pixels with 12 bits stored the sign is bit 11 (PS3.5 8.1.1), whatever the four bits above hold. imageio
# 2.38.1, dicomsdl 0.109.4 and daikon 1.2.46 take the whole 16 bits for the number: where those four are zero, -1 is
# 4095, and air is brighter than bone. pydicom, SimpleITK and dcm2niix read -1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imageio==2.38.1 dicomsdl==0.109.4 SimpleITK==2.5.7 \
  dcm2niix==1.0.20260724 pydicom==3.0.2 numpy==2.4.6
npm install --silent --no-save --ignore-scripts daikon@1.2.46 >/dev/null

cat >read.cjs <<'EOF'
const fs = require("fs");
const daikon = require("daikon");
const image = daikon.Series.parseImage(new DataView(new Uint8Array(fs.readFileSync("one/in.dcm")).buffer));
console.log(JSON.stringify(Array.from(image.getInterpretedData(true, false, 0)).slice(0, 4)));
EOF
venv/bin/python - <<'EOF'
import contextlib
import io
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import dicomsdl
import imageio.v3 as iio
import numpy as np
import SimpleITK as sitk

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

values = [-1024, -1, 0, 1000]
ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = generate_uid(), generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex, ds.Modality = "Test^A", "1", "", "O", "CT"
ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "20200101", "120000", "1", "", ""
ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer, ds.PositionReferenceIndicator = 1, 1, "Test", ""
ds.ImageType, ds.AcquisitionNumber, ds.KVP, ds.PatientPosition = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, 120, "HFS"
ds.PixelSpacing, ds.SliceThickness, ds.RescaleIntercept, ds.RescaleSlope = [1, 1], 1, 0, 1
ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
ds.PixelData = np.tile(np.array([value & 0xFFF for value in values], "<u2"), 4).tobytes()
ds["PixelData"].VR = "OW"
Path("one").mkdir()
ds.save_as("one/in.dcm", enforce_file_format=True)

subprocess.run(["venv/bin/dcm2niix", "-o", ".", "-f", "out", "one"], check=True, stdout=subprocess.DEVNULL)
with contextlib.redirect_stdout(io.StringIO()):
    in_imageio = iio.imread("one/in.dcm", plugin="DICOM")
right = {
    f"pydicom {pydicom.__version__}": pydicom.dcmread("one/in.dcm").pixel_array[0],
    f"SimpleITK {sitk.__version__}": sitk.GetArrayFromImage(sitk.ReadImage("one/in.dcm"))[0, 0],
    f"dcm2niix {version('dcm2niix')}": np.frombuffer(Path("out.nii").read_bytes(), "<i2", 4, 352),
}
wrong = {
    f"imageio {version('imageio')}": in_imageio[0],
    f"dicomsdl {version('dicomsdl')}": dicomsdl.open("one/in.dcm").pixelData()[0],
    "daikon 1.2.46": np.array(json.loads(subprocess.check_output(["node", "read.cjs"]))),
}
print("meant:", values)
for reader, read in (right | wrong).items():
    print(reader, read.astype(int).tolist())
holds = all(read.tolist() == values for read in right.values())
holds = holds and all(read.astype(int).tolist() == [3072, 4095, 0, 1000] for read in wrong.values())
sys.exit(0 if holds else "no longer as found")
EOF
