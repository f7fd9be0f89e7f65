"""A known word in every attribute, VR, sequence, private block, overlay, curve and character set, and where files have
more: it is nowhere in what comes out, in any encoding.

What the table does not name stays, as the standard says, unless nobody can judge it. What lies in pixels is not here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import pytest

from gateway.config.deidentify import DEIDENTIFICATION_OPTIONS, DeidentificationOption, Deidentify
from gateway.dicom.charset import encode as encode_text
from gateway.dicom.dictionary import VRS, implicit_vr
from gateway.edit.deid import table
from gateway.edit.deid.deidentify import Deidentifier
from gateway.edit.deid.table import Action
from tests.support.datasets import BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT
from tests.support.raw_elements import data_set, element, sequence

WORD = b"QUXLEAKS"
"""Eight bytes: whole numbers of any size."""
DATE, UID = b"19790203", b"1.2.77.88.99"
CLEANING: tuple[DeidentificationOption, ...] = ("clean-descriptors", "clean-graphics", "clean-structured-content")
OPTIONS = pytest.mark.parametrize("options", [(), CLEANING], ids=["basic", "cleaning"])
ITEM = pytest.mark.case("a word that identifies is nowhere in what was de-identified")

STUDY, SERIES = b"1.2.77.1", b"1.2.77.2"
PIXELS = {
    0x00280002: element(0x00280002, "US", b"\1\0"),
    0x00280004: element(0x00280004, "CS", b"MONOCHROME2"),
    0x00280010: element(0x00280010, "US", b"\2\0"),
    0x00280011: element(0x00280011, "US", b"\2\0"),
    0x00280100: element(0x00280100, "US", b"\x08\0"),
    0x00280101: element(0x00280101, "US", b"\x08\0"),
    0x00280102: element(0x00280102, "US", b"\7\0"),
    0x00280103: element(0x00280103, "US", b"\0\0"),
    0x7FE00010: element(0x7FE00010, "OB", bytes(4)),
}
BASE = {
    0x00080016: element(0x00080016, "UI", CT.encode()),
    0x00080018: element(0x00080018, "UI", b"1.2.77.3"),
    0x00100010: element(0x00100010, "PN", b"Quxleaks^Joanna"),
    0x00100020: element(0x00100020, "LO", WORD),
    0x0020000D: element(0x0020000D, "UI", STUDY),
    0x0020000E: element(0x0020000E, "UI", SERIES),
    **PIXELS,
}
NAMES_INSTANCE = frozenset((0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080005))
RESULTS = frozenset((0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x04000500))
"""What de-identification writes itself."""


def gone(options: tuple[DeidentificationOption, ...]) -> list[int]:
    """Tags of the table whose value must not be left; where it is cleaned the word is one that the object knows."""
    actions = table.resolve(options) | dict.fromkeys(table.UNLISTED_UIDS, Action.UID)
    return [
        tag
        for tag, action in actions.items()
        if action is not Action.KEEP and tag not in NAMES_INSTANCE and tag >> 16 >= 8
    ]


def value(vr: str) -> bytes:
    return {"DA": DATE, "DT": DATE + b"1011", "UI": UID, "TM": b"QUXLEAKS"}.get(vr, WORD)


def deidentify(data: bytes, syntax: str, options: tuple[DeidentificationOption, ...]) -> bytes:
    section = Deidentify(options=options, burned_in="ignore", recognizable="ignore")
    edited = Deidentifier.build(section, b"0123456789abcdef", "here").apply(
        lambda offset, length: data[offset : offset + length], 0, len(data), syntax
    )
    found = edited.read(0, edited.length)
    assert len(found) == edited.length
    shown = repr(edited.changes)
    edited.close()
    assert "PatientID" in shown
    return found


def forms(word: bytes) -> Iterator[bytes]:
    """The word as it may stand in bytes: in every width and byte order, turned round as numbers are."""
    text = word.decode("ascii")
    for each in {text, text.lower(), text.capitalize()}:
        yield each.encode()
        yield each.encode("utf-16-le")
        yield each.encode("utf-16-be")
    for size in (2, 4, 8):
        yield b"".join(word[at : at + size][::-1] for at in range(0, len(word), size))


def leaks(found: bytes) -> list[bytes]:
    return [form for word in (WORD, DATE, UID, STUDY + b"\0", SERIES + b"\0") for form in forms(word) if form in found]


def check(elements: dict[int, bytes], options: tuple[DeidentificationOption, ...], syntax: str = EXPLICIT) -> None:
    """Each alone where all together leak, so that the message says which."""
    if leaks(deidentify(data_set(BASE | elements), syntax, options)):
        guilty = {
            f"({tag >> 16:04X},{tag & 0xFFFF:04X})": found
            for tag, each in elements.items()
            if (found := leaks(deidentify(data_set(BASE | {tag: each}), syntax, options)))
        }
        pytest.fail(f"left behind: {guilty or 'only together'}")


@ITEM
@OPTIONS
class TestAttributes:
    def test_every_one_of_the_table(self, options: tuple[DeidentificationOption, ...]) -> None:
        elements = {}
        for tag in gone(options):
            vr = implicit_vr(tag) if implicit_vr(tag) != "UN" else "LO"
            inner = element(0x00081030, "LO", WORD) + element(0x00100010, "PN", WORD)
            elements[tag] = sequence(tag, inner) if vr == "SQ" else element(tag, vr, value(vr))
        check(elements, options)

    @pytest.mark.parametrize("vr", ["AE", "CS", "LO", "LT", "OB", "OW", "PN", "SH", "ST", "UC", "UN", "UR", "UT", "UI"])
    def test_with_any_vr(self, vr: str, options: tuple[DeidentificationOption, ...]) -> None:
        """A text in bytes too, where it can be neither read nor cleaned."""
        check({tag: element(tag, vr, WORD) for tag in gone(options) if VRS.get(tag) != "SQ"}, options)

    def test_in_sequences_that_stay(self, options: tuple[DeidentificationOption, ...]) -> None:
        inner = data_set(
            {tag: element(tag, vr, value(vr)) for tag in gone(options) if (vr := implicit_vr(tag)) not in ("SQ", "UN")}
        )
        kept = [tag for tag, vr in VRS.items() if vr == "SQ" and tag not in table.rows() and tag >> 16 not in (0, 2, 4)]
        nested = sequence(0x00082218, sequence(0x00082228, inner))
        check({tag: sequence(tag, inner) for tag in kept[::40]} | {0x00082218: nested}, options)

    def test_in_every_sequence(self, options: tuple[DeidentificationOption, ...]) -> None:
        """Private, unknown, and misplaced ones: what is in them is treated as everywhere, or goes with them."""
        inner = element(0x00090010, "LO", WORD) + element(0x00091001, "LO", WORD)
        inner += element(0x00100010, "PN", WORD) + element(0x00100020, "LO", WORD) + element(0x00100FFF, "LO", WORD)
        elements = {tag: sequence(tag, inner) for tag, vr in VRS.items() if vr == "SQ" and tag >> 16 not in (0, 2, 4)}
        elements |= {0x00090010: element(0x00090010, "LO", b"ACME"), 0x00091002: sequence(0x00091002, inner)}
        elements |= {0x00300FFE: sequence(0x00300FFE, inner)}
        for result in RESULTS:
            elements.pop(result, None)
        check(elements, options)

    def test_text_in_sequences_that_are_replaced(self, options: tuple[DeidentificationOption, ...]) -> None:
        actions = table.resolve(options)
        free = {tag: vr for tag, vr in VRS.items() if vr in ("LO", "LT", "SH", "ST", "UC", "UT", "OB", "UR", "PN")}
        inner = data_set({tag: element(tag, vr, WORD) for tag, vr in free.items() if tag >> 16 > 4 and _is_free(tag)})
        replaced = [tag for tag, each in actions.items() if VRS.get(tag) == "SQ" and each is Action.DUMMY]
        check({tag: sequence(tag, inner) for tag in replaced if tag not in RESULTS}, options)


def _is_free(tag: int) -> bool:
    return tag not in (0x00080100, 0x00080119, 0x00080120) and tag not in RESULTS


@ITEM
class TestOtherPlaces:
    @OPTIONS
    def test_private_blocks(self, options: tuple[DeidentificationOption, ...]) -> None:
        elements = {}
        for group in (0x0009, 0x0019, 0x5001, 0x6001, 0x7FE1, 0xFFFD):
            for number, vr in enumerate(("LO", "UN", "OB", "UT", "PN", "FD", "DA", "UI"), 0x1001):
                tag = group << 16
                elements[tag | 0x10] = element(tag | 0x10, "LO", WORD)
                elements[tag | number] = element(tag | number, vr, value(vr))
                elements[tag | 1] = element(tag | 1, "LO", WORD)
        check(elements, options)

    def test_graphics_go_as_a_whole(self) -> None:
        elements = {}
        for group in (0x5000, 0x501E, 0x6000, 0x60FE):
            for number in (0x22, 0x10, 0x40, 0x1500, 0x2600, 0x3000, 0x4000, 0x2000, 0x200C, 0x0FFF):
                tag = group << 16 | number
                vr = implicit_vr(tag) if implicit_vr(tag) != "UN" else "LO"
                elements[tag] = element(tag, vr, WORD) if vr != "SQ" else sequence(tag, element(0x00081030, "LO", WORD))
        check(elements, ())

    def test_text_and_sound_of_graphics_go_where_they_are_cleaned(self) -> None:
        elements = {}
        for tag in (0x60000022, 0x60001500, 0x60004000, 0x60000FFF, 0x50000022, 0x50002500, 0x5000200C, 0x50000FFF):
            vr = implicit_vr(tag) if implicit_vr(tag) != "UN" else "LO"
            elements[tag] = element(tag, vr, b"of " + WORD + b" x" if vr != "OW" else WORD)
        check(elements, CLEANING)

    @OPTIONS
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
    def test_every_encoding(self, syntax: str, options: tuple[DeidentificationOption, ...]) -> None:
        implicit, big_endian = syntax == IMPLICIT, syntax == BIG_ENDIAN

        def one(tag: int, vr: str, each: bytes) -> bytes:
            return element(tag, vr, each, implicit=implicit, big_endian=big_endian)

        plain: Callable[[bytes], bytes] = lambda each: each  # noqa: E731
        elements = {
            tag: one(tag, implicit_vr(tag), value(implicit_vr(tag)))
            for tag in gone(options)
            if implicit_vr(tag) not in ("SQ", "UN") and tag not in BASE
        }
        text = {0x00100010: b"Quxleaks^Joanna", 0x00100020: WORD, 0x0020000D: STUDY, 0x0020000E: SERIES}
        text |= {0x00080016: CT.encode(), 0x00080018: b"1.2.77.3"}
        elements |= {tag: one(tag, VRS[tag], each) for tag, each in text.items()}
        inner = one(0x00100010, "PN", WORD) + one(0x00300FFF, "LO", WORD)
        elements[0x00082218] = sequence(0x00082218, inner, implicit=implicit, big_endian=big_endian)
        data = plain(data_set(elements))
        if syntax == DEFLATED:
            deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            data = deflate.compress(data) + deflate.flush()
        found = deidentify(data, syntax, options)
        assert leaks(found) == []

    def test_behind_the_end(self) -> None:
        trailing = element(0xFFFCFFFC, "OB", WORD * 8)
        assert leaks(deidentify(data_set(BASE) + trailing, EXPLICIT, ())) == []
        group_length = element(0x00080000, "UL", WORD[:4])
        assert WORD[:4] not in deidentify(group_length + data_set(BASE), EXPLICIT, ())
        padded = data_set(BASE) + bytes(64) + WORD
        assert leaks(deidentify(padded, EXPLICIT, ())) == []

    @pytest.mark.parametrize(
        ("terms", "name", "left"),
        [
            ("ISO_IR 192", "Müller^Zoë", "Schädel"),
            ("ISO_IR 100", "Müller^Zoë", "Schädel"),
            ("ISO_IR 144", "Иванов^Пётр", "голова"),
            ("ISO_IR 126", "Παπαδόπουλος^Γ", "κεφαλή"),
            ("ISO_IR 127", "قباني^لنزار", "رأس"),
            ("ISO_IR 138", "שרון^דבורה", "ראש"),
            ("ISO_IR 166", "สมชาย^ดี", "หัว"),
            ("GB18030", "王^小明", "头部"),
            ("GBK", "王^小明", "头部"),
            ("\\ISO 2022 IR 58", "Wang^Xm=王^小明", "头部"),
            ("\\ISO 2022 IR 149", "Hong^Gd=洪^吉洞=홍^길동", "두부"),
            ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "頭部"),
            ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "頭部"),
            ("ISO 2022 IR 100\\ISO 2022 IR 144", "Müller^A=Иванов^Б", "Kopf"),
        ],
    )
    def test_every_character_set(self, terms: str, name: str, left: str) -> None:
        """In what is cleaned the words of the name are gone and the rest is what it was."""
        joined = name.replace("^", "").replace("=", "_")
        text = encode_text(f"{left}_{joined}x", terms, "LT")
        patient = encode_text(name, terms, "PN")
        assert text is not None
        assert patient is not None
        elements = {
            0x00080005: element(0x00080005, "CS", terms.encode()),
            0x00100010: element(0x00100010, "PN", patient),
            0x00204000: element(0x00204000, "LT", text),
            0x00102000: element(0x00102000, "LO", patient),
        }
        found = deidentify(data_set(BASE | elements), EXPLICIT, CLEANING)
        for part in filter(None, name.replace("=", "^").split("^")):
            coded = encode_text(part, terms, "LT") or part.encode()
            if len(coded) > 2:
                assert coded not in found
                assert part.encode() not in found
        assert (encode_text(left, terms, "LT") or b"?") in found


def test_every_option_is_one_of_the_profile() -> None:
    assert set(CLEANING) <= set(DEIDENTIFICATION_OPTIONS)
