"""De-identified objects: what is gone, what stays, and what still hangs together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from gateway.config.deidentify import DEIDENTIFICATION_OPTIONS, Deidentify, Rectangles
from gateway.edit.deid import seal
from gateway.edit.deid.deidentify import Deidentifier, Edited
from gateway.edit.deid.reidentify import restored
from gateway.errors import DataSetError, EditError
from gateway.imaging.pixels import locate_pixels
from gateway.imaging.transcode import transcode
from tests.support import raw_elements
from tests.support.certificates import Authority, needs_openssl
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    ct_header,
    data_sets,
    decode,
    encode,
    instance,
    read_sample,
    sample,
)

KEY = b"0123456789abcdef"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"


def apply(data: bytes, syntax: str = EXPLICIT, key: bytes = KEY, **section: Any) -> Edited:
    return Deidentifier.build(Deidentify(**section), key, "here").apply(
        lambda offset, length: data[offset : offset + length], 0, len(data), syntax
    )


def whole(edited: Edited) -> bytes:
    data = b"".join(edited.read(at, 1000) for at in range(0, edited.length, 1000))
    assert len(data) == edited.length
    edited.close()
    return data


def deidentified(data_set: Dataset, syntax: str = EXPLICIT, key: bytes = KEY, **section: Any) -> Dataset:
    edited = apply(encode(data_set, syntax), syntax, key, **section)
    return decode(whole(edited), edited.transfer_syntax_uid)


def item(**values: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


class TestBasicProfile:
    """PS3.15 E.2."""

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
    def test_in_every_encoding(self, syntax: str) -> None:
        before = ct_header(
            PatientComments="a friend of Doe", InstitutionName="St. Elsewhere", PatientBirthDate="19700101"
        )
        after = deidentified(before, syntax)
        assert after.PatientID == after.PatientName not in ("", before.PatientID)
        assert after.PatientBirthDate == ""
        assert after.StudyDate == ""
        assert after.InstitutionName == "REMOVED"
        assert "PatientComments" not in after
        assert "RequestAttributesSequence" not in after
        assert after.SOPClassUID == before.SOPClassUID
        assert after.SOPInstanceUID != before.SOPInstanceUID
        assert after.Rows == before.Rows
        assert not [element for element in after if element.tag.is_private]

    def test_it_says_so(self) -> None:
        after = deidentified(ct_header(), options=("clean-descriptors", "retain-device-identity"))
        assert after.PatientIdentityRemoved == "YES"
        assert after.LongitudinalTemporalInformationModified == "REMOVED"
        codes = [each.CodeValue for each in after.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113109", "113105"]
        assert len(after.DeidentificationMethod) == 3

    def test_pixels_and_what_is_not_named_are_the_same_bytes(self) -> None:
        before = instance()
        data, after = encode(before), whole(apply(encode(before)))
        at = data.index(b"\x28\x00\x02\x00US")
        assert after.endswith(data[data.index(b"\xe0\x7f\x10\x00") :])
        assert data[at : at + 100] in after

    def test_sequences_at_any_depth(self) -> None:
        inner = item(PatientName="Deep^Name", SeriesDescription="of Deep", ReferencedSOPInstanceUID="1.2.3")
        for _ in range(40):
            inner = item(ReferencedSeriesSequence=[inner])
        data = encode(instance(ReferencedSeriesSequence=[inner]))
        assert b"Deep" not in whole(apply(data))
        assert b"1.2.3" not in whole(apply(data))

    def test_too_deep_is_an_error_that_names_the_place(self) -> None:
        inner = item(PatientName="Deep^Name")
        for _ in range(150):
            inner = item(ReferencedSeriesSequence=[inner])
        with pytest.raises(DataSetError, match=r"\(0008,1115\) at offset"):
            apply(encode(instance(ReferencedSeriesSequence=[inner])))

    def test_a_name_that_the_table_does_not_have_and_what_nobody_knows_go(self) -> None:
        before = instance()
        before.add_new(0x00187FF0, "LO", "unknown attribute")
        before.add_new(0x00189EE0, "PN", "Unlisted^Name")
        data = whole(apply(encode(before, IMPLICIT), IMPLICIT))
        assert b"unknown" not in data
        assert b"Unlisted" not in whole(apply(encode(before)))

    @pytest.mark.case("case 02 unknown attributes of even groups go, with any VR and at every depth")
    @pytest.mark.parametrize("vr", ["LO", "LT", "ST", "UC", "PN", "AE", "CS", "DA", "UI", "UR", "OB", "UN"])
    @pytest.mark.parametrize("tag", [0x00300FFF, 0x70001000, 0x60000FFF, 0x50000FFF])
    @pytest.mark.parametrize("options", [(), DEIDENTIFICATION_OPTIONS[:4], ("clean-graphics", "clean-descriptors")])
    def test_what_nobody_knows_goes(self, vr: str, tag: int, options: tuple[str, ...]) -> None:
        word = {"DA": b"19790203", "UI": b"1.2.77.88.99"}.get(vr, b"LEAKED^NAME")
        data = encode(instance())
        before, pixels = data.index(b"\x10\0\x10\0PN"), data.index(b"\xe0\x7f\x10\0")
        unknown = raw_elements.element(tag, vr, word)
        anatomy = raw_elements.sequence(0x00082218, raw_elements.element(0x00080100, "SH", b"C") + unknown)
        private = raw_elements.sequence(0x00300FFE, unknown)
        data = data[:before] + anatomy + data[before:pixels] + private + unknown + data[pixels:]
        after = whole(apply(data, options=options))
        assert word not in after
        assert b"\x08\0\x18\x22SQ" in after

    @pytest.mark.case("case 02 text in an attribute that has none goes")
    def test_text_where_the_dictionary_has_numbers_goes(self) -> None:
        data = encode(instance()).replace(b"\x28\0\x08\0IS", b"\x28\0\x09\0LO")
        assert b"\x28\0\x09\0" not in whole(apply(data))

    @pytest.mark.parametrize(
        ("tag", "fitting"),
        [(0x00180015, b"KNEE"), (0x00180060, b"120"), (0x00281052, b"-1024"), (0x00081160, b"1\\2")],
    )
    @pytest.mark.parametrize("vr", ["LO", "SH", "LT", "ST", "UT", "UC"])
    def test_free_text_where_the_dictionary_has_codes_or_numbers_goes(self, tag: int, fitting: bytes, vr: str) -> None:
        """A code in the VR of text is a code; a sentence is none, in whatever VR."""
        data = encode(instance())
        before = data.index(b"\x10\0\x10\0PN")
        for word, stays in ((fitting, True), (b"KNEE of Karla Testmann", False), (b"x" * 20_000, False)):
            element = raw_elements.element(tag, vr, word + b" " * (len(word) & 1))
            after = whole(apply(data[:before] + element + data[before:]))
            assert (element in after) is stays
            assert stays or word not in after

    def test_bytes_where_the_dictionary_has_text_go_and_marks_stand_once(self) -> None:
        data = encode(instance())
        before = data.index(b"\x10\0\x10\0PN")
        marks = raw_elements.element(0x00120062, "CS", b"NO") + raw_elements.element(0x00120062, "OW", b"Karla!")
        strange = raw_elements.element(0x00180015, "OB", b"Karla!") + marks
        after = whole(apply(data[:before] + strange + data[before:]))
        assert b"Karla" not in after
        assert after.count(b"\x12\0\x62\0") == 1
        assert b"\x12\0\x62\0CS\4\0YES " in after

    def test_a_document_of_any_size_becomes_a_blank_page(self) -> None:
        before = instance(
            MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=b"%PDF Doe " * (1 << 21)
        )
        del before.PixelData
        after = deidentified(before)
        assert after.EncapsulatedDocument.startswith(b"%PDF-1.4")
        assert b"Doe" not in after.EncapsulatedDocument

    def test_every_sample_comes_out_whole(self) -> None:
        count = 0
        for path, syntax, data in data_sets():
            try:
                edited = apply(data, syntax, burned_in="ignore")
            except DataSetError:
                assert "truncated" in path.name or "nooffset" in path.name, path
                continue
            except EditError:  # they do not say what of their pixel data are pixels
                assert path.name in ("badVR.dcm", "nested_priv_SQ.dcm"), path
                continue
            assert b"PS3.15 2026c Basic" in whole(edited)
            count += 1
        assert count > 150

    def test_changes_tell_what_became_of_what(self) -> None:
        changes = {change.path: change for change in apply(encode(ct_header(PatientComments="hello"))).changes}
        assert changes["PatientComments"][1:3] == ("hello", None)
        assert changes["StudyDate"].after == ""
        assert changes["SOPInstanceUID"].after.startswith("2.25.")


class TestOptions:
    """PS3.15 E.3."""

    def test_dates_move_together(self) -> None:
        before = instance(
            StudyDate="20260102", ContentDate="20260105", AcquisitionDateTime="20260103101112", StudyTime="101112"
        )
        before.RequestAttributesSequence = [item(ScheduledProcedureStepStartDate="20260101")]
        after = deidentified(before, options=("retain-modified-dates", "clean-descriptors"))
        first = np.datetime64(f"{after.StudyDate[:4]}-{after.StudyDate[4:6]}-{after.StudyDate[6:]}")
        day = np.timedelta64(1, "D")
        assert str(first + 3 * day).replace("-", "") == after.ContentDate
        assert str(first + day).replace("-", "") == after.AcquisitionDateTime[:8]
        step = after.RequestAttributesSequence[0]
        assert str(first - day).replace("-", "") == step.ScheduledProcedureStepStartDate
        assert after.StudyTime == "101112"
        assert after.LongitudinalTemporalInformationModified == "MODIFIED"
        assert first < np.datetime64("2026-01-02")

    def test_dates_that_are_none_do_not_stay(self) -> None:
        data = encode(instance(ContentDate="20260105")).replace(b"20260105", b"Jan 2026")
        after = decode(whole(apply(data, options=("retain-modified-dates",))))
        assert after.ContentDate == "19000101"

    def test_descriptions_are_cleaned(self) -> None:
        after = deidentified(
            instance(SeriesDescription="Lung of Doe 2026-01-02", StudyDescription="Doe"), options=("clean-descriptors",)
        )
        assert after.SeriesDescription == "Lung of"
        assert "StudyDescription" not in after

    @pytest.mark.case("case 04 cleaned text is in its character set, with its escape sequences")
    @pytest.mark.parametrize(
        ("terms", "raw", "left"),
        [
            ("\\ISO 2022 IR 149", b"\x1b$)C\xb5\xce\xba\xce 2020-01-01 CT", b"\x1b$)C\xb5\xce\xba\xce CT"),
            ("\\ISO 2022 IR 58", b"\x1b$)A\xcd\xb7\xb2\xbf 2020-01-01 CT", b"\x1b$)A\xcd\xb7\xb2\xbf CT"),
            ("ISO 2022 IR 6\\ISO 2022 IR 100", b"\x1b-Agr\xf6\xdfe 2020-01-01", b"gr\x1b-A\xf6\xdfe"),
            ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\x1b$BF,It\x1b(J 2020-01-01 C", b"\x1b$BF,It\x1b(J C"),
            ("\\ISO 2022 IR 87", b"\x1b$BF,It\x1b(B 2020-01-01 CT", b"\x1b$BF,It\x1b(B CT"),
            ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\xf6 2020-01-01 \x1b-L\xbb", b"\xf6 \x1b-L\xbb\x1b-A"),
        ],
    )
    def test_text_under_code_extensions(self, terms: str, raw: bytes, left: bytes) -> None:
        data = encode(
            instance(SpecificCharacterSet=terms.split("\\"), StudyDescription="x" * (len(raw) + len(raw) % 2))
        )
        data = data.replace(b"x" * (len(raw) + len(raw) % 2), raw + b" " * (len(raw) % 2))
        after = whole(apply(data, options=("clean-descriptors",)))
        at = after.index(b"\x08\0\x30\x10LO") + 8
        assert after[at : at + int.from_bytes(after[at - 2 : at], "little")].rstrip() == left
        assert terms.encode() in after

    @pytest.mark.case("case 04 what the character set cannot say makes the object one in ISO_IR 192")
    def test_a_pseudonym_that_the_character_set_cannot_say(self, tmp_path: Path) -> None:
        file = tmp_path / "p.csv"
        file.write_text("attribute,original,pseudonym\nPatientID,P1,Prüfling-Ж\n", "utf-8")
        before = instance(
            SpecificCharacterSet="ISO_IR 100",
            ManufacturerModelName="Gerät",
            AnatomicRegionSequence=[item(CodeMeaning="Schädel")],
        )
        before.AnatomicRegionSequence[0].SpecificCharacterSet = "ISO_IR 100"
        edited = apply(encode(before), pseudonyms=str(file), options=("retain-device-identity",))
        told = {change.path: change.after for change in edited.changes}
        assert told["PatientID"] == "Prüfling-Ж"
        assert told["SpecificCharacterSet"] == "ISO_IR 192"
        after = decode(whole(edited))
        assert (after.SpecificCharacterSet, after.PatientID) == ("ISO_IR 192", "Prüfling-Ж")
        assert after.ManufacturerModelName == "Gerät"
        assert after.AnatomicRegionSequence[0].CodeMeaning == "Schädel"
        assert "SpecificCharacterSet" not in after.AnatomicRegionSequence[0]

    @pytest.mark.case("case 04 bytes that are no text in their character set are not called clean")
    def test_what_cannot_be_read_goes(self) -> None:
        data = encode(instance(SpecificCharacterSet="ISO_IR 192", StudyDescription="Schadel"))
        data = data.replace(b"Schadel", b"Sch\xe4del")
        assert b"Sch" not in whole(apply(data, options=("clean-descriptors",)))

    def test_text_of_another_character_set_is_cleaned_in_it(self) -> None:
        before = instance(
            SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg", SeriesDescription="Schädel Müller"
        )
        assert deidentified(before, options=("clean-descriptors",)).SeriesDescription == "Schädel"

    def test_retained_is_retained(self) -> None:
        options = (
            *("retain-uids", "retain-device-identity", "retain-institution-identity"),
            *("retain-patient-characteristics", "retain-full-dates"),
        )
        before = instance(
            StationName="S1", InstitutionName="I", PatientAge="030Y", PatientSex="F", FrameOfReferenceUID="1.2.3"
        )
        after = deidentified(before, options=options)
        for keyword in (
            *("SOPInstanceUID", "StationName", "InstitutionName", "PatientAge", "PatientSex", "StudyDate"),
            "FrameOfReferenceUID",
        ):
            assert after[keyword].value == before[keyword].value, keyword

    def test_safe_private_attributes_stay_with_their_creators(self) -> None:
        before = instance()
        block = before.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", "1000")
        block.add_new(0x55, "LO", "Doe")
        before.private_block(0x0021, "SOMEBODY", create=True).add_new(0x01, "LO", "Doe")
        mine = before.private_block(0x0023, "ACME", create=True)
        mine.add_new(0x01, "LO", "kept")
        after = deidentified(before, options=("retain-safe-private",), safe_private={"ACME": ("0023,01",)})
        left = [str(element.value) for element in after if element.tag.is_private]
        assert left == ["SIEMENS MR HEADER", "1000", "ACME", "kept"]
        assert b"Doe" not in whole(apply(encode(before), options=("retain-safe-private",)))

    def test_reports_keep_what_is_measured_and_lose_who_it_was(self) -> None:
        before = read_sample(sample("test-SR.dcm"))
        after = deidentified(before, options=("clean-structured-content",))
        assert len(after.ContentSequence) > 0
        names = {str(element.value) for element in after.iterall() if element.VR == "PN"} - {""}
        assert names <= {"REMOVED", str(after.PatientName)}

    def test_without_the_option_a_report_says_nothing_but_its_form(self) -> None:
        before = read_sample(sample("test-SR.dcm"))
        texts = {str(e.value) for e in before.iterall() if e.keyword == "TextValue"}
        after = deidentified(before)
        assert {str(e.value) for e in after.iterall() if e.keyword == "TextValue"} <= {"REMOVED"}
        assert texts - {"REMOVED"}
        names = [
            e.ConceptNameCodeSequence[0].CodeMeaning for e in before.ContentSequence if "ConceptNameCodeSequence" in e
        ]
        assert names == [
            e.ConceptNameCodeSequence[0].CodeMeaning for e in after.ContentSequence if "ConceptNameCodeSequence" in e
        ]


class TestConsistency:
    def test_the_same_again_gives_the_same_bytes_and_another_key_none_of_it(self) -> None:
        data = encode(ct_header())
        assert whole(apply(data)) == whole(apply(data))
        one, other = decode(whole(apply(data))), decode(whole(apply(data, key=KEY[::-1])))
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "AccessionNumber"):
            assert one[keyword].value != other[keyword].value

    def test_references_lead_where_they_led(self) -> None:
        """SR, SEG, RTSTRUCT, PR and KO name instances, series and studies: everywhere the same UID becomes the same."""
        image = instance()
        reference = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
        series = item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedSOPSequence=[reference])
        study = item(StudyInstanceUID=image.StudyInstanceUID, ReferencedSeriesSequence=[series])
        frame = item(
            ReferencedFrameOfReferenceUID="1.2.9",
            RTReferencedStudySequence=[item(ReferencedSOPInstanceUID=image.StudyInstanceUID)],
        )
        referring = instance(
            StudyInstanceUID=image.StudyInstanceUID,
            CurrentRequestedProcedureEvidenceSequence=[study],
            ReferencedSeriesSequence=[
                item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedImageSequence=[reference])
            ],
            SourceImageSequence=[reference],
            ReferencedFrameOfReferenceSequence=[frame],
            ContentSequence=[item(ValueType="IMAGE", ReferencedSOPSequence=[reference])],
            SharedFunctionalGroupsSequence=[
                item(DerivationImageSequence=[item(SourceImageSequence=[reference])]),
            ],
        )
        new_image, new = deidentified(image), deidentified(referring, IMPLICIT)
        assert new.StudyInstanceUID == new_image.StudyInstanceUID
        uids = {e.value for e in new.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
        assert uids == {new_image.SOPInstanceUID, new_image.StudyInstanceUID}
        assert {e.value for e in new.iterall() if e.keyword == "SeriesInstanceUID"} == {
            new_image.SeriesInstanceUID,
            new.SeriesInstanceUID,
        }
        assert {e.value for e in new.iterall() if e.keyword == "ReferencedSOPClassUID"} == {image.SOPClassUID}

    def test_pseudonyms_of_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "p.csv"
        file.write_text("attribute,original,pseudonym\nPatientID,P1,SUBJ-1\n", "utf-8")
        after = deidentified(instance(), pseudonyms=str(file))
        assert (after.PatientID, after.PatientName) == ("SUBJ-1", "SUBJ-1")
        with pytest.raises(EditError, match="PatientID: its value is not among the pseudonyms"):
            deidentified(instance(PatientID="P2"), pseudonyms=str(file))
        assert len(deidentified(instance(PatientID="P2"), pseudonyms=str(file), unlisted="key").PatientID) == 12


AREA = (2, 3, 5, 4)
"""Left, top, width, height."""
DEVICE = Rectangles(match={"Modality": "ct", "Rows": "32"}, areas=(AREA,))


def encoded(data_set: Dataset, syntax: str) -> bytes:
    data = encode(data_set)
    if syntax == EXPLICIT:
        return data
    quality = 90 if syntax == JPEG_BASELINE else None
    return b"".join(
        transcode(
            lambda offset, length: data[offset : offset + length], 0, len(data), EXPLICIT, syntax, quality=quality
        )
    )


def frames(data: bytes, syntax: str) -> list[np.ndarray[Any, Any]]:
    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    pixels = locate_pixels(read, 0, len(data), syntax)
    assert pixels is not None
    image = pixels.image
    kind = f"<u{image.bits_allocated // 8}"
    return [
        np.frombuffer(pixels.native(read, number), kind).reshape(image.rows, image.columns, image.samples_per_pixel)
        for number in range(len(pixels))
    ]


def images() -> Iterator[tuple[str, Dataset]]:
    grey = instance(rows=32, columns=32, frames=3)
    grey.PixelData = np.random.default_rng(1).integers(1, 4095, 32 * 32 * 3, "<u2").tobytes()
    for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG_LOSSLESS, JPEG_2000, RLE):
        yield syntax, grey
    colour = instance(
        rows=32, columns=32, frames=2, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    colour.BitsAllocated = colour.BitsStored = 8
    colour.HighBit = 7
    colour.PixelData = np.random.default_rng(1).integers(1, 255, 32 * 32 * 6, "u1").tobytes()
    colour["PixelData"].VR = "OB"
    for syntax in (EXPLICIT, JPEG_2000, RLE, JPEG_LOSSLESS, JPEG_BASELINE):
        yield syntax, colour


class TestPixels:
    """PS3.15 E.3.1."""

    @pytest.mark.parametrize(("syntax", "image"), list(images()))
    def test_rectangles_are_gone_from_every_frame_and_the_rest_is_as_it_was(self, syntax: str, image: Dataset) -> None:
        data = encode(image, syntax) if syntax in (IMPLICIT, BIG_ENDIAN) else encoded(image, syntax)
        edited = apply(data, syntax, rectangles=(DEVICE,))
        assert edited.transfer_syntax_uid == (JPEG_LOSSLESS if syntax == JPEG_BASELINE else syntax)
        after = whole(edited)
        before_frames, after_frames = frames(data, syntax), frames(after, edited.transfer_syntax_uid)
        assert len(before_frames) == len(after_frames) > 1
        left, top, width, height = AREA
        for before, cleaned in zip(before_frames, after_frames, strict=True):
            assert not cleaned[top : top + height, left : left + width].any()
            expected = before.copy()
            expected[top : top + height, left : left + width] = 0
            assert np.array_equal(cleaned, expected)
        header = decode(after, edited.transfer_syntax_uid)
        assert header.BurnedInAnnotation == "NO"
        assert "113101" in [each.CodeValue for each in header.DeidentificationMethodCodeSequence]
        if syntax == JPEG_BASELINE:
            assert header.LossyImageCompression == "01"

    def test_what_may_have_text_is_refused_without_rectangles(self) -> None:
        for values in ({"BurnedInAnnotation": "YES"}, {"Modality": "US"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}):
            with pytest.raises(EditError, match="no rectangles match"):
                deidentified(instance(**values))
            deidentified(instance(**values), burned_in="ignore")
            known = Rectangles(match={"Modality": "*"})
            assert "BurnedInAnnotation" in values or "BurnedInAnnotation" not in deidentified(
                instance(**values), rectangles=(known,)
            )
        deidentified(instance(Modality="US", BurnedInAnnotation="NO"))

    def test_a_face_is_refused(self) -> None:
        with pytest.raises(EditError, match="RecognizableVisualFeatures"):
            deidentified(instance(RecognizableVisualFeatures="YES"))
        deidentified(instance(RecognizableVisualFeatures="YES"), recognizable="ignore")

    def test_overlays_go_or_are_cleared(self) -> None:
        before = instance(rows=32, columns=32)
        for tag, vr, value in (
            *((0x60000010, "US", 32), (0x60000011, "US", 32), (0x60000040, "CS", "G"), (0x60000050, "SS", [1, 1])),
            *((0x60000100, "US", 1), (0x60000102, "US", 0), (0x60003000, "OW", b"\xff" * 128)),
        ):
            before.add_new(tag, vr, value)
        assert not [e for e in deidentified(before, rectangles=(DEVICE,)) if e.tag.group == 0x6000]
        after = deidentified(before, rectangles=(DEVICE,), options=("clean-graphics",))
        bits = np.unpackbits(np.frombuffer(after[0x60003000].value, "u1"), bitorder="little").reshape(32, 32)
        left, top, width, height = AREA
        assert not bits[top : top + height, left : left + width].any()
        assert bits.sum() == 32 * 32 - width * height

    def test_overlays_in_unused_bits_go_from_the_pixels(self) -> None:
        before = instance()
        before.PixelData = b"\xff\xff" * 256
        before.add_new(0x60000100, "US", 16)
        before.add_new(0x60000102, "US", 12)
        assert set(deidentified(before).PixelData) == {0xFF, 0x0F}

    def test_icons_go(self) -> None:
        icon = item(Rows=1, Columns=2, BitsAllocated=8, PixelData=b"\1\2")
        icon["PixelData"].VR = "OB"
        assert "IconImageSequence" not in deidentified(instance(IconImageSequence=[icon]))

    def test_video_whose_pixels_would_have_to_change_is_refused(self) -> None:
        data = encoded(instance(rows=32, columns=32), RLE)
        with pytest.raises(EditError, match="cannot be changed"):
            apply(data, "1.2.840.10008.1.2.4.102", rectangles=(DEVICE,))


class TestSealed:
    """PS3.15 E.1.1, E.1.2."""

    @needs_openssl
    def test_what_was_taken_away_can_be_brought_back_by_whom_it_is_sealed_for(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        issued = authority.issue("honest broker", rsa=True)
        before = ct_header(PatientComments="hello")
        after = deidentified(before, IMPLICIT, sealed_for=(issued.certificate,))
        (sealed,) = after.EncryptedAttributesSequence
        pair = seal.read_key(Path(issued.certificate), Path(issued.key))
        opened = decode(seal.unseal(sealed.EncryptedContent, *pair))
        (original,) = opened.ModifiedAttributesSequence
        for keyword in ("PatientName", "PatientID", "PatientComments", "SOPInstanceUID", "RequestAttributesSequence"):
            assert original[keyword].value == before[keyword].value
        assert "Rows" not in original
        other = authority.issue("somebody", rsa=True)
        with pytest.raises(DataSetError, match="cannot be opened"):
            seal.unseal(sealed.EncryptedContent, *seal.read_key(Path(other.certificate), Path(other.key)))

    @needs_openssl
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, RLE])
    def test_an_object_is_restored_as_it_was(self, syntax: str, tmp_path: Path) -> None:
        issued = Authority(tmp_path).issue("honest broker", rsa=True)
        before = instance(
            rows=32, columns=32, PatientComments="hello", RequestAttributesSequence=[item(RequestedProcedureID="R")]
        )
        data = encoded(before, RLE) if syntax == RLE else encode(before, syntax)
        edited = apply(data, syntax, sealed_for=(issued.certificate,))
        changed = whole(edited)
        pair = seal.read_key(Path(issued.certificate), Path(issued.key))
        back = restored(lambda offset, length: changed[offset : offset + length], 0, len(changed), syntax, *pair)
        after = decode(whole(back), back.transfer_syntax_uid)
        for element in decode(data, syntax):
            if element.keyword != "PixelData" or syntax != BIG_ENDIAN:
                assert after[element.tag].value == element.value, element
        assert {e.tag for e in after} == {e.tag for e in decode(data, syntax)}

    @needs_openssl
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_an_object_that_became_one_in_utf_8_is_restored_as_it_was(self, syntax: str, tmp_path: Path) -> None:
        issued = Authority(tmp_path).issue("honest broker", rsa=True)
        file = tmp_path / "p.csv"
        file.write_text("attribute,original,pseudonym\nPatientID,P1,Ж\n", "utf-8")
        before = instance(
            SpecificCharacterSet="ISO_IR 100",
            Manufacturer="Gerät",
            AnatomicRegionSequence=[item(CodeMeaning="Schädel", CodeValue="1")],
        )
        data = encode(before, syntax)
        options = ("retain-device-identity",)
        edited = apply(data, syntax, pseudonyms=str(file), sealed_for=(issued.certificate,), options=options)
        changed = whole(edited)
        assert decode(changed, syntax).Manufacturer == "Gerät"
        pair = seal.read_key(Path(issued.certificate), Path(issued.key))
        back = restored(lambda offset, length: changed[offset : offset + length], 0, len(changed), syntax, *pair)
        after = decode(whole(back), back.transfer_syntax_uid)
        for element in decode(data, syntax):
            if element.keyword != "PixelData" or syntax != BIG_ENDIAN:
                assert after[element.tag].value == element.value, element

    def test_nothing_sealed_is_an_error(self) -> None:
        data = encode(instance())
        with pytest.raises(DataSetError, match="nothing is sealed"):
            restored(lambda offset, length: data[offset : offset + length], 0, len(data), EXPLICIT, None, None)
