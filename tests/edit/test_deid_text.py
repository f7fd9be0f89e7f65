# ruff: noqa: RUF001 - letters that look like others are what it is about
"""Free text that is cleaned: what the object knows of the patient is found whatever stands around it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.deidentify import Deidentify
from gateway.edit.deid.deidentify import Deidentifier
from gateway.edit.deid.folding import fold
from gateway.edit.deid.known import MAX_KNOWN, Known
from gateway.edit.deid.text import MAX_CLEANED, Cleaner
from tests.edit.test_deid_objects import deidentified, item
from tests.support.datasets import encode, instance

CASE = pytest.mark.case("case 01 cleaned text has nothing of the patient in it, whatever stands around")


def cleaner(
    *names: str, identifiers: tuple[str, ...] = (), dates: tuple[str, ...] = (), others: tuple[str, ...] = ()
) -> Cleaner:
    known = Known()
    for name in names:
        known.add_name(name)
    for name in others:
        known.add_name(name, is_patient=False)
    for identifier in identifiers:
        known.add_identifier(identifier)
    for date in dates:
        known.add_date(date)
    return Cleaner(known)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CT abdomen of John DOE, 12345", "CT abdomen of ,"),
        ("T2 TSE 3mm 512x512", "T2 TSE 3mm 512x512"),
        ("seen 2004-01-19 10:22 by Dr. med. Smith", "seen by"),
        ("call +49 30 123456", "call"),
        ("mail to a.b@example.org", "mail to"),
        ("12 Jan 2005", ""),
        ("C-Spine 2.0 B30f", "C-Spine 2.0 B30f"),
        ("MR_BRAIN_T1", "MR_BRAIN_T1"),
        ("Dr_Smith_head", "head"),
    ],
)
def test_what_is_known_and_what_looks_like_it_goes(text: str, left: str) -> None:
    assert cleaner("Doe^John", identifiers=("A-12345",)).clean(text) == left


class TestNames:
    """All components and groups (PS3.5 §6.2.1), compared by what they mean and not by how they are written."""

    @CASE
    @pytest.mark.parametrize(
        ("name", "text", "left"),
        [
            ("Smith^Joanna", "SMITH_JOANNA_20200101_HEAD", "HEAD"),
            ("Smith^Joanna", "CTsmithHEAD", "CT HEAD"),
            ("Smith^Joanna", "head2Smith", "head2"),
            ("Smith^J", "SmithJ JSmith T1 j_head", "T1 head"),
            ("Smith^A", "Vitamin A, Aorta", "Vitamin , Aorta"),
            ("Smith^Joanna^Mary^Dr^PhD", "mary x DR, Dry", "x , Dry"),
            ("van der Berg^Jan", "vanderBerg, VAN_DER_BERG divan", ", divan"),
            ("Müller-Lüdenscheid^Ann", "Muller x LU\u0308DENSCHEID", "x"),
            ("O'Brien^Pat", "obrien Brien's", "'s"),
            ("Wang^XiaoMing=王^小明", "王小明頭部CT", "頭部CT"),
            ("Wang^XiaoMing=王^小明", "王 小明頭部", "頭部"),
            ("Hong^Gildong=洪^吉洞=홍^길동", "홍길동의 두부", "의 두부"),
            ("Hong^Gildong=洪^吉洞=홍^길동", "\u1112\u1169\u11bc\u1100\u1175\u11af\u1103\u1169\u11bc CT", "CT"),
            ("Yamada^Taro=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ ヤマダ頭部", "頭部"),
            ("Иванов^Пётр", "ИВАНОВ_ПЕТР голова", "голова"),
            ("Ιωάννης^Α", "ΙΩΑΝΝΗΣ κεφαλή", "κεφαλή"),
            ("Smith^Joanna", "ＳＭＩＴＨ x", "x"),
            ("Smith^Joanna", "SMI\u200bT\u00adH x", "x"),
            ("Li^Na", "LiNa_head", "head"),
            ("Hong^Gildong", "Gil-Dong 's head", "'s head"),
            ("Yamada^Tarou=山田^太郎", "山 田・太 郎 胸部", "・ 胸部"),
            ("Hong^Gil-Dong", "gildong head", "head"),
            ("محمد^علي", "مُحَمَّد_رأس", "رأس"),
        ],
    )
    def test_are_found_anywhere(self, name: str, text: str, left: str) -> None:
        assert cleaner(name).clean(text) == left

    def test_of_others_are_found_as_words(self) -> None:
        assert cleaner(others=("Bein^R=田中^一",)).clean("Beine of BEIN_2 田中医師") == "Beine of 2 医師"

    def test_more_than_can_be_looked_for_leave_nothing(self) -> None:
        assert cleaner(*(f"Name{at:X}" for at in range(2 * MAX_KNOWN))).clean("head") == ""
        assert cleaner().clean("a" * (MAX_CLEANED + 1)) == ""


class TestNumbersAndDates:
    @CASE
    @pytest.mark.parametrize(
        ("text", "left"),
        [
            ("t1_MRN123456_x", "t1_x"),
            ("x MRN123456y", "x"),
            ("headMRN-123456", "head"),
            ("mrn-12.34 56 a", "a"),
            ("P7 xP7 P70 and P-7", "xP7 P70 and P-7"),
            ("0042 and 42", "and 42"),
            ("dob_1980-02-03_x", "dob_x"),
            ("x_19800203x T2", "x T2"),
            ("03_02_80 T2", "T2"),
            ("1980_2_3 T2", "T2"),
            ("born03FEB1980 T2", "born T2"),
            ("Feb. 3rd, 1980 T2", "T2"),
            ("3. Februar 1980 T2", "T2"),
            ("3 août 1980 T2", "T2"),
            ("2/3/80T2", "T2"),
            ("1980年2月3日頭部", "頭部"),
            ("昭和55年2月3日頭部", "頭部"),
            ("1980년 2월 3일 두부", "두부"),
            ("２０２０／０１／０１ T2", "T2"),
            ("02/1980 T2", "T2"),
            ("1980.02 T2", "T2"),
            ("the 3rd of February 1980 T2", "the T2"),
            ("at 10:22pm T2", "at T2"),
            ("x_john_doe@example.org T2", "T2"),
        ],
    )
    def test_are_found_anywhere(self, text: str, left: str) -> None:
        known = cleaner(identifiers=("MRN123456", "P7", "0042"), dates=("19800203",))
        assert known.clean(text) == left


class TestObjects:
    @CASE
    @pytest.mark.parametrize("keyword", ["StudyDescription", "SeriesDescription", "ImageComments", "ProtocolName"])
    def test_all_that_they_know_is_taken_out(self, keyword: str) -> None:
        other = item(PatientID="OTHER77", TypeOfPatientID="TEXT")
        before = instance(
            **{keyword: "h_SMITH2_王小明OTHER77x4711-3_x03.02.1980 birthname_kernel"},
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Smith^Joanna=王^小明",
            PatientBirthName="Birthname^B",
            PatientID="1",
            AccessionNumber="4711-3",
            OtherPatientIDsSequence=[other],
            PatientBirthDate="19800203",
        )
        after = deidentified(before, options=("clean-descriptors",))
        assert after[keyword].value == "h_2_x_x kernel"

    @CASE
    def test_reports(self) -> None:
        name = item(CodeValue="121071", CodingSchemeDesignator="DCM", CodeMeaning="Finding")
        text = item(ValueType="TEXT", ConceptNameCodeSequence=[name], TextValue="Mass in SMITH_20200101, P-77X1Smith")
        before = instance(ContentSequence=[text], PatientName="Smith^J", PatientID="P-77X1")
        after = deidentified(before, options=("clean-structured-content",))
        assert after.ContentSequence[0].TextValue == "Mass in ,"

    def test_text_without_a_character_set_is_taken_as_utf_8_where_it_is(self) -> None:
        data = encode(instance(PatientName="Xx^Y", SeriesDescription="HEAD yy zz"))
        data = data.replace(b"Xx^Y", "Öz^".encode()).replace(b"HEAD yy zz", "ÖZ groß1".encode())
        edited = Deidentifier.build(Deidentify(options=("clean-descriptors",)), b"0" * 16, "here").apply(
            lambda offset, length: data[offset : offset + length], 0, len(data), "1.2.840.10008.1.2.1"
        )
        written = edited.read(0, edited.length)
        assert "groß1".encode() in written
        assert b"ISO_IR 192" in written


@CASE
@pytest.mark.parametrize("text", ["Feb 3", "03FEB", "feb80", "1980 February", "3. Februar"])
def test_a_birthday_is_found_without_its_year_or_day(text: str) -> None:
    before = instance(PatientBirthDate="19800203", SeriesDescription=f"born {text} T2")
    assert deidentified(before, options=("clean-descriptors",)).SeriesDescription == "born T2"
    assert cleaner(dates=("19800203",)).clean("OCT 3") == "OCT 3"


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=500)
def test_folded_text_knows_where_it_comes_from(text: str) -> None:
    folded = fold(text)
    if folded.starts is not None and folded.ends is not None:
        assert len(folded.text) == len(folded.starts) == len(folded.ends)
        assert folded.starts == sorted(folded.starts)
        assert all(0 <= start < end <= len(text) for start, end in zip(folded.starts, folded.ends, strict=True))
    assert fold(folded.text).text == folded.text


@given(
    st.sampled_from(["Smith", "Zoë", "王小明", "길동", "Иванов"]),
    st.text(max_size=20),
    st.text(max_size=20),
)
@settings(deadline=None, max_examples=500)
def test_a_name_is_never_left(name: str, before: str, after: str) -> None:
    assert fold(name).text not in fold(cleaner(name).clean(before + name + after)).text


@pytest.mark.parametrize(
    "text",
    ["a", "1", "1 ", "a.", "é", "smith", "03 feb", "e" + "\u0301" * 300, "a@", "+1 ", "dr ", "1.", "10:", "(", "1-1-"],
)
def test_it_is_linear(text: str) -> None:
    """A text of the greatest size that is looked through; quadratic steps would take hours."""
    cleaner("Smith^Joanna", identifiers=("MRN123456",), dates=("19800203",)).clean((text * MAX_CLEANED)[:MAX_CLEANED])
