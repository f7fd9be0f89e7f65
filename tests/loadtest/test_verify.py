"""What a server is asked afterwards."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from aiohttp import web

from gateway.dicom import part10
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import encode_data_set
from loadtest.data import Instance, Synthetic, parse_size
from loadtest.verify import Acknowledged, Verification, VerifyFailed
from tests.loadtest.serving import serving

EXPLICIT = "1.2.840.10008.1.2.1"


def instances(count: int) -> list[Instance]:
    return list(Synthetic(dataclasses.replace(parse_size("64"), series=2, instances=3), count).feed(0, 1))


def server(known: list[Instance], *, status: int = 200, data: dict[str, bytes] | None = None) -> web.Application:
    """Answers QIDO-RS for instances, two at a time whatever is asked for, and WADO-RS."""

    def rows(found: list[Instance]) -> web.Response:
        facts = (("00080018", "sop_instance_uid"), ("00080016", "sop_class_uid"), ("0020000E", "series_instance_uid"))
        answer = [{tag: {"vr": "UI", "Value": [getattr(one, name)]} for tag, name in facts} for one in found]
        return web.json_response(answer, status=status)

    async def of_study(request: web.Request) -> web.Response:
        offset, study = int(request.query["offset"]), request.match_info["study"]
        return rows([one for one in known if one.study_instance_uid == study][offset : offset + 2])

    async def by_uid(request: web.Request) -> web.Response:
        return rows([one for one in known if one.sop_instance_uid == request.query["SOPInstanceUID"]])

    async def retrieve(request: web.Request) -> web.Response:
        (one,) = (one for one in known if one.sop_instance_uid == request.match_info["instance"])
        header = part10.file_header(
            sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid, transfer_syntax_uid=EXPLICIT
        )
        body = (data or {}).get(one.sop_instance_uid) or b"".join(one.chunks)
        part = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + header + body + b"\r\n--x--\r\n"
        return web.Response(body=part, headers={"Content-Type": "multipart/related; boundary=x"})

    app = web.Application()
    app.router.add_get("/dicom-web/studies/{study}/instances", of_study)
    app.router.add_get("/dicom-web/instances", by_uid)
    app.router.add_get("/dicom-web/studies/{study}/series/{series}/instances/{instance}", retrieve)
    return app


async def verify(sent: list[Instance], app: web.Application) -> Verification:
    kept = Acknowledged()
    for instance in sent:
        kept.add(instance)
    async with asyncio.timeout(10), serving(app=app) as target:
        return await kept.verify(target)


async def test_all_there() -> None:
    sent = instances(20)
    found = await verify(sent, server(sent))
    assert (found.asked, found.found, found.missing, found.differing) == (20, 20, [], {})
    assert found.compared == 5  # The 1st, 2nd, 4th, 8th and 16th.
    assert found.reencoded == 0
    assert found.good


async def test_what_is_missing_is_named() -> None:
    sent = instances(5)
    unknown = sent[0]._replace(sop_instance_uid="1.9", study_instance_uid="", series_instance_uid="")
    found = await verify([*sent, unknown], server(sent[1:]))
    assert found.missing == sorted([sent[0].sop_instance_uid, "1.9"])
    assert found.found == 4
    assert not found.good


async def test_what_is_filed_elsewhere_differs() -> None:
    sent = instances(3)
    moved = sent[1]._replace(series_instance_uid="1.2.3")
    found = await verify(sent, server([sent[0], moved, sent[2]]))
    assert list(found.differing) == [sent[1].sop_instance_uid]
    assert "series 1.2.3" in found.differing[sent[1].sop_instance_uid]


async def test_other_values_differ_and_other_bytes_do_not() -> None:
    sent = instances(2)
    original = b"".join(sent[0].chunks)
    values = decode_data_set(original, EXPLICIT)
    values[0x00321060] = values.pop(0x00081030)  # Another element instead.
    changed = encode_data_set(values, EXPLICIT)
    found = await verify(sent, server(sent, data={sent[0].sop_instance_uid: changed}))
    assert found.differing == {sent[0].sop_instance_uid: "its values are not those that were sent"}
    undefined = _with_undefined_lengths(original)
    assert undefined != original
    found = await verify(sent, server(sent, data={sent[0].sop_instance_uid: undefined}))
    assert (found.differing, found.reencoded) == ({}, 1)


def _with_undefined_lengths(data: bytes) -> bytes:
    """The one sequence, ended by a delimiter instead of its length (PS3.5 §7.5)."""
    at = data.index(b"\x40\x00\x75\x02SQ")
    length = int.from_bytes(data[at + 8 : at + 12], "little")
    value = data[at + 12 : at + 12 + length]
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    return data[: at + 8] + b"\xff" * 4 + value + end + data[at + 12 + length :]


async def test_a_server_that_cannot_answer_is_no_proof() -> None:
    with pytest.raises(VerifyFailed, match="401"):
        await verify(instances(1), server([], status=401))
