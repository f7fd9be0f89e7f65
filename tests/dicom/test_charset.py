"""Text in every character set, against Python's codecs, the examples of PS3.5 Annexes H to K, and pydicom."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, decode_bytes

from gateway.dicom.charset import character_set, decode, decode_values, encode
from gateway.dicom.elements import inflate, pick
from tests.support.datasets import DEFLATED, data_sets, read_sample


class TestSingleByte:
    @pytest.mark.parametrize(
        ("term", "codec", "text"),
        [
            ("ISO_IR 100", "latin_1", "Buc^Jérôme"),
            ("ISO_IR 101", "iso8859_2", "Wałęsa"),
            ("ISO_IR 109", "iso8859_3", "ĥarakteraro"),
            ("ISO_IR 110", "iso8859_4", "ķīmija"),
            ("ISO_IR 144", "iso8859_5", "Жуковский"),
            ("ISO_IR 127", "iso8859_6", "قباني^لنزار"),
            ("ISO_IR 126", "iso8859_7", "Διονυσιος"),
            ("ISO_IR 138", "iso8859_8", "שרון^דבורה"),
            ("ISO_IR 148", "iso8859_9", "Çavuşoğlu"),
            ("ISO_IR 166", "iso8859_11", "สวัสดี"),
            ("ISO_IR 203", "iso8859_15", "Œuvre €"),
            ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
            ("ISO_IR 192", "utf_8", "王^小東 Ω"),
            ("GB18030", "gb18030", "王^小东"),
            ("GBK", "gbk", "王^小东"),
        ],
    )
    def test_set(self, term, codec, text):
        assert decode(text.encode(codec), term, "PN") == text
        assert decode(text.encode(codec) + b" ", term.encode() + b" ", "PN") == text

    def test_misspelt_terms(self):
        for term in ("ISO-IR 144", "ISO IR 144", "iso_ir_144", "ISO_IR144", "ISO 2022 IR 144", " ISO_IR 144"):
            assert decode("Лю".encode("iso8859_5"), term, "PN") == "Лю", term

    @pytest.mark.parametrize("term", [None, "", "ISO_IR 6", "nonsense", b"\xff\xff", "ISO_IR 999"])
    def test_default_repertoire_reads_latin_1(self, term):
        assert decode(b"M\xfcller", term, "PN") == "Müller"

    def test_vrs_that_it_does_not_affect(self):
        assert decode("Лю".encode("iso8859_5"), "ISO_IR 144", "CS") == "»î"


class TestCodeExtensions:
    """PS3.5 §6.1.2.5, Annexes H, I, K."""

    def test_h_3_1(self):
        value = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
        assert decode(value, "\\ISO 2022 IR 87", "PN") == "Yamada^Tarou=山田^太郎=やまだ^たろう"

    def test_h_3_2(self):
        value = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
        assert decode(value, "ISO 2022 IR 13\\ISO 2022 IR 87", "PN") == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"

    def test_i_2(self):
        value = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
        assert decode(value, "\\ISO 2022 IR 149", "PN") == "Hong^Gildong=洪^吉洞=홍^길동"

    def test_k_3(self):
        value = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
        assert decode(value, "\\ISO 2022 IR 58", "PN") == "Zhang^XiaoDong=张^小东="

    def test_several_single_byte_sets(self):
        value = b"Buc^J\xe9r\xf4me=\x1b-F\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2=\x1b-L\xbb\xee\xda"
        assert decode(value, "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126", "PN") == "Buc^Jérôme=Διονυσιος=Люк"

    def test_delimiters_bring_the_first_set_back(self):
        value = b"\x1b-L\xbb\xee^\xe9\\\xe9"
        assert decode(value, "ISO 2022 IR 100\\ISO 2022 IR 144", "PN") == "Лю^é\\é"
        assert decode(b"\x1b-L\xbb\xee^\xee\r\n\xe9", "ISO 2022 IR 100\\ISO 2022 IR 144", "LT") == "Лю^ю\r\né"

    def test_jis_x_0212(self):
        text = "丂".encode("iso2022_jp_2")
        assert decode(text, "ISO 2022 IR 6\\ISO 2022 IR 159", "LO") == "丂"

    def test_kana_in_g1_beside_kanji_in_g0(self):
        assert decode(b"\x1b$B;3\x1b)I\xd4\x1b(B", "\\ISO 2022 IR 87", "LO") == "山ﾔ"

    def test_utf_8_knows_no_escapes(self):
        assert decode("\x1b$B王".encode(), "ISO_IR 192", "LO") == "\x1b$B王"


class TestValues:
    """PS3.18 F.2.4: the byte 5C separates, but not where it is half of a letter."""

    def test_backslash_inside_kanji(self):
        value = b"\x1b$B\x30\x5c\x1b(B\\A"  # 0x305C is one letter of JIS X 0208
        assert decode_values(value, "\\ISO 2022 IR 87", "LO") == [b"\x1b$B\x30\x5c".decode("iso2022_jp"), "A"]

    def test_every_gbk_letter_with_a_backslash_in_it(self):
        for lead in range(0x81, 0xFF):
            letter = bytes((lead, 0x5C))
            try:
                text = letter.decode("gbk")
            except UnicodeDecodeError:
                continue
            assert decode_values(letter + b"\\A", "GBK", "LO") == [text, "A"]

    def test_padding(self):
        assert decode_values(b" A \\ B ", None, "CS") == ["A", "B"]
        assert decode_values(b" A \\ B ", None, "LO") == [" A", " B"]
        assert decode_values(b"1.2\\1.3\0", None, "UI") == ["1.2", "1.3"]
        assert decode_values(b" a\\b ", None, "LT") == [" a\\b"]
        assert decode_values(b"a\\b ", None, "UR") == ["a\\b"]
        assert decode_values(b"\\\\", None, "LO") == ["", "", ""]
        assert decode_values(memoryview(b"abc"), None, "LO") == ["abc"]


class TestNeverRaises:
    @given(
        st.binary(max_size=40),
        st.sampled_from(
            [None, "ISO_IR 192", "GB18030", "ISO_IR 13", "\\ISO 2022 IR 87\\ISO 2022 IR 149", "ISO_IR 166"]
        ),
        st.sampled_from(["PN", "LO", "LT", "CS"]),
    )
    @settings(deadline=None, max_examples=300)
    def test_any_bytes(self, value, term, vr):
        assert isinstance(decode(value, term, vr), str)
        decode(b"\x1b$B" + value + b"\x1b", term, vr)

    @given(st.binary(max_size=30))
    @settings(deadline=None, max_examples=100)
    def test_any_terms(self, terms):
        assert "".encode(character_set(terms).codec) == b""


class TestAgainstPydicom:
    def test_names_of_every_sample(self):
        seen = 0
        for path, uid, data in data_sets():
            data = inflate(data, 1 << 24) if uid == DEFLATED else data
            found, _ = pick(data, uid, frozenset({0x00080005, 0x00100010}), 0x00100010)
            if 0x00100010 in found:
                charset = found[0x00080005].value if 0x00080005 in found else None
                theirs = read_sample(path)
                text = decode(found[0x00100010].value, charset, "PN")
                assert text.rstrip("=") == str(theirs.PatientName).rstrip(), path.name
                seen += 1
        assert seen > 120


@pytest.mark.parametrize(
    ("terms", "value", "text"),
    [
        ("\\ISO 2022 IR 58", "Zhang=张".encode("gb2312"), "Zhang=张"),
        ("ISO 2022 IR 6\\ISO 2022 IR 149", "Hong=홍".encode("euc_kr"), "Hong=홍"),
        ("ISO 2022 IR 100\\ISO 2022 IR 149", "Müller".encode("latin_1"), "Müller"),
    ],
)
def test_two_byte_sets_that_were_not_designated(terms, value, text):
    assert decode(value, terms, "PN") == text


EXTENDED = (
    "\\ISO 2022 IR 149",
    "\\ISO 2022 IR 58",
    "\\ISO 2022 IR 87\\ISO 2022 IR 159",
    "ISO 2022 IR 6\\ISO 2022 IR 100",
    "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
    "ISO 2022 IR 13\\ISO 2022 IR 87",
    "ISO 2022 IR 166\\ISO 2022 IR 138\\ISO 2022 IR 127",
)
REPERTOIRES = "Aa1 ^=\\\r\nöß¥Люξשق山田太郎やまだヤﾔﾀﾞ두부길동뷁头部ดี仝丂—\x7f"


class TestEncoding:
    """PS3.5 §6.1.2.5.3, Annexes H, I, K."""

    @pytest.mark.case("case 04 text is written with the escape sequences of its character set")
    @pytest.mark.parametrize(
        ("text", "terms", "value"),
        [
            ("두부 CT", "\\ISO 2022 IR 149", b"\x1b$)C\xb5\xce\xba\xce CT"),
            (
                "Hong^Gildong=洪^吉洞=홍^길동",
                "\\ISO 2022 IR 149",
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            ),
            ("头部 CT", "\\ISO 2022 IR 58", b"\x1b$)A\xcd\xb7\xb2\xbf CT"),
            ("größe", "ISO 2022 IR 6\\ISO 2022 IR 100", b"gr\x1b-A\xf6\xdfe"),
            ("ö Л ß", "ISO 2022 IR 100\\ISO 2022 IR 144", b"\xf6 \x1b-L\xbb \x1b-A\xdf"),
            ("ö Л", "ISO 2022 IR 100\\ISO 2022 IR 144", b"\xf6 \x1b-L\xbb\x1b-A"),
            ("ﾔﾏ=山^太", "ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf=\x1b$B;3\x1b(J^\x1b$BB@\x1b(J"),
            ("山a", "\\ISO 2022 IR 87", b"\x1b$B;3\x1b(Ba"),
            ("größe", "ISO_IR 100", b"gr\xf6\xdfe"),
            ("größe", None, None),
            ("größe", "ISO_IR 144", None),
            ("¥", "ISO 2022 IR 13\\ISO 2022 IR 87", None),
            ("뷁", "\\ISO 2022 IR 149", None),
            ("plain", None, b"plain"),
            ("王", "GB18030", "王".encode("gb18030")),
        ],
    )
    def test_of_texts(self, text, terms, value):
        assert encode(text, terms, "PN" if "=" in text else "LO") == value

    def test_vrs_that_it_does_not_affect(self):
        assert encode("ö", "ISO_IR 192", "CS") is None

    def test_the_first_group_of_a_name_has_no_escape_sequences(self):
        assert encode("홍^길동", "\\ISO 2022 IR 149", "PN") is None
        assert encode("A\\홍", "\\ISO 2022 IR 149", "PN") is None
        assert encode("Müller=홍", "ISO 2022 IR 100\\ISO 2022 IR 149", "PN") == b"M\xfcller=\x1b$)C\xc8\xab\x1b-A"

    @given(
        st.text(REPERTOIRES, max_size=20),
        st.sampled_from((*EXTENDED, "ISO_IR 100", "ISO_IR 13", "ISO_IR 192", "GB18030", "ISO 2022 IR 149", "")),
        st.sampled_from(("PN", "LO", "LT")),
    )
    @settings(deadline=None, max_examples=1000)
    def test_what_can_be_said_is_read_back_with_its_delimiters(self, text, terms, vr):
        value = encode(text, terms, vr)
        if value is not None:
            assert decode(value, terms, vr) == text.rstrip(" ")
            assert value.count(b"\\") >= text.count("\\")

    @pytest.mark.parametrize(
        ("terms", "text"),
        [
            *(
                (EXTENDED[0], "두부^길동=洪"),
                (EXTENDED[2], "山田^太郎 丂 a"),
                (EXTENDED[3], "größe"),
            ),
            *((EXTENDED[4], "öЛюß ξ^ö"), (EXTENDED[5], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田"), (EXTENDED[6], "ดี קא ق")),
        ],
    )
    def test_pydicom_reads_the_same(self, terms, text):  # it leaves the escape sequence of IR 58 in the text
        value = encode(f"A={text}", terms, "PN")
        assert value is not None
        assert decode_bytes(value, convert_encodings(terms.split("\\")), {"^", "="}) == f"A={text}"
