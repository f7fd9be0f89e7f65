"""Pictures of every file of pydicom's and pydicom-data's that DCMTK renders too, within 2 greys of each other."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.dicom import part10, uids
from gateway.errors import GatewayError
from gateway.imaging import transcode
from gateway.render import grey, rendering
from gateway.render.grey import Window
from gateway.render.pipeline import render
from gateway.render.rendering import Subject
from tests.support import peers
from tests.support.datasets import all_samples

pytestmark = [pytest.mark.interop, pytest.mark.slow]

NOT_BY_DCMTK = {
    **dict.fromkeys(
        [f"SC_rgb{big}_32bit{frames}.dcm" for big in ("", "_expb") for frames in ("", "_2frame")],
        "takes no samples of 32 bits in OB",
    ),
    "gdcm-US-ALOKA-16.dcm": "does not expand these palette segments",
    "gdcm-US-ALOKA-16_big.dcm": "does not expand these palette segments",
}
"""Ours show them, dcmj2pnm 3.6.7 gives no picture."""
NOT_AS_DCMTK = {"eCT_Supplemental.dcm": "has colours for its upper values, which dcmj2pnm leaves out"}


def object_of(path: Path) -> tuple[bytes, part10.FileMeta, Subject, bytes] | None:
    """A file and its first frame; None for what is no picture: web/test_rendered_samples.py has the reasons."""
    file = path.read_bytes()

    def read(at: int, length: int) -> bytes:
        return file[at : at + length]

    try:
        meta = part10.read_header(read)
        subject = rendering.open_subject(read, meta.data_set_offset, len(file), meta.transfer_syntax_uid)
        return file, meta, subject, subject.pixels.native(read, 0)
    except GatewayError:
        return None


def dcmtk(path: Path, options: list[str]) -> Any:
    """What dcmj2pnm makes of the first frame; None where it makes nothing."""
    ran = subprocess.run([peers.need("dcmj2pnm"), "+op", *options, path], capture_output=True, timeout=60)
    if ran.returncode or not ran.stdout:
        return None
    return np.asarray(Image.open(io.BytesIO(ran.stdout)))


def windows(subject: Subject) -> tuple[Window | None, list[str]]:
    """A window for ours, and the same thing said to DCMTK, which does not look into functional groups."""
    voi = grey.of_frame(subject.header, 0)
    if isinstance(voi, Window):
        return voi, ["+Ww", str(voi.center), str(voi.width), *(["+Wfs"] if voi.function == "SIGMOID" else [])]
    if voi is not None:
        return None, ["+Wl", "1"]
    whole = 1 < subject.pixels.image.bits_stored <= 8  # neither spreads them
    return None, ["-W"] if whole else ["+Wm"]


def uncompressed(path: Path, file: bytes, meta: part10.FileMeta, folder: Path) -> Path:
    """For codecs that Debian's DCMTK lacks."""
    body = transcode.transcode(
        lambda at, length: file[at : at + length],
        *(meta.data_set_offset, len(file), meta.transfer_syntax_uid, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid),
    )
    head = part10.file_header(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=uids.EXPLICIT_VR_LITTLE_ENDIAN.uid,
    )
    target = folder / path.name
    target.write_bytes(head + b"".join(body))
    return target


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in all_samples()])
def test_as_dcmtk_shows_it(path: Path, tmp_path: Path) -> None:
    peers.need("dcmj2pnm")
    found = object_of(path)
    if found is None:
        return
    file, meta, subject, frame = found
    window, options = windows(subject)
    theirs = dcmtk(path, options)
    if theirs is None and uids.transfer_syntax(meta.transfer_syntax_uid).encapsulated:
        theirs = dcmtk(uncompressed(path, file, meta, tmp_path), options)
    pixels = subject.pixels
    photometric = pixels.image.decoded_photometric(pixels.syntax)
    ours = render(subject.header, pixels.image, photometric, 0, frame, window=window, square=False)
    assert (theirs is None) == (path.name in NOT_BY_DCMTK)
    if theirs is not None and path.name not in NOT_AS_DCMTK:
        assert theirs.shape == ours.shape
        assert np.abs(theirs.astype(int) - ours).max() <= 2
