"""What the gateway offers: the transfer syntax that each proposed context gets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.config import Dicom
from gateway.errors import ConfigurationError
from gateway.net.requestor import associate
from gateway.scp.services import Offer
from tests.support.datasets import BIG_ENDIAN, CT, EXPLICIT, IMPLICIT
from tests.support.intake import intake

JPEG_2000, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


@pytest.mark.case("Explicit VR Little Endian is taken before Implicit, whatever the order")
@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([IMPLICIT, EXPLICIT], EXPLICIT),
        ([IMPLICIT, EXPLICIT, BIG_ENDIAN], EXPLICIT),
        ([EXPLICIT, IMPLICIT], EXPLICIT),
        ([IMPLICIT, BIG_ENDIAN], IMPLICIT),
        ([BIG_ENDIAN, IMPLICIT, EXPLICIT], BIG_ENDIAN),
        ([JPEG_2000, IMPLICIT, EXPLICIT], JPEG_2000),
        ([IMPLICIT, JPEG_2000, EXPLICIT], EXPLICIT),
        ([IMPLICIT], IMPLICIT),
        (["1.2.3.4", IMPLICIT, EXPLICIT], EXPLICIT),
    ],
)
async def test_by_default(tmp_path: Path, offered: list[str], taken: str) -> None:
    async with asyncio.timeout(20), intake(tmp_path) as gateway, associate(gateway.call((CT, offered))) as association:
        assert association.context_for(CT).transfer_syntax == taken


@pytest.mark.parametrize(
    ("preferred", "taken"),
    [
        ([], IMPLICIT),
        (["RLELossless", "ImplicitVRLittleEndian"], RLE),
        (["RLELossless"], IMPLICIT),
        ([JPEG_2000, "ExplicitVRLittleEndian", "ImplicitVRLittleEndian"], EXPLICIT),
    ],
)
async def test_as_the_settings_say(tmp_path: Path, preferred: list[str], taken: str) -> None:
    sections = {"dicom": {"preferred_transfer_syntaxes": preferred}}
    call = (CT, [IMPLICIT, RLE, EXPLICIT])
    async with intake(tmp_path, **sections) as gateway, associate(gateway.call(call)) as association:
        assert association.context_for(CT).transfer_syntax == taken


@pytest.mark.parametrize("which", ["preferred", "refused"])
def test_one_that_is_not_known(which: str) -> None:
    problem = f"dicom.{which}_transfer_syntaxes: Nonsense is not a known transfer syntax"
    with pytest.raises(ConfigurationError, match=problem):
        Offer(Dicom(**{f"{which}_transfer_syntaxes": ("Nonsense",)}))
