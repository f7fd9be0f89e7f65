#!/usr/bin/env bash
# Orthanc 1.10.1 strips trailing spaces or trailing NULs of Patient ID, and a NUL before a space, but not a space before
# a NUL: "XY" and "XY" padded by a device with a space and a NUL are two patients with two Orthanc identifiers, whose
# studies do not come together.
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

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.Modality = "Test^A", "1", "OT"

ORTHANC = f"http://127.0.0.1:{sys.argv[1]}"


def post(data: bytes):
    with urlopen(Request(ORTHANC + "/instances", data)) as answer:
        return json.load(answer)


def encoded():
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


patients = {}
for padded in (b"XY", b"XY  ", b"XY\0\0", b"XY\0 ", b"XY \0"):
    ds.PatientID, ds.SOPInstanceUID = "XXXX", generate_uid()
    element = b"\x10\x00\x20\x00LO"
    whole = encoded()
    assert whole.count(element + b"\x04\x00XXXX") == 1
    value = element + len(padded).to_bytes(2, "little") + padded
    patients[padded] = post(whole.replace(element + b"\x04\x00XXXX", value))["ParentPatient"]
    print(padded, patients[padded])
first = patients.pop(b"XY")
sys.exit(0 if {k for k, v in patients.items() if v != first} == {b"XY \0"} else "no longer as found")
EOF
