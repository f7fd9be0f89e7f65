#!/usr/bin/env bash
# DCMTK 3.6.7 dcmodify, asked to change one attribute of the data set in place, also writes a new File Meta Information:
# Source, Sending and Receiving Application Entity Title (0002,0016) to (0002,0018) and the Private Information
# (0002,0100), (0002,0102) of PS3.10 Table 7.1-1 are gone without a word; GDCM's gdcmconv loses them too, and enters its
# own name as the source. Archives that keep in group 0002 where an object came from, or whose it is, lose it by one
# correction of a name. pydicom and dcmjs keep all of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for package in dcmtk libgdcm-tools; do
  here=$(dpkg-query -W -f='${Version}' "$package") || { echo "This needs Debian's package $package" >&2; exit 2; }
  echo "$package $here"
done
echo "(seen with dcmtk 3.6.7-9~deb12u4, libgdcm-tools 3.0.21-1)"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2
npm init -y >npm.log
npm install --silent --no-fund --no-audit dcmjs@0.51.1 >>npm.log

cat >make.py <<'EOF'
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

ds = Dataset()
ds.file_meta = meta = FileMetaDataset()
meta.TransferSyntaxUID = ExplicitVRLittleEndian
meta.SourceApplicationEntityTitle = "CT1"
meta.SendingApplicationEntityTitle = "GATE1"
meta.ReceivingApplicationEntityTitle = "ARCHIVE"
meta.PrivateInformationCreatorUID = "2.25.1"
meta.PrivateInformation = b"clinic-a"
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.2"
ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.3", "2.25.4"
ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"
ds.Rows = ds.Columns = 8
ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
ds.PixelData = bytes(64)
ds["PixelData"].VR = "OW"
ds.save_as("image.dcm", enforce_file_format=True)
EOF
cat >pydicom_edit.py <<'EOF'
import pydicom

ds = pydicom.dcmread("image.dcm")
ds.PatientName = "Test^B"
ds.save_as("pydicom.dcm")
EOF
cat >dcmjs_edit.js <<'EOF'
const fs = require("fs");
const { data } = require("dcmjs");
const file = fs.readFileSync("image.dcm");
const message = data.DicomMessage.readFile(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
message.dict["00100010"].Value = [{ Alphabetic: "Test^B" }];
fs.writeFileSync("dcmjs.dcm", Buffer.from(message.write()));
EOF
venv/bin/python make.py
cp image.dcm dcmodify.dcm
dcmodify -nb -m "(0010,0010)=Test^B" dcmodify.dcm
gdcmconv --raw image.dcm gdcmconv.dcm
venv/bin/python pydicom_edit.py
node dcmjs_edit.js >/dev/null 2>&1

tags() { dcmdump "$1" | grep -oE '^\(0002,(001[678]|0100|0102)\)' | tr '\n' ' ' || true; }
for name in image dcmodify gdcmconv pydicom dcmjs; do
  printf '%-9s keeps %s\n' "$name" "$(tags "$name.dcm")"
done
all=$(tags image.dcm)
[ "$(tags dcmodify.dcm)" = "" ] && [ "$(tags gdcmconv.dcm)" = "(0002,0016) " ] &&
  dcmdump gdcmconv.dcm | grep -q '(0002,0016) AE \[gdcmconv *\]' &&
  [ "$(tags pydicom.dcm)" = "$all" ] && [ "$(tags dcmjs.dcm)" = "$all" ] || { echo "no longer as found" >&2; exit 1; }
