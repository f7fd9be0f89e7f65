#!/usr/bin/env bash
# dicomweb-client 0.61.2 has two clients of one interface. Its DICOMfileClient, over a folder of files, leaves a range of
# dates ("20200101-20200131", as QIDO-RS has them) out of the search and answers with every study; a single date it
# matches. A line in the log is all that says so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dicomweb-client==0.61.2 pydicom==3.0.2 numpy==2.4.6
venv/bin/python - <<'EOF'
import sys
from importlib.metadata import version
from pathlib import Path

from dicomweb_client.api import DICOMfileClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

Path("files").mkdir()
for year in (1999, 2010, 2020):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality, ds.StudyDate = "Test^A", "1", "OT", f"{year}0115"
    for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "StudyTime", "AccessionNumber"):
        setattr(ds, keyword, "")
    ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "", 1, 1
    ds.save_as(f"files/{year}.dcm", enforce_file_format=True)

client = DICOMfileClient(url=f"file://{Path('files').absolute()}", in_memory=True)
print("dicomweb-client", version("dicomweb-client"), "over studies of 1999, 2010 and 2020")
found = {}
for date in ("20200115", "20200101-20200131", "20200101-"):
    studies = client.search_for_studies(search_filters={"StudyDate": date})
    found[date] = sorted(study["00080020"]["Value"][0] for study in studies)
    print(f"StudyDate={date}: {found[date]}")
sys.exit(0 if [len(dates) for dates in found.values()] == [1, 3, 3] else "no longer as found")
EOF
