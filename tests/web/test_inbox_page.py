"""gateway/web/pages/deposit and inbox: what outsiders may with a link, and what becomes of what they upload."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse, FormData

from gateway.audit.table import AuditFilter, search
from gateway.config import Http, User
from gateway.config.destinations import FolderDestination
from gateway.config.roles import Role
from gateway.forwarding.control import Selection
from gateway.index.identity import public_id
from gateway.web.pages import inbox as inbox_page
from tests.support.remote import file_of, numbered
from tests.support.sign_in import ADMIN, by_password, origin, signed_in
from tests.support.web import House, archive

STUDY = public_id("P1", "1.2.3")
ANN = by_password("ann")
LIMITED = User(name="rob", password=ADMIN.password, roles=("seen",))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with archive(tmp_path) as made:
        made.http = Http(users=(ADMIN, LIMITED))
        made.roles = {"seen": Role(permissions=("view",), without_labels=("inbox",))}
        yield made


async def csrf(gateway: House) -> dict[str, str]:
    """The field of a form of Ann's page: an outsider's cookie may be there too."""
    found = re.search(r'name="csrf" value="(\w*)"', await inbox(gateway))
    assert found is not None
    return {"csrf": found[1]}


async def made_link(gateway: House, **fields: str) -> str:
    """The path of a new link."""
    form = {"name": "Practice X", "days": "3", **await csrf(gateway), **fields}
    answer = await gateway.client.post("/ui/inbox/links", data=form, headers=ANN)
    assert answer.status == 200, await answer.text()
    found = re.search(r'<code id="link">http://[^/]*(/ui/deposit\?token=[^<]*)</code>', await answer.text())
    assert found is not None
    return found[1]


async def opened(gateway: House, **fields: str) -> None:
    """The client has the session of an outsider."""
    answer = await gateway.client.get(await made_link(gateway, **fields))
    assert (answer.status, str(answer.url.relative())) == (200, "/ui/deposit")


async def deposit(gateway: House, data: bytes) -> list[tuple[str, str]]:
    answer = await gateway.client.post("/ui/deposit/file", data=data, headers=origin(gateway))
    assert answer.status == 200, await answer.text()
    return [(each["Status"], each["Study"]) for each in (await answer.json())["Files"]]


async def inbox(gateway: House) -> str:
    return await (await gateway.client.get("/ui/inbox", headers=ANN)).text()


async def decide(gateway: House, what: str, study: str = STUDY) -> ClientResponse:
    form = {"study": study, **await csrf(gateway)}
    return await gateway.client.post(f"/ui/inbox/{what}", data=form, headers=ANN, allow_redirects=False)


async def instances(gateway: House, name: str = "ann") -> int:
    answer = await gateway.client.get("/instances", headers=by_password(name))
    return len(await answer.json())


class TestOutsider:
    async def test_uploads_and_sees_nothing(self, gateway: House) -> None:
        await opened(gateway)
        assert await deposit(gateway, file_of(numbered(1))) == [("stored", "")]
        page = await (await gateway.client.get("/ui/deposit")).text()
        assert "Doe" not in page
        assert 'class="pages"' not in page or "<a" not in page.partition('class="pages"')[2].partition("</nav>")[0]
        assert "Doe" not in await (await gateway.client.get("/ui/")).text()
        for path in ("/studies", "/instances", "/statistics", f"/studies/{STUDY}", "/dicom-web/studies", "/changes"):
            assert (await gateway.client.get(path)).status == 403, path
        for path in ("/ui/upload", "/ui/inbox", "/ui/jobs", "/ui/query"):
            assert (await gateway.client.get(path)).status == 403, path
        answer = await gateway.client.post("/instances", data=file_of(numbered(2)), headers=origin(gateway))
        assert answer.status == 403

    async def test_is_not_told_what_is_here(self, gateway: House) -> None:
        data = file_of(numbered(1))
        await gateway.client.post("/instances", data=data, headers=ANN)
        await opened(gateway)
        assert await deposit(gateway, data) == [("stored", "")]
        assert "Nothing waits" in await inbox(gateway), "what was here is not taken for the outsider's"
        assert await (await gateway.client.get("/tools/labels", headers=ANN)).json() == []

    async def test_by_a_form(self, gateway: House) -> None:
        await opened(gateway)
        form = FormData()
        form.add_field("file", file_of(numbered(1)), filename="a.dcm")
        form.add_field("file", b"text", filename="b.txt")
        page = await (await gateway.client.post("/ui/deposit", data=form, headers=origin(gateway))).text()
        assert dict(re.findall(r'data-status="(\w+)">(\d+)<', page))["stored"] == "1"
        assert "b.txt" in page
        assert "1 instance waits" in await inbox(gateway)

    async def test_a_link_that_is_used_up_or_revoked(self, gateway: House) -> None:
        path = await made_link(gateway, uses="1")
        assert (await gateway.client.get(path)).status == 200
        gateway.client.session.cookie_jar.clear()
        assert (await gateway.client.get(path, headers={"Accept": "text/html,*/*;q=0.8"})).status == 401
        path = await made_link(gateway)
        (await gateway.client.get(path)).close()
        assert len(await deposit(gateway, file_of(numbered(1)))) == 1
        token = re.findall(r'name="id" value="(\w+)"', await inbox(gateway))[-1]
        await gateway.client.post("/ui/inbox/revoke", data={"id": token, **await csrf(gateway)}, headers=ANN)
        answer = await gateway.client.post("/ui/deposit/file", data=b"x", headers=origin(gateway))
        assert answer.status == 401

    async def test_ends_with_the_right_of_its_maker(self, gateway: House) -> None:
        await opened(gateway)
        gateway.http = Http(users=(User(name="ann", password=ADMIN.password, roles=("view",)),))
        answer = await gateway.client.post("/ui/deposit/file", data=b"x", headers=origin(gateway))
        assert answer.status == 403

    async def test_replaces_nothing(self, tmp_path: Path) -> None:
        async with archive(tmp_path / "other", duplicates="overwrite") as gateway:
            gateway.http = Http(users=(ADMIN,))
            answer = await gateway.client.post("/ui/inbox/links", data={"name": "x", "days": "1"}, headers=ANN)
            assert answer.status == 403
            answer = await gateway.client.post("/ui/deposit/file", data=file_of(numbered(1)), headers=ANN)
            assert answer.status == 403


class TestInbox:
    async def test_waits_and_is_accepted(self, gateway: House) -> None:
        await opened(gateway)
        await deposit(gateway, file_of(numbered(1)))
        await deposit(gateway, file_of(numbered(2)))
        page = await inbox(gateway)
        assert "2 instances wait" in page
        assert "Doe, Jane" in page
        assert "Practice X" in page
        assert (await instances(gateway), await instances(gateway, "rob")) == (2, 0)
        assert (await decide(gateway, "accept")).status == 303
        assert await instances(gateway, "rob") == 2
        assert "Nothing waits" in await inbox(gateway)
        assert (await decide(gateway, "accept")).status == 404

    async def test_waits_again_if_it_comes_again(self, gateway: House) -> None:
        await opened(gateway)
        for _ in range(2):
            await deposit(gateway, file_of(numbered(1)))
            assert "1 instance waits" in await inbox(gateway)
            assert await instances(gateway, "rob") == 0
            assert (await decide(gateway, "delete")).status == 303

    async def test_is_deleted_and_nothing_else(self, gateway: House) -> None:
        await gateway.client.post("/instances", data=file_of(numbered(1)), headers=ANN)
        await opened(gateway)
        await deposit(gateway, file_of(numbered(2)))
        assert "1 instance was added to a study that is here" in await inbox(gateway)
        assert await instances(gateway, "rob") == 2, "the study is in use"
        first = public_id("P1", "1.2.3", "1.2.3.1", "1.2.3.1.1")
        await gateway.client.put(f"/instances/{first}/labels/inbox", headers=ANN)
        assert (await decide(gateway, "delete")).status == 303
        answer = await gateway.client.get("/instances?expand", headers=ANN)
        assert [each["MainDicomTags"]["SOPInstanceUID"] for each in await answer.json()] == ["1.2.3.1.1"]

    async def test_what_is_accepted_is_sent_on_by_the_rules(self, gateway: House) -> None:
        gateway.destinations = {"nas": FolderDestination(path="/nas")}
        await gateway.use_cases.page_rules.apply('[rules.all]\ndestinations = ["nas"]\n', "ann")
        await opened(gateway)
        await deposit(gateway, file_of(numbered(1)))
        deliveries = gateway.use_cases.deliveries
        assert (await deliveries.page(Selection())).deliveries == []
        assert (await decide(gateway, "accept")).status == 303
        assert [each.destination for each in (await deliveries.page(Selection())).deliveries] == ["nas"]

    async def test_a_link_brings_so_many_instances(self, gateway: House) -> None:
        await opened(gateway, instances="2")
        assert [each[0] for number in (1, 1, 2) for each in await deposit(gateway, file_of(numbered(number)))] == [
            "stored"
        ] * 3, "the same again counts once"
        data = file_of(numbered(3))
        answer = await gateway.client.post("/ui/deposit/file", data=data, headers=origin(gateway))
        (refused,) = (await answer.json())["Files"]
        assert refused["Status"] == "refused"
        assert refused["Reason"] == "the link has brought as much as it may, or has ended"
        assert "0 images, 20.0" in await inbox(gateway)
        assert await instances(gateway) == 2

    async def test_a_link_brings_so_many_bytes(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inbox_page, "_GIGABYTE", 1500)
        await opened(gateway, gigabytes="1")
        data = [numbered(number) for number in (1, 2)]
        for each in data:
            each.add_new("PixelData", "OW", bytes(800))
        assert [each[0] for one in data for each in await deposit(gateway, file_of(one))] == ["stored", "refused"]
        assert await instances(gateway) == 1

    async def test_files_of_a_zip_count_each(self, gateway: House) -> None:
        await opened(gateway, instances="2")
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as made:
            for number in range(1, 5):
                made.writestr(f"{number}.dcm", file_of(numbered(number)))
        statuses = [each[0] for each in await deposit(gateway, target.getvalue())]
        assert sorted(statuses) == ["refused", "refused", "stored", "stored"]

    @pytest.mark.parametrize(
        "fields",
        [
            *({name: value} for name in ("days", "uses", "instances", "gigabytes") for value in ("0", "x")),
            {"name": " "},
        ],
    )
    async def test_links_that_make_no_sense(self, gateway: House, fields: dict[str, str]) -> None:
        form = {"name": "x", "days": "1", **fields}
        assert (await gateway.client.post("/ui/inbox/links", data=form, headers=ANN)).status == 400

    async def test_is_in_the_audit_log(self, gateway: House) -> None:
        await opened(gateway)
        await deposit(gateway, file_of(numbered(1)))
        await decide(gateway, "accept")
        await gateway.use_cases.audit.flush()
        found = await search(gateway.database, AuditFilter(), skip=0, limit=100)
        by_action = {each.action: each for each in found}
        assert by_action["share"].actor.user == "ann"
        uploaded = by_action["upload"]
        assert uploaded.actor.user.startswith("link ")
        assert uploaded.actor.user.endswith("Practice X")
        assert uploaded.study_uid == "1.2.3"
        accepted = by_action["edit-labels"]
        assert (accepted.actor.user, accepted.study_uid) == ("ann", "1.2.3")

    async def test_by_a_session_with_its_form_alone(self, gateway: House) -> None:
        await signed_in(gateway)
        for what in ("accept", "delete", "links", "revoke"):
            answer = await gateway.client.post(f"/ui/inbox/{what}", data={"study": STUDY}, headers=origin(gateway))
            assert answer.status == 403, what
