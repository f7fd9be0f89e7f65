#!/usr/bin/env bash
# Orthanc 1.10.1 answers a query for studies up to a date with those that have no date as well: the open range "-20001231"
# of `/tools/find` is met by an empty Study Date, which is in no range (PS3.4 C.2.2.2.5.1). The range "19000101-20001231"
# leaves them out.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

seen="1.10.1+dfsg-2+deb12u1"
here=$(dpkg-query -W -f='${Version}' orthanc) || { echo "This needs Debian's package orthanc (seen with $seen)" >&2; exit 2; }
echo "orthanc $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with orthanc $seen; this machine has $here ***"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http=$(free) dicom=$(free)
cat >orthanc.json <<EOF
{"StorageDirectory": "$work/db", "IndexDirectory": "$work/db", "HttpPort": $http, "DicomPort": $dicom,
 "Plugins": [],
 "RemoteAccessAllowed": false, "AuthenticationEnabled": false}
EOF
PATH=$PATH:/usr/sbin Orthanc orthanc.json >log 2>&1 & orthanc=$!
trap 'kill "$orthanc"; wait "$orthanc" || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do python3 -c "import socket; socket.create_connection(('127.0.0.1', $http))" 2>/dev/null && break; sleep 0.1; done

venv/bin/python - "$http" <<'EOF'
import io
import json
import sys
from urllib.request import Request, urlopen

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ORTHANC = f"http://127.0.0.1:{sys.argv[1]}"


def ask(path, data=None):
    with urlopen(Request(ORTHANC + path, data)) as answer:
        return json.load(answer)


def store(**attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return ask("/instances", file.getvalue())


for date in ("19991231", "20020101", ""):
    store(StudyDate=date)


def found(date):
    query = {"Level": "Study", "Expand": True, "Query": {"StudyDate": date}}
    return sorted(each["MainDicomTags"].get("StudyDate", "") for each in ask("/tools/find", json.dumps(query).encode()))


answers = {date: found(date) for date in ("-20001231", "19000101-20001231", "20010101-")}
print(answers)
expected = {"-20001231": ["", "19991231"], "19000101-20001231": ["19991231"], "20010101-": ["20020101"]}
sys.exit(0 if answers == expected else "no longer as found")
EOF
