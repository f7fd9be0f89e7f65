#!/usr/bin/env bash
# Orthanc 1.10.1 reads kanji where the first character set is ASCII (["", ISO 2022 IR 87]) and not where it is half-
# width katakana (["ISO 2022 IR 13", "ISO 2022 IR 87"], the example of PS3.5 H.3.2 and the usual one of Japanese
# modalities): the kana are right, the kanji come out as the ASCII letters of their code, in the REST API and so in
# every page and answer.
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


KANJI = "\u5c71\u7530^\u592a\u90ce"
names = {}
KANA = "\uff94\uff8f\uff80\uff9e^\uff80\uff9b\uff73"
CASES = ((["", "ISO 2022 IR 87"], "Yamada^Tarou"), (["ISO 2022 IR 13", "ISO 2022 IR 87"], KANA))
for terms, alphabetic in CASES:
    ds.SpecificCharacterSet, ds.SOPInstanceUID = terms, generate_uid()
    ds.PatientName, ds.PatientID = f"{alphabetic}={KANJI}", str(len(names))
    made = post(encoded())
    with urlopen(f"{ORTHANC}/instances/{made['ID']}/simplified-tags") as answer:
        names[terms[0]] = json.load(answer)["PatientName"]
    print(f"{terms}: sent {ds.PatientName!s}, read as {names[terms[0]]!r}")
holds = names[""].endswith("=" + KANJI) and names["ISO 2022 IR 13"].endswith("=;3ED^B@O:")
sys.exit(0 if holds else "no longer as found")
EOF
