#!/usr/bin/env bash
# dicom-ecg-plot 1.4.1 adds Channel Baseline to the samples before it multiplies by Channel Sensitivity. By PS3.3 C.10.9
# the baseline is in the units of the sensitivity, not in samples: with 5 uV a sample, a baseline of 200 uV moves the
# curve by a millivolt. pydicom 3.0.2 multiplies first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dicom-ecg-plot==1.4.1 pydicom==3.0.2 numpy==2.4.6

MPLCONFIGDIR=$work venv/bin/python - <<'EOF'
import sys
from importlib.metadata import version

import numpy as np
from ecg.processor import extract_signals
from ecg.reader import DicomECGReader

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def item(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = TwelveLeadECGWaveformStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex, ds.Modality = "Test^A", "1", "", "O", "ECG"
ds.StudyDate = ds.ContentDate = "20200101"
ds.StudyTime = ds.ContentTime = "120000"
ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "1", "1", "", 1, 1
ds.AcquisitionDateTime, ds.AcquisitionContextSequence, ds.Manufacturer = "20200101120000", [], "Test"
leads = [
    item(
        ChannelSourceSequence=[item(CodeValue=f"2:{n}", CodingSchemeDesignator="MDC", CodeMeaning=f"Lead {lead}")],
        ChannelSensitivity=5,
        ChannelSensitivityUnitsSequence=[item(CodeValue="uV", CodingSchemeDesignator="UCUM", CodeMeaning="microvolt")],
        ChannelSensitivityCorrectionFactor=1,
        ChannelBaseline=200,
        ChannelSampleSkew=0,
        WaveformBitsStored=16,
    )
    for n, lead in enumerate(LEADS, 1)
]
samples = np.full((5000, 12), 100, "<i2")
group = item(WaveformOriginality="ORIGINAL", NumberOfWaveformChannels=12, NumberOfWaveformSamples=5000)
group.SamplingFrequency, group.ChannelDefinitionSequence, group.WaveformBitsAllocated = 500, leads, 16
group.WaveformSampleInterpretation, group.WaveformData = "SS", samples.tobytes()
group["WaveformData"].VR = "OW"
ds.WaveformSequence = [group]
ds.save_as("ecg.dcm", enforce_file_format=True)

plotted = round(float(extract_signals(DicomECGReader("ecg.dcm"))[0, -1]), 3)
right = round(float(pydicom.dcmread("ecg.dcm").waveform_array(0)[-1, 0]) / 1000, 3)
print("every sample is 100 at 5 uV, baseline 200 uV: 0.7 mV")
print("dicom-ecg-plot", version("dicom-ecg-plot"), plotted, "mV")
print("pydicom", pydicom.__version__, right, "mV")
sys.exit(0 if (plotted, right) == (1.5, 0.7) else "no longer as found")
EOF
