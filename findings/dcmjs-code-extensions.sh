#!/usr/bin/env bash
# dcmjs 0.51.1 (used by OHIF and dcmjs-dimse) throws for the whole file as soon as Specific Character Set has two
# values, as in many Japanese and Korean objects, whatever the names hold. GB18030 it reads, and has as UTF-8 from then
# on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2
npm install --silent --no-save --ignore-scripts dcmjs@0.51.1 >/dev/null

cat >make.py <<'EOF'
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"

for file, terms in (("one", "GB18030"), ("two", ["", "ISO 2022 IR 149"])):
    ds.SpecificCharacterSet = terms
    ds.save_as(file, enforce_file_format=True)
EOF
venv/bin/python make.py
cat >read.cjs <<'EOF'
const fs = require("fs");
const dcmjs = require("dcmjs");
const seen = {};
for (const file of ["one", "two"]) {
  try {
    const { dict } = dcmjs.data.DicomMessage.readFile(new Uint8Array(fs.readFileSync(file)).buffer);
    seen[file] = `read, Specific Character Set is now ${dict["00080005"].Value}`;
  } catch (error) {
    seen[file] = `refused: ${error.message}`;
  }
  console.log(`dcmjs 0.51.1, file with ${file} character set(s): ${seen[file]}`);
}
if (!(seen.one.startsWith("read") && seen.two.startsWith("refused: Using multiple character sets"))) {
  console.error("no longer as found");
  process.exit(1);
}
EOF
node read.cjs
