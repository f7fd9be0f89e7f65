"""Frames that are decoded or rendered for the web take memory before, and are told to come back where there is none."""

from __future__ import annotations

import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder

from gateway.retrieve import frame_memory
from tests.support.web import House
from tests.web.test_rendered import ONE, RENDERED, image

RLE = "1.2.840.10008.1.2.5"
CASE = pytest.mark.case("item 1 frames that are decoded and rendered share one budget in bytes, past which 503 comes")


@CASE
@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (RENDERED, "image/jpeg"),
        (RENDERED, "image/gif"),
        (f"{ONE}/thumbnail", "image/jpeg"),
        (f"{ONE}/frames/2/rendered", "image/png"),
        (f"{ONE}/frames/1", "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"),
    ],
)
async def test_no_memory(gateway: House, path: str, accept: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frame_memory, "PATIENCE_S", 0.02)
    source = image("1.1", "1.1.1", "1.1.1.1", frames=2)
    frames = [source.PixelData[:128], source.PixelData[128:256]]
    encoded = [RLELosslessEncoder.encode(each, **layout()) for each in frames]
    source.PixelData = encapsulate(encoded)
    await gateway.add(source, RLE)
    with gateway.use_cases.retrieval.frame_memory.reserved(1 << 40):
        answer = await gateway.get(path, accept=accept)
        assert answer.status == 503, await answer.text()
        assert int(answer.headers["Retry-After"]) > 0
        assert "imaging.memory" in (await answer.json())["Details"]
    answer = await gateway.get(path, accept=accept)
    assert answer.status == 200, await answer.text()


def layout() -> dict[str, object]:
    return {
        "rows": 8,
        "columns": 16,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
    }
