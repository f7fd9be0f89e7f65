"""Every file of pydicom's and pydicom-data's over HTTP: a picture, a page, or a reason. Never an error of ours."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from gateway.dicom import part10
from gateway.errors import GatewayError
from tests.support.datasets import all_samples, read_sample
from tests.support.index import data_set
from tests.support.web import House

BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "too much to decode",
    "MR_truncated.dcm": "8130 bytes of pixel data, where a frame has 8192",
    "badVR.dcm": "Number of Frames is '1A'",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "the data set ends",
    "nested_priv_SQ.dcm": "(0028,0100) is missing, which pixel data needs",
    "rtplan_truncated.dcm": "(300A,00B0)",
}
"""Files that say something untrue about themselves, and what the answer says about it."""


async def test_every_sample(gateway: House):
    wrong, shown = [], 0
    for number, path in enumerate(all_samples()):
        file = path.read_bytes()
        try:
            meta = part10.read_header(lambda at, length, file=file: file[at : at + length])
        except GatewayError:
            continue  # would not be stored
        where = ("1.1", "1.1.1", f"1.1.1.{number + 1}")
        found = data_set(*where, SOPClassUID=meta.sop_class_uid or "1.2.840.10008.5.1.4.1.1.7")
        await gateway.add(found, meta.transfer_syntax_uid, data=file[meta.data_set_offset :])
        base = f"/dicom-web/studies/1.1/series/1.1.1/instances/{where[2]}"
        answer = await gateway.get(f"{base}/rendered")
        text = "" if answer.status == 200 else str((await answer.json())["Details"])
        if path.name in BROKEN:
            good = answer.status == 406 and BROKEN[path.name] in text
        elif answer.content_type == "text/html":
            good = "<h1>" in await answer.text()
        elif answer.status == 406:
            good = "it has no pixel data" in text and "PixelData" not in read_sample(path)
        else:
            good = answer.status == 200
            shown += np.asarray(Image.open(io.BytesIO(await answer.read()))).size > 0
        thumbnail = await gateway.get(f"{base}/thumbnail")
        good = good and thumbnail.status == 200 and max(Image.open(io.BytesIO(await thumbnail.read())).size) <= 256
        if not good:
            wrong.append((path.name, answer.status, text, thumbnail.status))
    assert not wrong, wrong
    assert shown > 130
