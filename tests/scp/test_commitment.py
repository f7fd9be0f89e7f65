"""Storage commitment over real sockets (PS3.4 Annex J): what we promise, whom we tell and how, whom we ask."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from gateway.dimse import commitment, status
from gateway.dimse.commitment import Outcome, Reference
from gateway.jobs import table
from gateway.jobs.table import Job
from gateway.net.requestor import associate
from gateway.net.session import Refusal
from gateway.scu.commitment import report_commitment, request_commitment
from gateway.scu.node import Node
from gateway.ul.items import RoleSelection
from gateway.ul.negotiation import TEMPORARY_CONGESTION
from gateway.workflow import commitment as archive
from gateway.workflow.queries import PROMISED_BELOW
from tests.support.datasets import EXPLICIT, IMPLICIT, encode, instance
from tests.support.intake import CT, Intake, file_intake, intake
from tests.support.processes import free_port
from tests.support.waiting import until
from tests.support.workflow import Peer, modality, peer, read_report, store

MR = "1.2.840.10008.5.1.4.1.1.4"
TRANSACTION = "1.2.3.4.5"


def with_ct(path: Path, listening: Peer, aet: str = "CT", name: str = "ct") -> AbstractAsyncContextManager[Intake]:
    """A gateway that knows the peer."""
    return intake(path, modalities={name: listening.modality(aet)})


async def the_job(gateway: Intake, state: str, error: str = "") -> Job:
    """The latest job, once it is in this state, with this in its last error."""

    async def look() -> Job | None:
        jobs = await table.list_jobs(gateway.folder.database)
        return jobs[0] if jobs and jobs[0].state == state and error in jobs[0].error else None

    found = await until(look)
    assert found is not None
    return found


def node(gateway: Intake, **changes: object) -> Node:
    host, port = gateway.acceptor.address
    return Node(**{"aet": "GATEWAY", "host": host, "port": port, "calling_aet": "TEST", **changes})  # type: ignore[arg-type]


class TestDeciding:
    """What is committed, and why something is not."""

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    async def test_what_is_stored(self, tmp_path: Path, syntax: str) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            references = await store(gateway, 3)
            async with modality(gateway, syntax) as asking:
                assert (await asking.commit(TRANSACTION, references)).status == status.SUCCESS
                outcome = await asking.report()
            assert outcome == Outcome(TRANSACTION, sorted(references))
            assert (await the_job(gateway, "done")).attempts == 1

    async def test_what_is_not_there(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            (known,) = await store(gateway)
            unknown = Reference(CT, "1.2.3.999")
            other_class = Reference(MR, (await store(gateway))[0].sop_instance_uid)
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, [known, unknown, other_class])
                outcome = await asking.report()
            assert outcome.committed == [known]
            assert dict(outcome.failed) == {
                unknown: commitment.NO_SUCH_INSTANCE,
                other_class: commitment.CLASS_INSTANCE_CONFLICT,
            }

    @pytest.mark.parametrize("damage", ["gone", "short"])
    async def test_the_file_is_looked_at_again(self, tmp_path: Path, damage: str) -> None:
        async with asyncio.timeout(20), file_intake(tmp_path) as gateway:
            whole, damaged = await store(gateway), await store(gateway)
            uid = damaged[0].sop_instance_uid
            ((_, _, key, _),) = await gateway.folder.database.fetch(archive.queries.stored_instances(1), uid, "")
            path = Path(gateway.folder.layout.stored(key))
            if damage == "gone":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:-1])
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, whole + damaged)
                outcome = await asking.report()
            assert outcome.committed == whole
            assert outcome.failed == [(damaged[0], commitment.PROCESSING_FAILURE)]

    async def test_one_instance_under_two_patients(self, tmp_path: Path) -> None:
        """Any whole one will do: which of them was meant, the request does not say."""
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            (reference,) = await store(gateway, SOPInstanceUID="1.2.3.7", PatientID="A")
            await store(gateway, SOPInstanceUID="1.2.3.7", PatientID="B")
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, [reference])
                assert (await asking.report()).committed == [reference]

    async def test_a_promise_is_kept_on_record(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path, commitment={"keep_days": 10}) as gateway:
            (reference,) = await store(gateway)

            async def promised() -> list[tuple[str, float]]:
                return await gateway.folder.database.fetch(PROMISED_BELOW["instance"], 1, time.time())

            assert await promised() == []
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, [reference])
                await asking.report()
            found = await gateway.context.use_cases.commitments.get(1)
            assert found is not None
            assert found.kept_until - found.decided_at == 864000
            assert await promised() == [(reference.sop_instance_uid, found.kept_until)]


class TestRequests:
    """N-ACTION that makes no sense, or comes again."""

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"instance": "1.2.3"}, status.NO_SUCH_SOP_INSTANCE),
            ({"action": 2}, status.NO_SUCH_ACTION_TYPE),
            ({"data": b""}, status.INVALID_ARGUMENT_VALUE),
            ({"data": b"nonsense"}, status.INVALID_ARGUMENT_VALUE),
        ],
    )
    async def test_refused(self, tmp_path: Path, changes: dict[str, object], code: int) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as asking:
            assert (await asking.commit(TRANSACTION, [Reference(CT, "1.2")], **changes)).status == code
            assert await table.list_jobs(gateway.folder.database) == []

    async def test_a_hostile_uid_names_nothing(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as asking:
            for uid in ("../x", "/abs", "..", "1" * 65, "1.2\\1.3"):
                answer = await asking.commit(TRANSACTION, [Reference(CT, uid)])
                assert answer.status == status.INVALID_ARGUMENT_VALUE

    async def test_asked_again(self, tmp_path: Path) -> None:
        """A modality that did not get our answer sends the same once more, and is told once more."""
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as asking:
            references = await store(gateway)
            for _ in range(2):
                await asking.commit(TRANSACTION, references)
                assert (await asking.report()).committed == references

    async def test_a_transaction_uid_in_use(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path, commitment={"report": "new"}) as gateway:
            first, second = await store(gateway), await store(gateway)
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, first)
                await asking.commit(TRANSACTION, second)
            outcome = await gateway.context.use_cases.commitments.outcome(2)
            assert outcome is not None
            assert outcome.failed == [(second[0], commitment.DUPLICATE_TRANSACTION_UID)]


class TestTelling:
    """N-EVENT-REPORT, on which association."""

    async def test_on_an_association_of_ours(self, tmp_path: Path) -> None:
        """With the SCP role proposed, and called what the modality called us."""
        async with asyncio.timeout(20), peer() as listening:
            settings = {"modalities": {"ct": listening.modality("CT")}, "commitment": {"report": "new"}}
            async with intake(tmp_path, **settings) as gateway:
                (reference,) = await store_as(gateway, "CT")
                async with modality(gateway, calling_aet="CT", called_aet="ARCHIVE") as asking:
                    await asking.commit(TRANSACTION, [reference])
                    report = read_report(await listening.messages.get())
                assert report.committed == [reference]
                (request,) = listening.requests
                assert (request.calling_aet, request.called_aet) == ("ARCHIVE", "CT")
                (role,) = request.user_information.roles
                assert (role.sop_class_uid, role.scu, role.scp) == (commitment.SOP_CLASS, False, True)
                await the_job(gateway, "done")

    async def test_when_the_modality_has_left(self, tmp_path: Path) -> None:
        """It asks, hears that we will see to it, and releases: the usual way."""
        async with asyncio.timeout(20), peer() as listening, with_ct(tmp_path, listening) as gateway:
            (reference,) = await store_as(gateway, "CT")
            async with modality(gateway, calling_aet="CT", report_status=None) as asking:
                await asking.commit(TRANSACTION, [reference])
            assert read_report(await listening.messages.get()).committed == [reference]
            await the_job(gateway, "done")

    async def test_when_the_association_refuses_the_report(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), peer() as listening, with_ct(tmp_path, listening) as gateway:
            (reference,) = await store_as(gateway, "CT")
            refused = status.UNRECOGNIZED_OPERATION
            async with modality(gateway, calling_aet="CT", report_status=refused) as asking:
                await asking.commit(TRANSACTION, [reference])
                assert (await asking.report()).committed == [reference]
                assert read_report(await listening.messages.get()).committed == [reference]
            await the_job(gateway, "done")

    async def test_tried_again_with_the_reason(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), peer() as listening:
            listening.status = status.PROCESSING_FAILURE
            settings = {"modalities": {"ct": listening.modality("CT")}, "commitment": {"report": "new"}}
            async with intake(tmp_path, **settings) as gateway:
                (reference,) = await store_as(gateway, "CT")
                async with modality(gateway, calling_aet="CT") as asking:
                    await asking.commit(TRANSACTION, [reference])
                await listening.messages.get()
                job = await the_job(gateway, "waiting", "0110H")
                listening.status = 0
                await gateway.folder.database.write(lambda: table.release_job(job.id, 1.0))
                gateway.jobs.notify()
                assert read_report(await listening.messages.get()).committed == [reference]
                await the_job(gateway, "done")

    async def test_somebody_who_cannot_be_called(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path, commitment={"report": "new"}) as gateway:
            references = await store(gateway)
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, references)
            await the_job(gateway, "waiting", "[modalities.NAME]")

    async def test_a_request_outlives_the_process(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), peer() as listening:
            modalities = {"ct": listening.modality("CT")}
            async with intake(tmp_path, modalities=modalities) as gateway:
                (reference,) = await store_as(gateway, "CT")
                await gateway.context.use_cases.commitments.open(TRANSACTION, [reference], "CT", "GATEWAY")
            assert listening.messages.empty()
            async with intake(tmp_path, modalities=modalities) as gateway:
                await gateway.context.use_cases.commitments.not_reported(1)
                assert read_report(await listening.messages.get()).committed == [reference]


class TestAsking:
    """As SCU, of another gateway."""

    async def test_a_report_on_the_same_association(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            references = [*await store(gateway), Reference(CT, "1.2.3.999")]
            outcome = await request_commitment(node(gateway), TRANSACTION, references, wait=10.0)
            assert outcome is not None
            assert outcome.committed == references[:1]
            assert outcome.failed == [(references[1], commitment.NO_SUCH_INSTANCE)]

    async def test_no_report_in_time(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path, commitment={"report": "new"}) as gateway:
            references = await store(gateway)
            assert await request_commitment(node(gateway), TRANSACTION, references, wait=0.05) is None

    async def test_a_destination_commits_first(self, tmp_path: Path) -> None:
        """What a modality is told waits for what the archive says; the archive has it only later."""
        async with asyncio.timeout(30), intake(tmp_path / "archive") as behind:
            host, port = behind.acceptor.address
            settings = {
                "modalities": {"ct": {"aet": "CT"}, "pacs": {"aet": "PACS", "host": host, "port": port}},
                "commitment": {"destinations": ["pacs"]},
            }
            async with peer() as listening, intake(tmp_path / "front", **settings) as gateway:
                gateway.configure(modalities={"ct": listening.modality("CT")})
                made = instance()
                (reference,) = await store_as(gateway, "CT", made)
                async with modality(gateway, calling_aet="CT") as asking:
                    await asking.commit(TRANSACTION, [reference])
                job = await the_job(gateway, "waiting")
                asked = gateway.folder.database.fetch
                await until(lambda: asked(archive.queries.ASKED_OF, 1, "pacs"))
                await store_made(behind, made)
                archive_answer = await gateway.context.use_cases.commitments.ask("pacs", [reference], cause=1)
                assert archive_answer is not None
                assert archive_answer.committed == [reference]
                assert read_report(await listening.messages.get()).committed == [reference]
                assert job.id == (await the_job(gateway, "done")).id

    async def test_a_destination_that_never_has_it(self, tmp_path: Path) -> None:
        async with asyncio.timeout(30), intake(tmp_path / "archive") as behind:
            host, port = behind.acceptor.address
            settings = {
                "modalities": {"ct": {"aet": "TEST"}, "pacs": {"aet": "PACS", "host": host, "port": port}},
                "commitment": {"destinations": ["pacs"], "patience": 0.001},
            }
            async with intake(tmp_path / "front", **settings) as gateway:
                references = await store(gateway)
                async with modality(gateway) as asking:
                    await asking.commit(TRANSACTION, references)
                    outcome = await asking.report()
                assert outcome.failed == [(references[0], commitment.NO_SUCH_INSTANCE)]

    async def test_a_destination_that_is_not_there(self, tmp_path: Path) -> None:
        """Tried again until patience is over; then the modality is told that nothing is committed."""
        modalities = {"pacs": {"aet": "PACS", "host": "127.0.0.1", "port": free_port()}}
        settings = {"modalities": {"ct": {"aet": "TEST"}, **modalities}, "commitment": {"destinations": ["pacs"]}}
        async with asyncio.timeout(30), intake(tmp_path, **settings) as gateway:
            references = await store(gateway)
            async with modality(gateway) as asking:
                await asking.commit(TRANSACTION, references)
                await the_job(gateway, "waiting", "no connection")
                gateway.configure(commitment={"destinations": ["pacs"], "patience": 1e-6})
                await asking.commit("1.2.3.4.6", references)
                outcome = await asking.report()
                assert outcome.transaction_uid == "1.2.3.4.6"
                assert outcome.failed == [(references[0], commitment.PROCESSING_FAILURE)]

    @pytest.mark.parametrize(
        ("trouble", "why"),
        [
            ("refuses", "rejected for now"),
            ("never accepts", "no answer to our request in 0.1 s"),
            ("never answers", "did not answer N-ACTION-RQ within 0.1 s"),
            ("aborts", "PACS: "),
        ],
    )
    async def test_a_destination_in_trouble(self, tmp_path: Path, trouble: str, why: str) -> None:
        """Nobody waits for it, nothing is left of it, and in the end the modality hears that nothing is committed."""
        async with asyncio.timeout(30), peer() as pacs:
            pacs.refusal = Refusal(TEMPORARY_CONGESTION, "busy") if trouble == "refuses" else None
            pacs.silent = trouble == "never accepts"
            pacs.status = None
            pacs.aborts = trouble == "aborts"
            modalities = {
                "ct": {"aet": "TEST"},
                "pacs": pacs.modality("PACS", association_timeout=0.1, response_timeout=0.1),
            }
            settings = {"modalities": modalities, "commitment": {"destinations": ["pacs"]}}
            async with intake(tmp_path, **settings) as gateway, modality(gateway) as asking:
                references = await store(gateway)
                assert (await asking.commit(TRANSACTION, references)).status == status.SUCCESS
                await store(gateway, 3)
                await the_job(gateway, "waiting", why)
                gateway.configure(commitment={"destinations": ["pacs"], "patience": 1e-6})
                await asking.commit("1.2.3.4.6", references)
                outcome = await asking.report()
                assert outcome.transaction_uid == "1.2.3.4.6"
                assert outcome.failed == [(references[0], commitment.PROCESSING_FAILURE)]
            await until(lambda: not pacs.acceptor.associations())

    async def test_a_report_on_an_association_of_the_archive(self, tmp_path: Path) -> None:
        async with asyncio.timeout(30), intake(tmp_path / "archive", commitment={"report": "new"}) as behind:
            host, port = behind.acceptor.address
            modalities = {"pacs": {"aet": "PACS", "host": host, "port": port}}
            async with intake(tmp_path / "front", modalities=modalities) as gateway:
                back_host, back_port = gateway.acceptor.address
                behind.configure(modalities={"front": {"aet": "GATEWAY", "host": back_host, "port": back_port}})
                made = instance()
                await store_made(behind, made, "GATEWAY")
                reference = Reference(CT, str(made.SOPInstanceUID))
                archive.WAIT_ON_ASSOCIATION, before = 0.01, archive.WAIT_ON_ASSOCIATION
                try:
                    assert await gateway.context.use_cases.commitments.ask("pacs", [reference]) is None
                finally:
                    archive.WAIT_ON_ASSOCIATION = before

                async def reported() -> bool:
                    found = await gateway.context.use_cases.commitments.get(1)
                    return found is not None and found.state == "reported"

                await until(reported)
                items = await gateway.folder.database.fetch(archive.queries.COMMITMENT_ITEMS, 1)
                assert items == [(CT, reference.sop_instance_uid, archive.COMMITTED)]

    @pytest.mark.parametrize(
        ("transaction", "calling", "code"),
        [("1.9.9", "PACS", status.INVALID_ARGUMENT_VALUE), (None, "OTHER", status.NOT_AUTHORIZED)],
    )
    async def test_reports_that_nobody_asked_for(
        self, tmp_path: Path, transaction: str | None, calling: str, code: int
    ) -> None:
        """Whoever could make us believe that an archive has committed could make a modality delete."""
        async with asyncio.timeout(20), peer() as pacs, with_ct(tmp_path, pacs, "PACS", "pacs") as gateway:
            gateway.configure(modalities={"other": {"aet": "OTHER"}})
            reference = Reference(CT, "1.2.3")
            archive.WAIT_ON_ASSOCIATION, before = 0.0, archive.WAIT_ON_ASSOCIATION
            try:
                await gateway.context.use_cases.commitments.ask("pacs", [reference])
            finally:
                archive.WAIT_ON_ASSOCIATION = before
            found = await gateway.context.use_cases.commitments.get(1)
            assert found is not None
            outcome = Outcome(transaction or found.transaction_uid, [reference])
            with pytest.raises(Exception, match=f"{code:04X}H"):
                await report_commitment(node(gateway, calling_aet=calling), outcome)
            assert (await gateway.context.use_cases.commitments.get(1)) == found


async def store_as(gateway: Intake, aet: str, made: object = None) -> list[Reference]:
    source = made or instance()
    await store_made(gateway, source, aet)
    return [Reference(CT, str(source.SOPInstanceUID))]  # type: ignore[attr-defined]


async def store_made(gateway: Intake, made: object, aet: str = "TEST") -> None:
    async with associate(gateway.call(calling_aet=aet)) as association:
        context = association.context_for(CT)
        uid = made.SOPInstanceUID  # type: ignore[attr-defined]
        assert (await association.store(context, uid, [encode(made, EXPLICIT)])).status == 0  # type: ignore[arg-type]


async def test_the_role_of_the_scp_is_granted(tmp_path: Path) -> None:
    """Who reports to us proposes to be the SCP (PS3.7 D.3.3.4)."""
    role = RoleSelection(commitment.SOP_CLASS, scu=False, scp=True)
    async with (
        asyncio.timeout(20),
        intake(tmp_path) as gateway,
        associate(gateway.call((commitment.SOP_CLASS, [EXPLICIT]), roles=[role])) as association,
    ):
        (context,) = association.contexts.values()
        assert (context.as_scu, context.as_scp) == (False, True)
