"""gateway/scp/conformance.py: deploy/CONFORMANCE.md says what the code's tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom

from gateway.config import Dicom, Settings
from gateway.dicom import uids
from gateway.scp.conformance import statement
from gateway.scp.services import Offer

FILE = Path(__file__).parents[2] / "deploy" / "CONFORMANCE.md"


def without_registry(text: str) -> list[str]:
    """Lines that do not depend on the edition of PS3.6 that pydicom brings."""
    return [line for line in text.splitlines() if not re.search(r"1\.2\.840\.10008|pydicom|^\| Storage ", line)]


def test_the_file_is_what_the_tables_say() -> None:
    """Written anew by `python -m gateway.scp.conformance >deploy/CONFORMANCE.md`."""
    text = FILE.read_text()
    if f"pydicom {pydicom.__version__} " in text:
        assert text == statement()
    else:
        assert without_registry(text) == without_registry(statement())


def test_every_sop_class_and_transfer_syntax_on_offer_is_in_it() -> None:
    text = statement()
    offered = Offer(Dicom()).contexts
    missing = [uid for uid in (*offered, *uids.TRANSFER_SYNTAXES) if f"| {uid} " not in text]
    assert missing == []


def test_it_follows_the_settings() -> None:
    settings = Settings(dicom=Dicom(aet="PACS", max_pdu=65536, refused_transfer_syntaxes=("RLELossless",)))
    text = statement(settings)
    assert "`PACS`" in text
    assert "65536 bytes" in text
    assert "RLE Lossless" not in text
