#!/usr/bin/env bash
# orthanc-dicomweb 1.7 (Orthanc 1.10.1) leaves elements of the 64-bit VRs (UV, SV, OV) out of its WADO-RS metadata,
# neither as value nor as BulkDataURI, where the UL beside them is there: who copies an archive by metadata and bulk
# data loses them without a word. The stored file keeps them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

seen="1.10.1+dfsg-2+deb12u1"
here=$(dpkg-query -W -f='${Version}' orthanc) || { echo "This needs Debian's package orthanc (seen with $seen)" >&2; exit 2; }
echo "orthanc $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with orthanc $seen; this machine has $here ***"
seen="1.7+dfsg-6+b2"
here=$(dpkg-query -W -f='${Version}' orthanc-dicomweb) || { echo "This needs Debian's package orthanc-dicomweb (seen with $seen)" >&2; exit 2; }
echo "orthanc-dicomweb $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with orthanc-dicomweb $seen; this machine has $here ***"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http=$(free) dicom=$(free)
cat >orthanc.json <<EOF
{"StorageDirectory": "$work/db", "IndexDirectory": "$work/db", "HttpPort": $http, "DicomPort": $dicom,
 "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
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


from pydicom import dcmread

ds.add_new(0x00090010, "LO", "ACME")
for tag, vr, value in ((0x00091001, "UL", 7), (0x00091002, "SV", -5), (0x00091003, "OV", bytes(16)), (0x00091004, "UV", 5)):
    ds.add_new(tag, vr, value)
made = post(encoded())
with urlopen(f"{ORTHANC}/dicom-web/studies/{ds.StudyInstanceUID}/metadata") as answer:
    metadata = json.load(answer)[0]
with urlopen(f"{ORTHANC}/instances/{made['ID']}/file") as answer:
    stored = dcmread(io.BytesIO(answer.read()))
for tag in ("00091001", "00091002", "00091003", "00091004"):
    print(f"{tag} {stored[tag].VR} stored {stored[tag].value!r}; in the metadata {metadata.get(tag, 'not there')}")
holds = not {"00091002", "00091003", "00091004"} & metadata.keys() and metadata["00091001"]["Value"] == [7]
sys.exit(0 if holds else "no longer as found")
EOF
