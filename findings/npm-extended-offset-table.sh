#!/usr/bin/env bash
# Of three parsers on npm one reads a file with an Extended Offset Table (VR OV; PS3.3 C.7.6.3.1.8), as
# highdicom writes it on request: dcmjs 0.51.1. dicom-parser 1.8.21 (used by Cornerstone) throws; daikon 1.2.46 (used by
# Papaya) gives an image without pixels and says nothing. Neither knows the 32-bit length of OV, SV and UV.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
npm install --silent --no-save --ignore-scripts dcmjs@0.51.1 dicom-parser@1.8.21 daikon@1.2.46 >/dev/null

cat >make.py <<'EOF'
import numpy as np
from pydicom.encaps import encapsulate_extended, generate_frames
from pydicom.uid import RLELossless

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.Modality, ds.ConversionType = "Test^A", "1", "OT", "WSD"
ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
ds.PixelData = np.arange(64, dtype="u1").tobytes()
ds["PixelData"].VR = "OB"
ds.compress(RLELossless, generate_instance_uid=False)
ds.save_as("basic.dcm", enforce_file_format=True)
frames = list(generate_frames(ds.PixelData, number_of_frames=1))
ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
ds.save_as("extended.dcm", enforce_file_format=True)
EOF
venv/bin/python make.py
cat >read.cjs <<'EOF'
const fs = require("fs");
const dcmjs = require("dcmjs");
const dicomParser = require("dicom-parser");
const daikon = require("daikon");

const parsers = {
  "dcmjs 0.51.1": (bytes) => dcmjs.data.DicomMessage.readFile(bytes.buffer).dict["7FE00010"] !== undefined,
  "dicom-parser 1.8.21": (bytes) => dicomParser.parseDicom(bytes).elements.x7fe00010 !== undefined,
  "daikon 1.2.46": (bytes) => daikon.Series.parseImage(new DataView(bytes.buffer)).hasPixelData(),
};
const seen = [];
for (const [parser, hasPixels] of Object.entries(parsers)) {
  for (const table of ["basic", "extended"]) {
    let outcome;
    try {
      outcome = hasPixels(new Uint8Array(fs.readFileSync(`${table}.dcm`))) ? "has pixels" : "has none";
    } catch (error) {
      outcome = "throws";
    }
    console.log(`${parser}, ${table} offset table: ${outcome}`);
    seen.push(outcome);
  }
}
const found = ["has pixels", "has pixels", "has pixels", "throws", "has pixels", "has none"];
if (JSON.stringify(seen) !== JSON.stringify(found)) {
  console.error("no longer as found");
  process.exit(1);
}
EOF
node read.cjs 2>error.log || { cat error.log >&2; exit 1; }
