#!/usr/bin/env bash
# dicom2fhir 0.1.25 makes FHIR resources of DICOM files. Of the name "Test^A" it makes the family name
# '{"Alphabetic": "Test' and the given name 'A"}'; it leaves the code out of Procedure Code Sequence, takes the study
# time "1430" (valid, PS3.5 6.2) for midnight, and passes over Timezone Offset From UTC for the zone of its settings.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
# With fhir.resources 8.3.0, the newest that it lets pip take, it refuses every image.
venv/bin/pip install --quiet --disable-pip-version-check dicom2fhir==0.1.25 fhir.resources==8.0.0 pydicom==3.0.2

venv/bin/python -W ignore - <<'EOF'
import asyncio
import json
import sys
from importlib.metadata import version
from pathlib import Path

from dicom2fhir import dicom2fhir

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex, ds.Modality = "Test^A", "1", "", "O", "OT"
ds.StudyDate, ds.StudyTime, ds.TimezoneOffsetFromUTC = "20200101", "1430", "+0900"
ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "1", "1", "", 1, 1
procedure = Dataset()
procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "24627-2", "LN", "CT Chest"
ds.ProcedureCodeSequence = [procedure]
Path("files").mkdir()
ds.save_as("files/1.dcm", enforce_file_format=True)

bundle = asyncio.run(dicom2fhir.from_directory("files", {"dicom_timezone": "Europe/Berlin"}))
made = {entry["resource"]["resourceType"]: entry["resource"] for entry in json.loads(bundle.model_dump_json())["entry"]}
name, study = made["Patient"]["name"][0], made["ImagingStudy"]
print("dicom2fhir", version("dicom2fhir"))
print("name:", json.dumps(name))
print("procedureCode:", json.dumps(study["procedureCode"]))
print("started:", study["started"])
holds = (
    "Alphabetic" in name["family"]
    and "code" not in study["procedureCode"][0]["coding"][0]
    and study["started"] == "2020-01-01T00:00:00+01:00"
)
sys.exit(0 if holds else "no longer as found")
EOF
