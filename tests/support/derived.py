"""Objects drawn over a series of `pictures.py`, or standing beside one: segmentations, contours, reports, a PDF."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from tests.support.datasets import instance
from tests.support.pictures import SIZE

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
LEFT, RIGHT, TOP, BOTTOM = 40, 88, 40, 88
"""Columns and rows of the square that is segmented and outlined, the last ones excluded."""
_SERIES = ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDescription")


def item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def code(value: str, scheme: str, meaning: str) -> Sequence:
    return Sequence([item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


def beside(images: Many[Dataset], sop_class: str, modality: str, **values: Any) -> Dataset:
    """An object of a series of its own in the study of `images`, without pixels."""
    same = {name: images[0][name].value for name in _SERIES if name in images[0]}
    made = instance(SOPClassUID=sop_class, Modality=modality, SeriesInstanceUID=generate_uid(), **same)
    for name in ("PixelData", "WindowCenter", "WindowWidth", "NumberOfFrames"):
        if name in made:
            delattr(made, name)
    made.update(item(**values))
    return made


def segmentation(images: Many[Dataset], *, label_map: bool = False) -> Dataset:
    """A square on every image: one bit a pixel, or as a label map, in which it is segment 1."""
    square = np.zeros((SIZE, SIZE), np.uint8)
    square[TOP:BOTTOM, LEFT:RIGHT] = 1
    drawn = np.stack([square] * len(images))
    pixels = drawn.tobytes() if label_map else pack_bits(drawn)
    bits = 8 if label_map else 1
    made = beside(
        images,
        LABEL_MAP if label_map else SEGMENTATION,
        "SEG",
        SeriesDescription="Label map" if label_map else "Segmentation",
        SeriesNumber=20,
        ImageType=["DERIVED", "PRIMARY"],
        ContentLabel="SQUARE",
        ContentDescription="",
        ContentCreatorName="",
        Manufacturer="M",
        ManufacturerModelName="M",
        DeviceSerialNumber="1",
        SoftwareVersions="1",
        SegmentationType="LABELMAP" if label_map else "BINARY",
        NumberOfFrames=len(images),
        Rows=SIZE,
        Columns=SIZE,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelRepresentation=0,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        LossyImageCompression="00",
        PixelData=pixels,
        SegmentSequence=Sequence(
            [
                item(
                    SegmentNumber=1,
                    SegmentLabel="Square",
                    SegmentAlgorithmType="MANUAL",
                    SegmentedPropertyCategoryCodeSequence=code("123037004", "SCT", "Anatomical Structure"),
                    SegmentedPropertyTypeCodeSequence=code("10200004", "SCT", "Liver"),
                    RecommendedDisplayCIELabValue=[34885, 53485, 50171],
                )
            ]
        ),
        ReferencedSeriesSequence=Sequence(
            [
                item(
                    SeriesInstanceUID=images[0].SeriesInstanceUID,
                    ReferencedInstanceSequence=Sequence([_reference(each) for each in images]),
                )
            ]
        ),
        SharedFunctionalGroupsSequence=Sequence(
            [
                item(
                    PixelMeasuresSequence=Sequence(
                        [item(PixelSpacing=[1.0, 1.0], SliceThickness=2.0, SpacingBetweenSlices=2.0)]
                    ),
                    PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
                )
            ]
        ),
        PerFrameFunctionalGroupsSequence=Sequence(
            [_frame(each, number, label_map=label_map) for number, each in enumerate(images, 1)]
        ),
        DimensionOrganizationSequence=Sequence([item(DimensionOrganizationUID=generate_uid())]),
    )
    made["PixelData"].VR = "OB"
    return made


def _frame(image: Dataset, number: int, *, label_map: bool) -> Dataset:
    source = _reference(image)
    source.PurposeOfReferenceCodeSequence = code("121322", "DCM", "Source image for image processing operation")
    made = item(
        FrameContentSequence=Sequence(
            [item(DimensionIndexValues=[1, number], StackID="1", InStackPositionNumber=number)]
        ),
        PlanePositionSequence=Sequence([item(ImagePositionPatient=list(image.ImagePositionPatient))]),
        DerivationImageSequence=Sequence(
            [
                item(
                    DerivationCodeSequence=code("113076", "DCM", "Segmentation"),
                    SourceImageSequence=Sequence([source]),
                )
            ]
        ),
    )
    if not label_map:
        made.SegmentIdentificationSequence = Sequence([item(ReferencedSegmentNumber=1)])
    return made


def _reference(image: Dataset) -> Dataset:
    return item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def contours(images: Many[Dataset]) -> Dataset:
    """The outline of the square on every image, as a structure set."""
    frame = images[0].FrameOfReferenceUID

    def outline(image: Dataset) -> Dataset:
        left, top, depth = (float(value) for value in image.ImagePositionPatient)
        corners = [(LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM)]
        points = [value for x, y in corners for value in (left + x, top + y, depth)]
        return item(
            ContourImageSequence=Sequence([_reference(image)]),
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=4,
            ContourData=points,
        )

    series = item(
        SeriesInstanceUID=images[0].SeriesInstanceUID,
        ContourImageSequence=Sequence([_reference(each) for each in images]),
    )
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=images[0].StudyInstanceUID,
        RTReferencedSeriesSequence=Sequence([series]),
    )
    return beside(
        images,
        RT_STRUCTURE_SET,
        "RTSTRUCT",
        SeriesDescription="Contours",
        SeriesNumber=30,
        StructureSetLabel="SQUARE",
        StructureSetDate="20260102",
        StructureSetTime="101112",
        ReferencedFrameOfReferenceSequence=Sequence(
            [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=Sequence([study]))]
        ),
        StructureSetROISequence=Sequence(
            [
                item(
                    ROINumber=1,
                    ReferencedFrameOfReferenceUID=frame,
                    ROIName="Square",
                    ROIGenerationAlgorithm="MANUAL",
                )
            ]
        ),
        ROIContourSequence=Sequence(
            [
                item(
                    ROIDisplayColor=[255, 0, 0],
                    ReferencedROINumber=1,
                    ContourSequence=Sequence([outline(each) for each in images]),
                )
            ]
        ),
        RTROIObservationsSequence=Sequence(
            [item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter="")]
        ),
    )


def text_report(images: Many[Dataset], text: str) -> Dataset:
    """A report of one paragraph, as a radiology system sends it: without a template, and without a template's name."""
    return beside(
        images,
        BASIC_TEXT_SR,
        "SR",
        SeriesDescription="Report",
        SeriesNumber=40,
        CompletionFlag="COMPLETE",
        VerificationFlag="UNVERIFIED",
        ValueType="CONTAINER",
        ContinuityOfContent="SEPARATE",
        ConceptNameCodeSequence=code("18748-4", "LN", "Diagnostic imaging report"),
        ContentSequence=Sequence(
            [
                item(
                    RelationshipType="CONTAINS",
                    ValueType="TEXT",
                    ConceptNameCodeSequence=code("121071", "DCM", "Finding"),
                    TextValue=text,
                )
            ]
        ),
    )


def pdf(images: Many[Dataset]) -> Dataset:
    """A page that is red all over."""
    content = _pdf()
    return beside(
        images,
        ENCAPSULATED_PDF,
        "DOC",
        SeriesDescription="Page",
        SeriesNumber=50,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        DocumentTitle="A page",
        EncapsulatedDocument=content + b"\n" * (len(content) % 2),
        EncapsulatedDocumentLength=len(content),
    )


def _pdf() -> bytes:
    paint = b"1 0 0 rg 0 0 300 300 re f"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<<>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(paint), paint),
    ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    begin = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, begin)
