"""Every file of pydicom's, sent verbatim by a sender of ours: what is stored are the bytes that were on the wire."""

from __future__ import annotations

import asyncio
import collections
from pathlib import Path

import pytest

from gateway.dicom import part10, uids
from gateway.dimse import status
from gateway.net.requestor import associate
from tests.support.datasets import data_sets, read_sample
from tests.support.intake import intake

NO_STUDY = {
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
}
"""Their Study Instance UID is missing, which no IOD of a study allows: refused, and kept aside."""

CUT_SHORT = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
"""They end inside an element."""


def wire() -> list[tuple[Path, str, str, str, bytes]]:
    """(path, SOP class, instance, transfer syntax, data set) of every sample that names itself."""
    found = []
    for path, syntax, data in data_sets():
        data_set = read_sample(path)
        sop_class, instance = str(data_set.get("SOPClassUID", "")), str(data_set.get("SOPInstanceUID", ""))
        if sop_class in uids.STORAGE_CLASSES and instance and syntax in uids.TRANSFER_SYNTAXES:
            found.append((path, sop_class, instance, syntax, data))
    return found


async def test_the_bytes_on_the_wire_are_kept(tmp_path: Path) -> None:
    files = wire()
    assert len(files) > 80
    contexts = sorted({(sop_class, syntax) for _, sop_class, _, syntax, _ in files})
    answers: dict[str, tuple[int, str]] = {}
    sent: dict[str, set[bytes]] = collections.defaultdict(set)
    async with asyncio.timeout(50), intake(tmp_path) as gateway:
        for start in range(0, len(contexts), 128):
            part = contexts[start : start + 128]
            async with associate(gateway.call(*((uid, [syntax]) for uid, syntax in part))) as association:
                for path, sop_class, instance, syntax, data in files:
                    if (sop_class, syntax) in part:
                        context = association.context_for(sop_class, syntax)
                        pieces = [data[at : at + 300_000] for at in range(0, len(data), 300_000)]
                        response = await association.store(context, instance, pieces)
                        answers[path.name] = (response.status or 0, response.error_comment or "")
                        sent[instance].add(data + b"\0" * (len(data) & 1))  # as PS3.5 A.5 has deflated ones
        failed = {
            name: answer for name, answer in answers.items() if status.category(answer[0]) is status.Category.FAILURE
        }
        cut = {name for name, (_, comment) in failed.items() if comment.startswith("cut short")}
        refused = {name: answer for name, answer in failed.items() if name not in cut}
        stored = 0
        for key in gateway.folder.store.keys():  # noqa: SIM118
            file = gateway.folder.store.open(key)
            meta = part10.read_header(file.read)
            assert file.read(meta.data_set_offset, file.size) in sent[meta.sop_instance_uid]
            file.close()
            stored += 1
    assert stored > 70
    assert cut == CUT_SHORT
    assert set(refused) == NO_STUDY
    assert set(refused.values()) == {(0xC000, "the data set cannot be read: Study Instance UID (0020,000D) is")}


@pytest.mark.parametrize("keyword", ["JPEG2000", "JPEG2000Lossless", "1.2.840.10008.1.2.4.80"])
async def test_a_syntax_can_be_turned_off(tmp_path: Path, keyword: str) -> None:
    """The habit that spares a viewer what it cannot show: the sender then offers another encoding."""
    refused = {"JPEG2000": "1.2.840.10008.1.2.4.91", "JPEG2000Lossless": "1.2.840.10008.1.2.4.90"}.get(keyword, keyword)
    contexts = [("1.2.840.10008.5.1.4.1.1.2", [refused, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid])]
    async with asyncio.timeout(20), intake(tmp_path, dicom={"refused_transfer_syntaxes": [keyword]}) as gateway:
        async with associate(gateway.call(*contexts)) as association:
            (context,) = association.contexts.values()
            assert context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
        async with associate(gateway.call(("1.2.840.10008.5.1.4.1.1.2", [refused]))) as association:
            assert association.contexts == {}
