"""Tenants over DICOM: whose a caller is, whose is what it stores, and what it finds and moves of others: nothing.

Both tenants have a study with the same Patient ID and UIDs, and other names.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.deletion import Removal
from gateway.config.roles import Role
from gateway.database.database import Query, Script
from gateway.database.view import seeing
from gateway.dicom.part10 import read_header
from gateway.dimse import commitment, status
from gateway.dimse.commitment import Reference
from gateway.errors import AssociationRefused, BadRequest, RetainedByCommitment
from gateway.index.identity import owned, public_id
from gateway.index.queries.annotations import EXISTS
from gateway.index.queries.store import LIST_FILES
from gateway.index.visibility import visible
from gateway.net.requestor import associate
from gateway.scp.query import STUDY_ROOT_FIND
from gateway.scp.worklist import SOP_CLASS as WORKLIST
from gateway.ul.items import RoleSelection
from gateway.ul.negotiation import CALLED_AE_TITLE_NOT_RECOGNIZED
from gateway.workflow.queries import stored_instances
from tests.scp.test_mpps import begun, ended, forwards, statuses
from tests.scp.test_query import find
from tests.scp.test_retrieve import (
    STUDY_GET,
    STUDY_MOVE,
    gateway_and,
    identifier,
    instances,
    numbers,
    responses_to,
    store,
)
from tests.scp.test_worklist import add, item, query, step
from tests.support.datasets import CT, EXPLICIT
from tests.support.destination import Destination, Taking
from tests.support.intake import Intake
from tests.support.waiting import until
from tests.support.workflow import modality, peer, read_report

pytestmark = pytest.mark.case("tenants: what is another tenant's is not there")

ROLES = {name: {"permissions": ["all"], "tenant": name} for name in ("a", "b")}
TENANTS: dict[str, Any] = {"a": {"aets": ["CLINICA"]}, "b": {"aets": ["CLINICB"]}}
SECTIONS: dict[str, Any] = {"tenants": TENANTS, "roles": ROLES}


@asynccontextmanager
async def clinics(path: Path, target: Destination | None = None) -> AsyncIterator[Intake]:
    """A gateway with the studies of both, each stored by a modality of its tenant."""
    async with gateway_and(path, target, **SECTIONS) as gateway:
        port = gateway.settings.modalities["dest"].port
        dest = {"aet": "DEST", "host": "127.0.0.1", "port": port, "response_timeout": 5.0}
        modalities: dict[str, Any] = {
            "dest": {**dest, "tenant": "a"},
            "cta": {"aet": "CTA", "roles": ["a"]},
            "ctb": {"aet": "CTB", "roles": ["b"]},
            "test": {"aet": "TEST"},
        }
        gateway.configure(modalities=modalities)
        for caller, name in (("CTA", "Own"), ("CTB", "Other")):
            await store(gateway, instances(2, PatientID="P1", PatientName=name), calling_aet=caller)
        yield gateway


async def names(gateway: Intake, calling: str, called: str = "GATEWAY") -> list[str]:
    """The patients of all studies that are found."""
    call = gateway.call((STUDY_ROOT_FIND, [EXPLICIT]), calling_aet=calling, called_aet=called)
    async with associate(call) as association:
        found = await find(association, {"PatientName": "", "StudyInstanceUID": "", "PatientID": "P1"})
    assert found.status == status.SUCCESS
    return sorted(found.values("PatientName"))


async def test_find(tmp_path: Path) -> None:
    async with clinics(tmp_path) as gateway:
        assert await names(gateway, "CTA") == ["Own"]
        assert await names(gateway, "CTB") == ["Other"]
        assert await names(gateway, "TEST") == ["Other", "Own"]


async def test_the_title_that_is_called(tmp_path: Path) -> None:
    """A caller above all tenants meets the one whose title it calls; that of another is refused."""
    async with clinics(tmp_path) as gateway:
        assert await names(gateway, "CTA", "CLINICA") == ["Own"]
        assert await names(gateway, "TEST", "CLINICA") == ["Own"]
        assert await names(gateway, "TEST", "CLINICB") == ["Other"]
        with pytest.raises(AssociationRefused) as caught:
            await names(gateway, "CTA", "CLINICB")
        refusal = caught.value
        assert (refusal.result, refusal.source, refusal.reason) == CALLED_AE_TITLE_NOT_RECOGNIZED
        await store(gateway, instances(1, "1.7", PatientID="P1", PatientName="Third"), called_aet="CLINICB")
        assert await names(gateway, "CTB") == ["Other", "Third"]
        assert await names(gateway, "CTA") == ["Own"]


async def test_get_and_move(tmp_path: Path) -> None:
    """Each gets its own, and moves it to a destination of its own alone."""
    target = Destination()
    async with clinics(tmp_path, target) as gateway:
        for calling, text in (("CTA", b"Own"), ("CTB", b"Other")):
            taking, selection = Taking(), [RoleSelection(CT, scu=False, scp=True)]
            got = gateway.call((STUDY_GET, [EXPLICIT]), (CT, [EXPLICIT]), calling_aet=calling, roles=selection)
            async with associate(got, handler=taking.handler) as association:
                *_, last = await responses_to(association, STUDY_GET, identifier(level="STUDY", study="1.1"))
            assert numbers(last) == (status.SUCCESS, None, 2, 0, 0)
            assert all(text in data for data in taking.received.values())
        async with associate(gateway.call((STUDY_MOVE, [EXPLICIT]), calling_aet="CTA")) as association:
            *_, moved = await responses_to(association, STUDY_MOVE, identifier(level="STUDY", study="1.1"))
        assert numbers(moved) == (status.SUCCESS, None, 2, 0, 0)
        assert all(b"Own" in data for data in target.received.values())
        target.messages.clear()
        async with associate(gateway.call((STUDY_MOVE, [EXPLICIT]), calling_aet="CTB")) as association:
            *_, moved = await responses_to(association, STUDY_MOVE, identifier(level="STUDY", study="1.1"))
        assert moved.status == 0xA801
        assert target.messages == []


async def test_identity_and_files(tmp_path: Path) -> None:
    """The same identifiers are two patients with public ids of their own; the file names the tenant."""
    async with clinics(tmp_path) as gateway:
        for tenant in ("a", "b"):
            database = gateway.folder.database
            assert await database.fetch(EXISTS["patient"], public_id(owned("P1", tenant)))
        rows = await gateway.folder.database.fetch(LIST_FILES, "", 10)
        tenants = []
        for key, _size in rows:
            stored = gateway.folder.store.open(key)
            tenants.append(read_header(stored.read).tenant)
            stored.close()
        assert sorted(tenants) == ["a", "a", "b", "b"]


async def scheduled(gateway: Intake, calling: str, called: str = "GATEWAY") -> list[str]:
    """The patients of the worklist that is found."""
    async with modality(gateway, calling_aet=calling, called_aet=called) as asking:
        answers, final = await asking.find(query())
    assert final.status == status.SUCCESS
    return sorted(str(each.PatientName) for each in answers)


@asynccontextmanager
async def departments(path: Path, **sections: Any) -> AsyncIterator[tuple[Intake, dict[str, str]]]:
    """A gateway with an item of each tenant and one of none, all of the same study and step; their ids by patient."""
    items = {}
    async with clinics(path) as gateway:
        gateway.configure(**sections) if sections else None
        for name, tenant in (("Own", "a"), ("Other", "b"), ("House", "")):
            view = visible([Role(permissions=("all",), tenant=tenant)]) if tenant else None
            with seeing(view):
                (items[name],) = await add(gateway, item(step(), PatientName=name, StudyInstanceUID="1.2.3"))
        yield gateway, items


async def test_worklist(tmp_path: Path) -> None:
    async with departments(tmp_path) as (gateway, _items):
        assert await scheduled(gateway, "CTA") == ["Own"]
        assert await scheduled(gateway, "CTB") == ["Other"]
        assert await scheduled(gateway, "TEST", "CLINICA") == ["Own"]
        assert await scheduled(gateway, "TEST") == ["House", "Other", "Own"]


async def test_worklist_for_some_studies_of_a_tenant(tmp_path: Path) -> None:
    """Is no permission that such a role gives."""
    limited = {**ROLES, "a": {**ROLES["a"], "labels": ["x"]}}
    async with departments(tmp_path, roles=limited) as (gateway, _items):
        call = gateway.call((WORKLIST, [EXPLICIT]), (CT, [EXPLICIT]), calling_aet="CTA")
        async with associate(call) as association:
            assert [each.abstract_syntax for each in association.contexts.values()] == [CT]


async def test_folders_of_tenants(tmp_path: Path) -> None:
    """The same name in each is an item of each; a folder that cannot be read costs no items, of nobody."""
    folders = {name: tmp_path / f"worklist-{name}" for name in ("a", "b")}
    for name, folder in folders.items():
        folder.mkdir()
        text = json.dumps(item(PatientName=f"File {name}").to_json_dict())
        (folder / "1.json").write_text(text)
    tenants = {name: {**TENANTS[name], "worklist_folder": str(folder)} for name, folder in folders.items()}
    async with clinics(tmp_path / "data") as gateway:
        gateway.configure(tenants=tenants)
        folder = gateway.context.use_cases.worklists.folders
        assert await scheduled(gateway, "CTA") == ["File a"]
        assert await scheduled(gateway, "TEST") == ["File a", "File b"]
        folders["a"].rename(tmp_path / "away")
        (folders["b"] / "1.json").unlink()
        folder._scanned_at = float("-inf")
        assert await scheduled(gateway, "CTB") == []
        assert await scheduled(gateway, "CTA") == ["File a"]


async def test_performed_steps(tmp_path: Path) -> None:
    """The same UID is a step of each; it moves the items of its tenant, and goes to systems of its tenant."""
    async with departments(tmp_path, mpps={"forward": ["dest", "ctb"]}) as (gateway, items):
        for calling in ("CTA", "CTB"):
            async with modality(gateway, calling_aet=calling) as asking:
                assert (await asking.create("1.9", begun())).status == status.SUCCESS
        async with modality(gateway, calling_aet="CTB") as asking:
            assert (await asking.set("1.9", ended())).status == status.SUCCESS
            assert (await asking.create("1.10", begun(study="1.2.99"))).status == status.SUCCESS
        async with modality(gateway, calling_aet="CTA") as asking:
            assert (await asking.set("1.10", ended())).status == status.NO_SUCH_SOP_INSTANCE
        found = {name: await statuses(gateway, public_id) for name, public_id in items.items()}
        assert found == {"Own": ["STARTED"], "Other": ["COMPLETED"], "House": ["SCHEDULED"]}
        with seeing(visible([Role(permissions=("all",), tenant="a")])):
            assert [each.uid for each in await gateway.context.use_cases.steps.page()] == ["1.9"]
            assert list(await forwards(gateway, "1.9")) == ["dest"]


async def test_a_step_of_several_tenants(tmp_path: Path) -> None:
    """Who is above the tenants says whose is meant: no step of another is changed, shown or removed in its place."""
    async with clinics(tmp_path) as gateway:
        steps = gateway.context.use_cases.steps
        for calling in ("CTA", "CTB"):
            async with modality(gateway, calling_aet=calling) as asking:
                assert (await asking.create("1.9", begun())).status == status.SUCCESS
        async with modality(gateway) as asking:
            assert (await asking.set("1.9", ended())).status == status.PROCESSING_FAILURE
        for ask in (steps.get, steps.remove):
            with pytest.raises(BadRequest, match="name one with"):
                await ask("1.9")
        assert (await steps.get("1.9", "b")).tenant == "b"
        await steps.remove("1.9", "b")
        async with modality(gateway) as asking:
            assert (await asking.create("1.9", begun())).status == status.SUCCESS
            assert (await asking.set("1.9", ended())).status == status.SUCCESS
        assert {each.tenant: each.state for each in await steps.page()} == {"a": "IN PROGRESS", "": "COMPLETED"}
        assert (await steps.get("1.9")).tenant == ""


class TestCommitment:
    """Both have the instance 1.1.1.1; what one is promised of it is nothing to the other."""

    async def test_is_of_own_instances(self, tmp_path: Path) -> None:
        async with clinics(tmp_path) as gateway:
            await store(gateway, instances(1, "1.8", PatientID="P1", PatientName="Own"), calling_aet="CTA")
            for calling, committed in (("CTA", ["1.1.1.1", "1.8.1.1"]), ("CTB", ["1.1.1.1"])):
                async with modality(gateway, calling_aet=calling) as asking:
                    await asking.commit("1.2.3.4", [Reference(CT, "1.1.1.1"), Reference(CT, "1.8.1.1")])
                    outcome = await asking.report()
                assert [each.sop_instance_uid for each in outcome.committed] == committed
                failed = {each.sop_instance_uid: reason for each, reason in outcome.failed}
                assert set(failed.values()) <= {commitment.NO_SUCH_INSTANCE}
                assert sorted((*failed, *committed)) == ["1.1.1.1", "1.8.1.1"]
                await until(lambda: not gateway.context.tasks)

    async def test_retains_no_instance_of_others(self, tmp_path: Path) -> None:
        """Nor does a listing of promises show them."""
        async with clinics(tmp_path) as gateway:
            async with modality(gateway, calling_aet="CTA") as asking:
                await asking.commit("1.2.3.4", [Reference(CT, "1.1.1.1")])
                assert (await asking.report()).committed
            await until(lambda: not gateway.context.tasks)
            database, removal = gateway.folder.database, Removal(gateway.ingest)
            for tenant, promised in (("a", 1), ("b", 0)):
                role = Role(permissions=("all",), tenant=tenant)
                with seeing(visible([role])):
                    for table in ("commitments", "commitment_items"):
                        query = Query("count", f"SELECT COUNT(*) FROM {table}")
                        assert await database.fetch(query) == [(promised,)]
            with seeing(visible([Role(permissions=("all",), tenant="b")])):
                assert (await removal.by_uid(["1.1"])).instances == 2
            with seeing(visible([Role(permissions=("all",), tenant="a")])), pytest.raises(RetainedByCommitment):
                await removal.by_uid(["1.1"])

    async def test_looks_at_own_files(self, tmp_path: Path) -> None:
        """Another tenant's whole file of the same UID does not stand in for a lost one."""
        async with clinics(tmp_path) as gateway:
            with seeing(visible([Role(permissions=("all",), tenant="a")])):
                rows = await gateway.folder.database.fetch(stored_instances(1), "1.1.1.1", "a")
            ((_uid, _sop_class, key, _size),) = rows

            def lengthen() -> Script[None]:
                yield Query("lengthen", "UPDATE instances SET size = size + 1 WHERE key = $1"), (key,)

            await gateway.folder.database.write(lengthen)
            for calling, reasons in (("CTA", [commitment.PROCESSING_FAILURE]), ("CTB", [])):
                async with modality(gateway, calling_aet=calling) as asking:
                    await asking.commit("1.2.3.5", [Reference(CT, "1.1.1.1")])
                    outcome = await asking.report()
                assert [reason for _each, reason in outcome.failed] == reasons
                await until(lambda: not gateway.context.tasks)

    async def test_takes_no_transaction_uid_of_another(self, tmp_path: Path) -> None:
        """Both have a modality of the same title, and ask under the same UID while the first request is open."""
        async with clinics(tmp_path) as gateway:
            commitments, asked = gateway.context.use_cases.commitments, Reference(CT, "1.1.1.1")
            for tenant, references in (("a", [asked]), ("b", [asked, Reference(CT, "1.1.2.2")])):
                with seeing(visible([Role(permissions=("all",), tenant=tenant)])):
                    number = await commitments.open("1.2.3.6", references, "CT", "GATEWAY")
                outcome = await commitments.outcome(number)
                assert outcome is not None
                assert not outcome.failed

    async def test_is_reported_to_nobody_else(self, tmp_path: Path) -> None:
        """A modality of the same title that is another tenant's hears of nothing."""
        async with clinics(tmp_path) as gateway, peer() as own, peer() as other:
            gateway.configure(
                modalities={
                    "other": {**other.modality("CT"), "roles": ["b"]},
                    "own": {**own.modality("CT"), "roles": ["a"]},
                }
            )
            commitments = gateway.context.use_cases.commitments
            with seeing(visible([Role(permissions=("all",), tenant="a")])):
                number = await commitments.open("1.2.3.7", [Reference(CT, "1.1.1.1")], "CT", "GATEWAY")
            await commitments.not_reported(number)
            assert read_report(await own.messages.get()).transaction_uid == "1.2.3.7"
            assert other.messages.empty()
