"""UIDs and AE titles that would be paths, to every service: the right status, nothing outside of the data folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dimse import commitment, messages, status
from gateway.dimse.commitment import Reference
from gateway.net.requestor import Requestor, associate
from gateway.net.requests import Response
from tests.support.datasets import CT, EXPLICIT, encode, instance
from tests.support.intake import Intake, intake
from tests.support.workflow import MPPS, WORKLIST, modality

UIDS = ("../x", "/abs", "..", "../" * 20 + "x", "1.2/../3", "1" * 65, "1.2\\../x", "a" * 64, "1.2.3\0/x")
FIND, MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
TAGS = {"STUDY": 0x0020000D, "SERIES": 0x0020000E, "IMAGE": 0x00080018}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """The data folder, deep enough for `..`; nothing beside it changes, and no name in it is a peer's."""
    data = tmp_path / "a" / "b" / "data"
    data.mkdir(parents=True)
    yield data
    assert [path for path in tmp_path.rglob("*") if not path.is_relative_to(data)] == [tmp_path / "a", data.parent]
    assert not [path for path in data.rglob("*") if path.name in ("x", "abs", "1.2", "3") or ".." in path.name]
    assert not Path("/abs").exists()


@asynccontextmanager
async def calling(data: Path, **changes: object) -> AsyncIterator[tuple[Intake, Requestor]]:
    contexts = [(uid, [EXPLICIT]) for uid in (FIND, MOVE, GET, CT)]
    async with asyncio.timeout(30), intake(data) as gateway, associate(gateway.call(*contexts, **changes)) as at:
        yield gateway, at


def identifier(level: str, uid: str) -> bytes:
    keys: DataSet = {0x00080052: Attribute("CS", [level])}
    for name, tag in TAGS.items():
        keys[tag] = Attribute("UI", [uid if name == level else "1.1"])
        if name == level:
            break
    return encode_data_set(keys, EXPLICIT)


@pytest.mark.parametrize("uid", UIDS)
async def test_store(outside: Path, uid: str) -> None:
    """In the command, in the data set, in both: refused unless it is a UID; what it names is never a path."""
    async with calling(outside) as (gateway, at):
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            for command in (uid, "1.2.3"):
                made = instance(SOPInstanceUID="1.2.3" + ".4" * 29)
                before = str(made[keyword].value)
                data = encode(made, EXPLICIT).replace(
                    before.encode(), uid.encode()[: len(before)].ljust(len(before), b"\0")
                )
                answer = await at.store(at.context_for(CT), command, [data])
                assert answer.status in (status.SUCCESS, status.INVALID_SOP_INSTANCE) or answer.status >= 0xA900
                assert command != uid or answer.status != status.SUCCESS
        keys = list(gateway.folder.store.keys())
        assert all(len(key) == 26 for key in keys)


@pytest.mark.parametrize("level", TAGS)
@pytest.mark.parametrize("uid", UIDS)
async def test_find_move_and_get(outside: Path, level: str, uid: str) -> None:
    """Nothing is found under it, or the identifier is not taken (A900); never anything else."""
    async with calling(outside) as (_, at):
        number = at.next_message_id
        data = identifier(level, uid)
        answers: list[Response] = [
            await at.request(at.context_for(FIND), messages.c_find_request(number(), FIND), [data], timeout=10),
            await at.request(at.context_for(GET), messages.c_get_request(number(), GET), [data], timeout=10),
            await at.request(at.context_for(MOVE), messages.c_move_request(number(), MOVE, "X"), [data], timeout=10),
        ]
    found, got, moved = (answer.status for answer in answers)
    assert {found, got} <= {status.SUCCESS, status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS}
    assert moved in (status.MOVE_DESTINATION_UNKNOWN, status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS)


@pytest.mark.parametrize("aet", ["../x", "/abs", "..", "x\0y"])
async def test_a_move_destination(outside: Path, aet: str) -> None:
    async with calling(outside) as (_, at):
        command = messages.c_move_request(at.next_message_id(), MOVE, aet)
        answer = await at.request(at.context_for(MOVE), command, [identifier("STUDY", "1.1")], timeout=10)
    assert answer.status == status.MOVE_DESTINATION_UNKNOWN


@pytest.mark.parametrize("aet", ["../x", "/abs", "..", "../../../../../x"])
async def test_a_caller(outside: Path, aet: str) -> None:
    """What it stores goes where everything goes; what it is called stands in the file and the log only."""
    async with calling(outside, calling_aet=aet, called_aet=aet) as (_, at):
        made = instance()
        answer = await at.store(at.context_for(CT), str(made.SOPInstanceUID), [encode(made, EXPLICIT)])
        assert answer.status == status.SUCCESS


@pytest.mark.parametrize("uid", UIDS)
async def test_commit(outside: Path, uid: str) -> None:
    async with asyncio.timeout(30), intake(outside) as gateway, modality(gateway) as at:
        asked = await at.commit("1.2.3.4", [Reference(CT, uid)])
        if asked.status == status.SUCCESS:
            outcome = await at.report()
            assert not outcome.committed
            assert {reason for _, reason in outcome.failed} == {commitment.NO_SUCH_INSTANCE}
        assert (await at.commit(uid, [Reference(CT, "1.2.3")])).status != status.SUCCESS or set(uid) <= set("1.")


@pytest.mark.parametrize("uid", UIDS)
async def test_worklist_and_steps(outside: Path, uid: str) -> None:
    async with asyncio.timeout(30), intake(outside) as gateway, modality(gateway) as at:
        context = at.association.context_for(WORKLIST)
        data = encode_data_set({TAGS["STUDY"]: Attribute("UI", [uid])}, EXPLICIT)
        command = messages.c_find_request(at.association.next_message_id(), WORKLIST)
        answer = await at.association.request(context, command, [data])
        assert answer.status in (status.SUCCESS, status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS)
        begun = Dataset()
        begun.PerformedProcedureStepStatus = "IN PROGRESS"
        number = at.association.next_message_id
        assert (await at.send(messages.n_create_request(number(), MPPS, uid), begun)).status in (
            status.INVALID_SOP_INSTANCE,
            status.SUCCESS,
        )
        assert (await at.send(messages.n_set_request(number(), MPPS, uid), begun)).status != 0 or set(uid) <= set("1.")
