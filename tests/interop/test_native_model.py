"""The Native DICOM Model of every sample file, beside the document that DCMTK's dcm2xml makes of it.

Both documents are read with our reader and compared attribute by attribute; what differs is named, with who is right.
"""

from __future__ import annotations

import math
import subprocess
from typing import Any

import pytest

from gateway.dicom.xml import to_xml
from gateway.dicom.xml_reader import from_xml
from tests.dicom.test_xml import as_json
from tests.support import peers
from tests.support.datasets import data_sets

pytestmark = pytest.mark.interop

UNKNOWN = "rtdose_rle"
"""Explicit VR whose elements all say UN: DCMTK keeps that, we look them up (PS3.5 §6.2.2 allows it)."""


def test_every_sample() -> None:
    dcm2xml = peers.need("dcm2xml")
    alike = documents = 0
    for path, syntax, data in data_sets():
        made = subprocess.run(
            [dcm2xml, "--native-format", "--convert-to-utf8", "--encode-base64", "--quiet", str(path)],
            capture_output=True,
            timeout=30,
        )
        if made.returncode:
            continue  # DICOMDIRs and truncated files it refuses; some character sets this build cannot convert
        documents += 1
        alike += compare(from_xml(to_xml(as_json(data, syntax))), from_xml(made.stdout), path.name)
    assert documents > 60
    assert alike > 8000


def compare(ours: dict[str, Any], theirs: dict[str, Any], where: str) -> int:
    """How many attributes are the same; fails for one that is not and should be."""
    alike = 0
    for key in sorted(set(ours) | set(theirs)):
        mine, other = ours.get(key, {}), theirs.get(key, {})
        place = f"{where}/{key}: {str(mine)[:200]} {str(other)[:200]}"
        vr = mine.get("vr")
        if mine == other:
            alike += 1
        elif key == "00080005":
            assert other == {"vr": "CS", "Value": ["ISO_IR 192"]}, place  # they add it where all is ASCII
        elif not mine or not other:
            # They write gggg00ee for private elements without a creator too, so that the block is lost.
            assert int(key[:4], 16) & 1, place
        elif "BulkDataURI" in mine:
            assert "Value" not in other, place  # they have it inline, or by a UUID of no use, or leave it out
        elif other["vr"] == "UN" and vr != "UN":
            assert where.startswith(UNKNOWN), place
        elif vr == "SQ":
            for number, (item, their_item) in enumerate(zip(mine["Value"], other["Value"], strict=True)):
                alike += compare(item, their_item, f"{where}/{key}/{number}")
        elif vr in ("FL", "FD"):
            digits = 1e-6 if vr == "FL" else 1e-14  # they round
            pairs = zip(mine["Value"], other["Value"], strict=True)
            assert all(math.isclose(one, another, rel_tol=digits) for one, another in pairs), place
        elif vr == "OW":
            assert len(mine["InlineBinary"]) == len(other["InlineBinary"]), place  # they have big endian in base64
        elif vr == "PN":
            # They give what they found of the name before, or group before, where there is none.
            for name, other_name in zip(mine["Value"], other["Value"], strict=True):
                assert name.items() <= other_name.items(), place
        else:
            assert where.startswith("nested_priv_SQ"), place  # odd length: they pad it
    return alike
