"""In which transfer syntax an instance is opened to be sent: the best that the peer accepts and the image bears."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from gateway.errors import UnsupportedTransferSyntax
from gateway.scu.transfer import Choose, prepared
from gateway.ul.negotiation import PresentationContext

CT = "1.2.840.10008.5.1.4.1.1.2"
STORED = "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


@dataclass(frozen=True)
class Opened:
    transfer_syntax_uid: str

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield b""

    def close(self) -> None: ...


@dataclass
class Image:
    """An instance that only `fits` some transfer syntaxes."""

    fits: set[str]
    asked: list[str] = field(default_factory=list)
    name: str = "an image"
    sop_class_uid: str = CT
    sop_instance_uid: str = "1.2.3"
    transfer_syntax_uid: str = STORED

    async def prepare(self, choose: Choose) -> Opened:
        self.asked.append(choose(STORED))
        if self.asked[-1] not in self.fits:
            raise UnsupportedTransferSyntax(f"too deep for {self.asked[-1]}")
        return Opened(self.asked[-1])


def accepted(*syntaxes: str) -> dict[str, PresentationContext]:
    return {uid: PresentationContext(2 * at + 1, CT, uid, True, False) for at, uid in enumerate(syntaxes)}


async def test_the_first_form_where_it_fits() -> None:
    image = Image({JPEG_LS, JPEG_2000})
    assert (await prepared(image, accepted(JPEG_2000, JPEG_LS))).transfer_syntax_uid == JPEG_LS
    assert image.asked == [JPEG_LS]


async def test_the_next_form_where_the_image_does_not_fit_the_first() -> None:
    image = Image({RLE})
    assert (await prepared(image, accepted(JPEG_2000, JPEG_LS, RLE))).transfer_syntax_uid == RLE
    assert image.asked == [JPEG_LS, JPEG_2000, RLE]


async def test_the_first_reason_where_no_form_fits() -> None:
    image = Image(set())
    with pytest.raises(UnsupportedTransferSyntax, match=JPEG_LS):
        await prepared(image, accepted(JPEG_LS, RLE))
    assert image.asked == [JPEG_LS, RLE]


async def test_nothing_accepted() -> None:
    with pytest.raises(UnsupportedTransferSyntax, match="does not accept CT Image Storage"):
        await prepared(Image(set()), {})
