#!/usr/bin/env bash
# highdicom 0.28.2 reads each part of a slide in several instances (TILED_FULL over a concatenation, PS3.3 C.7.6.17.3)
# as if it were the first: it passes over Concatenation Frame Offset Number, puts the tiles of every part at the top left
# and leaves the rest black, without a warning. wsidicom 0.36.1 puts them where they belong. dciodvfy of dicom3tools
# 20260927 takes the parts for wrong: it wants the frames of all of them in each.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check highdicom==0.28.2 wsidicom==0.36.1 dicom3tools==20260927 \
  pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0

venv/bin/python - <<'EOF'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import highdicom as hd
import numpy as np
from PIL import ImageCms
from pydicom.uid import VLWholeSlideMicroscopyImageStorage
from wsidicom import WsiDicom

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def item(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def code(value, meaning):
    return [item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)]


SHARED = {keyword: generate_uid() for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
SHARED |= {keyword: generate_uid() for keyword in ("ConcatenationUID", "SOPInstanceUIDOfConcatenationSource")}
SPECIMEN, DIMENSIONS = generate_uid(), generate_uid()
KIND = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
SIDE, ACROSS, DOWN = 16, 4, 2
profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
tiles = np.repeat(np.arange(10, 90, 10, dtype="u1"), SIDE * SIDE * 3).reshape(-1, SIDE, SIDE, 3)


def part(number, parts):
    """Make that part of the slide of 8 tiles, 4 across, each of one grey: 10, 20, ... 80."""
    frames = np.array_split(tiles, parts)[number]
    ds = item(**SHARED)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = VLWholeSlideMicroscopyImageStorage, generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "Test^A", "1", "SM", 1, 1
    for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(ds, keyword, "")
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    ds.StudyDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.ContentTime = "120000"
    ds.AcquisitionDateTime, ds.AcquisitionContextSequence, ds.ImageType = "20200101120000", [], KIND
    ds.Manufacturer = ds.ManufacturerModelName = ds.DeviceSerialNumber = ds.SoftwareVersions = "Test"
    ds.InConcatenationNumber, ds.InConcatenationTotalNumber = number + 1, parts
    ds.ConcatenationFrameOffsetNumber = number * len(frames)
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(frames), SIDE, SIDE
    ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows, ds.TotalPixelMatrixFocalPlanes = ACROSS * SIDE, DOWN * SIDE, 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OB"
    ds.LossyImageCompression, ds.VolumetricProperties, ds.FocusMethod = "00", "VOLUME", "AUTO"
    ds.SpecimenLabelInImage = ds.BurnedInAnnotation = ds.ExtendedDepthOfField = "NO"
    ds.ImagedVolumeWidth, ds.ImagedVolumeHeight, ds.ImagedVolumeDepth = ACROSS * SIDE * 0.001, DOWN * SIDE * 0.001, 1.0
    ds.TotalPixelMatrixOriginSequence = [item(XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0)]
    ds.ImageOrientationSlide, ds.NumberOfOpticalPaths = [0, -1, 0, -1, 0, 0], 1
    ds.ContainerIdentifier, ds.IssuerOfTheContainerIdentifierSequence, ds.ContainerTypeCodeSequence = "1", [], []
    ds.SpecimenDescriptionSequence = [item(SpecimenIdentifier="1", SpecimenUID=SPECIMEN)]
    ds.SpecimenDescriptionSequence[0].IssuerOfTheSpecimenIdentifierSequence = []
    ds.SpecimenDescriptionSequence[0].SpecimenPreparationSequence = []
    ds.OpticalPathSequence = [item(OpticalPathIdentifier="1", ICCProfile=profile + b"\0" * (len(profile) % 2))]
    ds.OpticalPathSequence[0].IlluminationTypeCodeSequence = code("111744", "Brightfield illumination")
    ds.OpticalPathSequence[0].IlluminationColorCodeSequence = code("11744", "Full Spectrum")
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=DIMENSIONS)]
    ds.DimensionIndexSequence = [
        item(DimensionOrganizationUID=DIMENSIONS, DimensionIndexPointer=pointer, FunctionalGroupPointer=0x0048021A)
        for pointer in (0x0048021F, 0x0048021E)
    ]
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[0.001, 0.001], SliceThickness=0.001)],
            WholeSlideMicroscopyImageFrameTypeSequence=[item(FrameType=KIND)],
            OpticalPathIdentificationSequence=[item(OpticalPathIdentifier="1")],
        )
    ]
    return ds


Path("slide").mkdir()
read = []
for number in range(2):
    part(number, 2).save_as(f"slide/{number}.dcm", enforce_file_format=True)
    read.append(hd.imread(f"slide/{number}.dcm").get_total_pixel_matrix()[::SIDE, ::SIDE, 0].astype(int).tolist())
    print("highdicom", version("highdicom"), f"part {number + 1} of 2, tile by tile:", read[number])
with WsiDicom.open("slide") as slide:
    whole = np.asarray(slide.read_region((0, 0), 0, (ACROSS * SIDE, DOWN * SIDE)))[::SIDE, ::SIDE, 0].tolist()
print("wsidicom", version("wsidicom"), "both parts:", whole)
checked = subprocess.run(["venv/bin/dciodvfy", "slide/1.dcm"], capture_output=True, text=True)
errors = [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]
print("dciodvfy", version("dicom3tools"), "part 2 of 2:", *errors)
wants_all = len(errors) == 1 and "got 4 expected 8" in errors[0]
top, rest, black = [10, 20, 30, 40], [50, 60, 70, 80], [0, 0, 0, 0]
holds = read == [[top, black], [rest, black]] and whole == [top, rest] and wants_all
sys.exit(0 if holds else "no longer as found")
EOF
