"""The tables of UIDs and the grammar of one."""

from __future__ import annotations

import subprocess
import sys

import pydicom.uid
import pytest

from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.uids import STORAGE_CLASSES, TRANSFER_SYNTAXES, is_valid_uid, name_of, transfer_syntax
from gateway.errors import UnsupportedTransferSyntax


class TestTransferSyntaxes:
    def test_facts_agree_with_pydicom(self):
        for uid, syntax in TRANSFER_SYNTAXES.items():
            theirs = pydicom.uid.UID(uid)
            if theirs == theirs.name:
                continue  # newer than pydicom's table
            assert syntax.keyword == theirs.keyword
            if uid == "1.2.840.10008.1.20":
                continue  # pydicom takes Papyrus 3 for explicit
            if ".4.94" not in uid and ".4.95" not in uid and ".4.20" not in uid:
                assert syntax.implicit == theirs.is_implicit_VR, uid
                assert syntax.big_endian == (not theirs.is_little_endian), uid
                assert syntax.deflated == theirs.is_deflated, uid
                assert syntax.encapsulated == theirs.is_encapsulated, uid

    @pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.204"])
    def test_jpip_has_no_fragments(self, uid):
        assert not transfer_syntax(uid).encapsulated

    def test_padding_is_accepted(self):
        assert transfer_syntax("1.2.840.10008.1.2\0").implicit

    def test_unknown(self):
        with pytest.raises(UnsupportedTransferSyntax):
            transfer_syntax("1.2.840.10008.1.2.6.1")


class TestStorageClasses:
    def test_every_storage_class_that_pydicom_has_as_constant(self):
        for name in dir(pydicom.uid):
            uid = getattr(pydicom.uid, name)
            if name.endswith("Storage") and isinstance(uid, pydicom.uid.UID):
                without_study = name.startswith(
                    ("HangingProtocol", "ColorPalette", "GenericImplant", "ImplantAssembly", "ImplantTemplate")
                ) or name in (
                    "CTDefinedProcedureProtocolStorage",
                    "XADefinedProcedureProtocolStorage",
                    "ProtocolApprovalStorage",
                    "InventoryStorage",
                    "MediaStorageDirectoryStorage",
                )
                assert (uid in STORAGE_CLASSES) is not without_study, name

    @pytest.mark.parametrize(
        "uid",
        [
            "1.2.840.10008.5.1.4.1.1.2",
            "1.2.840.10008.5.1.4.1.1.6",  # retired
            "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
            "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image, retired
            "1.2.840.10008.5.1.4.1.1.200.2",  # CT Performed Procedure Protocol
        ],
    )
    def test_has(self, uid):
        assert uid in STORAGE_CLASSES

    @pytest.mark.parametrize("uid", ["1.2.840.10008.1.20.1", "1.2.840.10008.1.3.10", "1.2.840.10008.1.1"])
    def test_has_not(self, uid):
        assert uid not in STORAGE_CLASSES


class TestUIDGrammar:
    """PS3.5 §9.1."""

    @pytest.mark.parametrize("text", ["1.2", "0.0", "2.25.0", "1." + "2" * 62])
    def test_valid(self, text):
        assert is_valid_uid(text)

    @pytest.mark.parametrize(
        "text", ["", "1", "1.", ".1", "1..2", "1.02", "1.2\n", "1.2 ", "a.b", "1." + "2" * 63, "\u0661.2"]
    )
    def test_invalid(self, text):
        assert not is_valid_uid(text)


class TestDictionary:
    @pytest.mark.parametrize(
        ("tag", "vr"),
        [
            (0x00100010, "PN"),
            (0x00280106, "US"),
            (0x7FE00010, "OW"),
            (0x60003000, "OW"),
            (0x601E0010, "US"),
            (0x50020010, "US"),
            (0x00203102, "CS"),
            (0x00090010, "LO"),
            (0x000900FF, "LO"),
            (0x00091001, "UN"),
            (0x00080000, "UL"),
            (0x00080003, "UN"),
        ],
    )
    def test_vr(self, tag, vr):
        assert implicit_vr(tag) == vr

    def test_names(self):
        assert name_of("1.2.840.10008.1.1") == "Verification SOP Class"
        assert name_of("1.2.3") == "1.2.3"

    def test_reading_does_not_import_pydicom_or_numpy(self):
        code = (
            "import sys, gateway.dicom.part10, gateway.dicom.json;"
            "print([name for name in sys.modules if name.split('.')[0] in ('pydicom', 'numpy')])"
        )
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert output.strip() == "[]"
