#!/usr/bin/env bash
# DCMTK 3.6.7 as Debian builds it (with the iconv of glibc) converts Korean (ISO 2022 IR 149) to UTF-8, and no file that
# names ISO 2022 IR 87 (JIS X 0208), as Japanese ones do: dcmdump +U8 and dcm2json, which has to convert, give up the
# whole file, even if it holds no kanji. Orthanc on the same machine reads it (orthanc-kana-kanji.sh).
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

venv/bin/python - <<'EOF'
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

outcome = {}
for term, name in (
    ("ISO 2022 IR 149", "Hong^Gildong=\u6d2a^\u5409\u6d1e"),
    ("ISO 2022 IR 87", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
    ("ISO 2022 IR 87", "Yamada^Tarou"),
):
    ds.SpecificCharacterSet, ds.PatientName = ["", term], name
    ds.save_as("in.dcm", enforce_file_format=True)
    assert str(pydicom.dcmread("in.dcm").PatientName) == name
    for tool in (["dcmdump", "+U8"], ["dcm2json"]):
        run = subprocess.run([*tool, "in.dcm"], capture_output=True)
        outcome[term, name, tool[0]] = run.returncode
        print(f"{term} {name}: {' '.join(tool)} exits {run.returncode} {run.stderr.decode().splitlines()[:1]}")
holds = all((code != 0) == term.endswith("87") for (term, _, _), code in outcome.items())
sys.exit(0 if holds else "no longer as found")
EOF
