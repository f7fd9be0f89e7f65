"""C-ECHO and C-STORE over a real socket, sender and gateway in one process: answers, bytes, what is left on disk."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from gateway.dicom import part10, uids
from gateway.dimse import messages, status
from gateway.errors import AssociationRefused
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Requestor, associate
from tests.support.datasets import ct_header, encode, instance
from tests.support.intake import CT, Intake, begun, intake
from tests.support.waiting import until

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


async def send(gateway: Intake, data: bytes, instance: str, **changes: object) -> tuple[int, str]:
    """C-STORE one data set; status and comment."""
    async with associate(gateway.call(**changes)) as association:
        response = await association.store(association.context_for(CT), instance, [data])
    return response.status or 0, response.error_comment or ""


def stored(gateway: Intake) -> dict[str, bytes]:
    """Data set bytes by the SOP Instance UID of the file meta information, of everything in the store."""
    found = {}
    for key in gateway.folder.store.keys():  # noqa: SIM118
        file = gateway.folder.store.open(key)
        meta = part10.read_header(file.read)
        found[meta.sop_instance_uid] = file.read(meta.data_set_offset, file.size)
        file.close()
    return found


async def test_echo(tmp_path: Path) -> None:
    async with asyncio.timeout(20), intake(tmp_path) as gateway, associate(gateway.call()) as association:
        assert await association.echo() == status.SUCCESS


async def test_an_instance_is_kept_byte_for_byte(tmp_path: Path) -> None:
    data_set = ct_header(PixelData=bytes(range(256)) * 4096)
    data = encode(data_set, EXPLICIT)
    async with asyncio.timeout(20), intake(tmp_path) as gateway:
        assert await send(gateway, data, data_set.SOPInstanceUID) == (status.SUCCESS, "")
        assert stored(gateway) == {data_set.SOPInstanceUID: data}
    assert begun(gateway.folder.layout.base) == []


async def test_a_large_object_is_written_as_it_comes(tmp_path: Path) -> None:
    data_set = ct_header(PixelData=bytes(9_000_000))
    data = encode(data_set, EXPLICIT)
    pieces = [data[at : at + 100_001] for at in range(0, len(data), 100_001)]
    async with asyncio.timeout(20), intake(tmp_path, blocks=6) as gateway:
        async with associate(gateway.call()) as association:
            context = association.context_for(CT)
            response = await association.store(context, data_set.SOPInstanceUID, pieces)
        assert response.status == status.SUCCESS
        assert stored(gateway) == {data_set.SOPInstanceUID: data}
        assert gateway.blocks.available == 6


@pytest.mark.parametrize("blocks", [1, 3, 16])
async def test_many_senders_share_few_blocks(tmp_path: Path, blocks: int) -> None:
    data_sets = [ct_header(SOPInstanceUID=f"1.2.3.{number}", PixelData=bytes(700_000)) for number in range(12)]
    async with asyncio.timeout(30), intake(tmp_path, blocks=blocks) as gateway:
        answers = await asyncio.gather(*(send(gateway, encode(d, EXPLICIT), d.SOPInstanceUID) for d in data_sets))
        assert answers == [(status.SUCCESS, "")] * 12
        assert stored(gateway) == {d.SOPInstanceUID: encode(d, EXPLICIT) for d in data_sets}
        assert gateway.blocks.available == blocks


async def test_a_sender_that_stops_in_the_middle_does_not_starve_others(tmp_path: Path) -> None:
    data_set = ct_header(PixelData=bytes(100_000))
    data = encode(data_set, EXPLICIT)
    async with asyncio.timeout(20), intake(tmp_path, blocks=1) as gateway, associate(gateway.call()) as slow:
        context = slow.context_for(CT)
        slow.association.send_data(context.id, True, messages.c_store_request(7, CT, "1.2.3").encode(), True)
        slow.association.send_data(context.id, False, data[:50_000], False)
        slow.link.flush()
        await until(lambda: not gateway.blocks.available)
        assert await send(gateway, data, data_set.SOPInstanceUID) == (status.SUCCESS, "")


@pytest.mark.parametrize("operations", [1, 8])
async def test_overlapping_operations(tmp_path: Path, operations: int) -> None:
    data_sets = [ct_header(SOPInstanceUID=f"1.2.3.{number}", PixelData=bytes(3000)) for number in range(40)]
    async with asyncio.timeout(20), intake(tmp_path, dicom={"max_operations": 4}) as gateway:
        async with associate(gateway.call(max_operations=operations)) as association:
            assert association.max_operations == min(operations, 4)
            context = association.context_for(CT)
            responses = await asyncio.gather(
                *(association.store(context, d.SOPInstanceUID, [encode(d, EXPLICIT)]) for d in data_sets)
            )
        assert {response.status for response in responses} == {status.SUCCESS}
        assert len(stored(gateway)) == 40


class TestRefusals:
    """PS3.4 Table B.2-1. What is refused leaves nothing in the store, and the association goes on."""

    async def refuse(self, path: Path, data: bytes, instance: str, **sections: dict[str, object]) -> tuple[int, str]:
        async with asyncio.timeout(20), intake(path, **sections) as gateway:
            async with associate(gateway.call()) as association:
                response = await association.store(association.context_for(CT), instance, [data])
                assert await association.echo() == status.SUCCESS
            assert stored(gateway) == {}
            assert begun(gateway.folder.layout.base) == []
        return response.status or 0, response.error_comment or ""

    async def test_another_instance_than_announced(self, tmp_path: Path) -> None:
        code, comment = await self.refuse(tmp_path, encode(ct_header(), EXPLICIT), "1.2.3.4.5")
        assert (code, comment[:12]) == (0xA900, "the data set")

    async def test_another_class_than_announced(self, tmp_path: Path) -> None:
        data_set = ct_header(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
        code, _ = await self.refuse(tmp_path, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
        assert code == 0xA900

    @pytest.mark.parametrize("data", [b"", b"\0" * 7, b"GET / HTTP/1.1\r\n\r\n" * 9, b"\x02\x00\x10\x00UI\x02\x001\0"])
    async def test_what_cannot_be_read_is_kept_aside(self, tmp_path: Path, data: bytes) -> None:
        code, _ = await self.refuse(tmp_path, data, "1.2.3")
        assert code == 0xC000
        assert len(list((tmp_path / "rejected").glob("*.dcm"))) == 1
        assert b"cannot be read" in next((tmp_path / "rejected").glob("*.json")).read_bytes()

    async def test_a_header_that_ends_in_the_middle(self, tmp_path: Path) -> None:
        data_set = ct_header()
        code, comment = await self.refuse(tmp_path, encode(data_set, EXPLICIT)[:333], data_set.SOPInstanceUID)
        assert code == 0xC000
        assert comment

    @pytest.mark.parametrize("instance", ["../../etc/passwd", "/abs", "..x", "", "1." + "2" * 63])
    async def test_what_is_no_uid(self, tmp_path: Path, instance: str) -> None:
        code, _ = await self.refuse(tmp_path, encode(ct_header(), EXPLICIT), instance)
        assert code in (status.INVALID_SOP_INSTANCE, 0xA900)

    async def test_no_room(self, tmp_path: Path) -> None:
        data_set = ct_header(PixelData=bytes(3_000_000))
        sections = {"storage": {"min_free": 1 << 60}}
        code, comment = await self.refuse(tmp_path, encode(data_set, EXPLICIT), data_set.SOPInstanceUID, **sections)
        assert code == status.OUT_OF_RESOURCES
        assert "floor" in comment

    async def test_another_command_than_the_context_allows(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, associate(gateway.call()) as association:
            command = messages.c_find_request(5, CT)
            response = await association.request(association.context_for(CT), command, [b"\0" * 8])
            assert response.status == status.UNRECOGNIZED_OPERATION
            assert await association.echo() == status.SUCCESS


class TestDuplicates:
    async def twice(self, path: Path, policy: str, *, same: bool) -> tuple[int, dict[str, bytes], bytes, bytes]:
        data_set = ct_header(PatientName="First^One", PixelData=bytes(3000))
        first = encode(data_set, EXPLICIT)
        data_set.PatientName = "First^One" if same else "Second^One"
        second = encode(data_set, EXPLICIT)
        async with asyncio.timeout(20), intake(path, storage={"duplicates": policy}) as gateway:
            assert (await send(gateway, first, data_set.SOPInstanceUID))[0] == status.SUCCESS
            code, _ = await send(gateway, second, data_set.SOPInstanceUID)
        async with intake(path) as gateway:
            assert begun(gateway.folder.layout.base) == []
            return code, stored(gateway), first, second

    @pytest.mark.parametrize("policy", ["keep", "overwrite", "reject"])
    async def test_the_same_bytes_change_nothing(self, tmp_path: Path, policy: str) -> None:
        code, found, first, _ = await self.twice(tmp_path, policy, same=True)
        assert code == status.SUCCESS
        assert list(found.values()) == [first]

    async def test_keep(self, tmp_path: Path) -> None:
        code, found, first, _ = await self.twice(tmp_path, "keep", same=False)
        assert (code, list(found.values())) == (status.SUCCESS, [first])

    async def test_overwrite(self, tmp_path: Path) -> None:
        code, found, _, second = await self.twice(tmp_path, "overwrite", same=False)
        assert (code, list(found.values())) == (status.SUCCESS, [second])

    async def test_reject(self, tmp_path: Path) -> None:
        code, found, first, _ = await self.twice(tmp_path, "reject", same=False)
        assert (code & 0xF000, list(found.values())) == (0xC000, [first])

    @pytest.mark.parametrize("policy", ["keep", "overwrite"])
    async def test_at_once_from_many(self, tmp_path: Path, policy: str) -> None:
        data_sets = [ct_header(PatientName=f"N{number}", PixelData=bytes(3000)) for number in range(8)]
        data = [encode(d, EXPLICIT) for d in data_sets]
        async with asyncio.timeout(20), intake(tmp_path, storage={"duplicates": policy}) as gateway:
            answers = await asyncio.gather(*(send(gateway, d, data_sets[0].SOPInstanceUID) for d in data))
            assert {code for code, _ in answers} == {status.SUCCESS}
        async with intake(tmp_path) as gateway:
            (found,) = stored(gateway).values()
            assert found in data


class TestAssociations:
    """Who gets in, and how it ends."""

    async def rejected(
        self, path: Path, modality: dict[str, object] | None = None, **dicom: object
    ) -> tuple[int, int, int]:
        modalities = {"ct": modality} if modality else {}
        async with asyncio.timeout(20), intake(path, dicom=dicom, modalities=modalities) as gateway:
            with pytest.raises(AssociationRefused) as caught:
                async with associate(gateway.call()), associate(gateway.call()):
                    pass
        return caught.value.result, caught.value.source, caught.value.reason

    async def test_an_unknown_caller(self, tmp_path: Path) -> None:
        assert await self.rejected(tmp_path, {"aet": "OTHER"}) == (1, 1, 3)

    async def test_a_known_caller_from_elsewhere(self, tmp_path: Path) -> None:
        assert await self.rejected(tmp_path, {"aet": "TEST", "host": "10.0.0.0/8"}) == (1, 1, 3)

    async def test_a_known_caller(self, tmp_path: Path) -> None:
        modalities = {"ct": {"aet": "TEST", "host": "127.0.0.0/8"}}
        async with (
            asyncio.timeout(20),
            intake(tmp_path, modalities=modalities) as gateway,
            associate(gateway.call()) as one,
        ):
            assert await one.echo() == status.SUCCESS

    async def test_another_name(self, tmp_path: Path) -> None:
        assert await self.rejected(tmp_path, check_called_aet=True, aet="ELSE") == (1, 1, 7)

    async def test_too_many(self, tmp_path: Path) -> None:
        assert await self.rejected(tmp_path, max_associations=1) == (2, 3, 2)

    async def test_too_many_of_one(self, tmp_path: Path) -> None:
        assert await self.rejected(tmp_path, max_associations_per_aet=1) == (2, 3, 2)

    async def test_draining(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, associate(gateway.call()) as before:
            gateway.services.draining = True
            with pytest.raises(AssociationRefused) as caught:
                async with associate(gateway.call()):
                    pass
            assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 1)
            assert await before.echo() == status.SUCCESS

    async def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            association = await gateway_call(gateway)
            context = association.context_for(CT)
            command = messages.c_store_request(7, CT, "1.2.3")
            association.association.send_data(context.id, True, command.encode(), True)
            association.association.send_data(context.id, False, bytes(2_000_000), False)
            association.link.flush()
            await until(lambda: begun(gateway.folder.layout.base))
            await association.abort()
            await until(lambda: not begun(gateway.folder.layout.base) and not gateway.acceptor.associations())
            assert stored(gateway) == {}
            assert gateway.blocks.available == 32


async def gateway_call(gateway: Intake) -> Requestor:
    return await Requestor.open(gateway.call(), BlockPool(4))


@pytest.mark.parametrize("keepers", [0, 1])
@pytest.mark.case("a data set that ends inside an element is refused with the place, C000")
async def test_what_is_cut_short_is_refused_with_its_place(
    tmp_path: Path, keepers: int, caplog: pytest.LogCaptureFixture
) -> None:
    data_set = instance(rows=600, columns=1000)
    data = encode(data_set, EXPLICIT)
    start = len(data) - 1_200_012
    async with asyncio.timeout(20), intake(tmp_path, keepers=keepers) as gateway:
        for size, words in [
            (60_000, f"cut short in (7FE0,0010) at offset {start}: {60_000 - start - 12} of "),
            (1_100_000, f"cut short in (7FE0,0010) at offset {start}: {1_100_000 - start - 12} "),
            (start + 6, f"cut short at offset {start + 6}, in the header of the element"),
        ]:
            code, comment = await send(gateway, data[:size], data_set.SOPInstanceUID)
            assert code == status.CANNOT_UNDERSTAND
            assert comment.startswith(words)
        assert stored(gateway) == {}
        assert await send(gateway, data, data_set.SOPInstanceUID) == (status.SUCCESS, "")
    caplog.clear()  # Its records name the sessions, which would keep the receive blocks open.


@pytest.mark.case("too little pixel data is kept, and answered with a warning, B007")
async def test_too_little_pixel_data_is_kept_with_a_warning(tmp_path: Path) -> None:
    data_set = instance(PixelData=bytes(400))
    data = encode(data_set, EXPLICIT)
    async with asyncio.timeout(20), intake(tmp_path) as gateway:
        for _ in range(2):  # the same again, too
            answer = await send(gateway, data, data_set.SOPInstanceUID)
            assert answer == (0xB007, "400 of 512 bytes of pixel data")
        assert stored(gateway) == {data_set.SOPInstanceUID: data}


async def test_what_is_kept_with_a_warning_is_not_counted_as_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    data_set = instance(PixelData=bytes(400))
    async with asyncio.timeout(20), intake(tmp_path) as gateway:
        assert (await send(gateway, encode(data_set, EXPLICIT), data_set.SOPInstanceUID))[0] == 0xB007
    (released,) = [record.getMessage() for record in caplog.records if "; received" in record.getMessage()]
    assert "received 1 instance of 1 study" in released
    assert released.endswith("; 0 instances refused")
