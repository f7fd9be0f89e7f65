#!/usr/bin/env bash
# DCMTK 3.6.7 prints FD values with up to 17 digits, enough to name a double exactly, and yet often names another one:
# dcm2xml and xml2dcm change more than half of 90 plain values in their last bits, and dcm2json does so too. A checksum
# over such a round trip is another.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

seen="3.6.7-9~deb12u4"
here=$(dpkg-query -W -f='${Version}' dcmtk) || { echo "This needs Debian's package dcmtk (seen with $seen)" >&2; exit 2; }
echo "dcmtk $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with dcmtk $seen; this machine has $here ***"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2

cat >values.py <<'EOF'
import json
import subprocess
import sys

import pydicom

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"

PRIVATE_VALUES = 0x00091001
ds.add_new(0x00090010, "LO", "ACME")
sent = [m * 10.0**-e for e in range(1, 31) for m in (1, 2.5, 7)]
ds.add_new(PRIVATE_VALUES, "FD", sent)
ds.save_as("in.dcm", enforce_file_format=True)
subprocess.run("dcm2xml in.dcm x.xml && xml2dcm x.xml out.dcm && dcm2json in.dcm x.json", shell=True, check=True)
xml = list(pydicom.dcmread("out.dcm")[PRIVATE_VALUES].value)
with open("x.json") as file:
    text = json.load(file, parse_float=str)["00091001"]["Value"]
wrong = [(a, b, c) for a, b, c in zip(sent, xml, text, strict=True) if a != b or a != float(c)]
for a, b, c in wrong[:5]:
    print(f"sent {a!r}, by way of XML {b!r}, in JSON {c}")
print(f"{len(wrong)} of {len(sent)} values have become others; {sum(a != b for a, b, _ in wrong)} by way of XML")
sys.exit(0 if any(a != b for a, b, _ in wrong) and any(a != float(c) for a, _, c in wrong) else "no longer as found")
EOF
venv/bin/python values.py
