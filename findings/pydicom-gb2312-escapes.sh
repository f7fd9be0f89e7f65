#!/usr/bin/env bash
# pydicom 3.0.2 knows ISO 2022 IR 58 (GB 2312) by name alone: it writes Chinese text without the escape sequence that
# PS3.5 6.1.2.5.3 asks for, cannot read its own file back, and leaves the escape sequence of a right one in the text.
# ISO 2022 IR 149 (Korean), which works in the same way, is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2

venv/bin/python - <<'EOF'
import io
import sys

import pydicom
from pydicom.charset import decode_bytes, convert_encodings

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"

print("pydicom", pydicom.__version__)


def there_and_back(term, name):
    ds.SpecificCharacterSet, ds.PatientName = ["", term], name
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    raw = file.getvalue()
    back = str(pydicom.dcmread(io.BytesIO(raw)).PatientName)
    print(f"{term}: wrote {name!r}, read back {back!r}, an escape sequence in the file: {chr(27).encode() in raw}")
    return back == name


chinese = there_and_back("ISO 2022 IR 58", "Zhang^XiaoDong=\u5f20^\u5c0f\u4e1c")
korean = there_and_back("ISO 2022 IR 149", "Hong^Gildong=\u6d2a^\u5409\u6d1e")
valid = b"\x1b$)A" + "\u5f20".encode("gb2312")
text = decode_bytes(valid, convert_encodings(["", "ISO 2022 IR 58"]), set())
print(f"{valid!r} is read as {text!r}")
holds = korean and not chinese and text == "\x1b$)A\u5f20"
sys.exit(0 if holds else "no longer as found")
EOF
