#!/usr/bin/env bash
# dicognito 0.19.0 replaces UIDs by "2." and one number of 40 digits: neither a root of its own nor the 2.25 that PS3.5
# B.2 gives for UUIDs, but arcs that nobody has registered. What tells one maker's objects by root cannot, and no UUID
# is in them. pydicom's generate_uid(None) gives 2.25.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dicognito==0.19.0 pydicom==3.0.2

venv/bin/python - <<'EOF'
import sys
from importlib.metadata import version

from dicognito.anonymizer import Anonymizer

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"

Anonymizer(seed="seed").anonymize(ds)
uids = [ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID]
print("dicognito", version("dicognito"), *uids, sep="\n  ")
print("pydicom", generate_uid(None))
holds = all(uid.startswith("2.") and not uid.startswith("2.25.") and len(uid.split(".")) == 2 for uid in uids)
sys.exit(0 if holds else "no longer as found")
EOF
