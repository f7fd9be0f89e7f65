"""A few pictures that somebody has looked at, 64 pixels wide: `golden/`. A change of what is shown is seen here.

After a change that is meant, make them anew by `python -m tests.render.test_golden`, and look at them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.dicom import part10
from gateway.render.rendering import RenderOptions, open_subject, render_frame
from gateway.render.viewport import Viewport
from tests.support.datasets import all_samples

GOLDEN = Path(__file__).with_name("golden")
OPTIONS = RenderOptions(media_type="image/png", viewport=Viewport(64, 64))
NAMES = {
    "CT_small.dcm": "16 bits, signed, no window",
    "MR_small_bigendian.dcm": "a window, big endian",
    "RG1_UNCR.dcm": "MONOCHROME1",
    "mlut_18.dcm": "a Modality LUT",
    "vlut_04.dcm": "a VOI LUT",
    "liver_1frame.dcm": "single bits",
    "rtdose_1frame.dcm": "32 bits",
    "eCT_Supplemental.dcm": "window and rescale in functional groups",
    "MR-SIEMENS-DICOM-WithOverlays.dcm": "overlays",
    "examples_palette.dcm": "a palette",
    "gdcm-US-ALOKA-16.dcm": "a palette in segments",
    "examples_ybr_color.dcm": "YBR_FULL_422 in JPEG",
    "SC_ybr_full_422_uncompressed.dcm": "YBR_FULL_422 as it is",
    "US1_J2KR.dcm": "YBR_RCT in JPEG 2000",
    "SC_rgb_16bit.dcm": "deep RGB",
    "color-pl.dcm": "planes",
}


def picture(name: str) -> bytes:
    (path,) = [path for path in all_samples() if path.name == name]
    file = path.read_bytes()

    def read(at: int, length: int) -> bytes:
        return file[at : at + length]

    meta = part10.read_header(read)
    made = open_subject(read, meta.data_set_offset, len(file), meta.transfer_syntax_uid)
    return render_frame(made, read, made.representative, OPTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, tmp_path: Path) -> None:
    if name not in {path.name for path in all_samples()}:
        pytest.skip("pydicom-data is not here")
    found = tmp_path / "found.png"
    found.write_bytes(picture(name))
    with Image.open(found) as mine, Image.open(GOLDEN / f"{name}.png") as golden:
        assert (mine.mode, mine.size) == (golden.mode, golden.size)
        difference = np.abs(np.asarray(mine).astype(int) - np.asarray(golden).astype(int))
    assert difference.max() <= 6  # codecs and scaling round
    assert difference.mean() <= 1


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in NAMES:
        (GOLDEN / f"{each}.png").write_bytes(picture(each))
