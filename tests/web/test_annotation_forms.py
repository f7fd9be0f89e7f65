"""annotation_forms.py and resource_forms.py: labels, notes, files, protection, deletion by plain forms."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse, FormData, web

from gateway.config import Dicomweb, Http, User
from gateway.config.roles import Role
from gateway.index.identity import public_id
from gateway.web.pages.annotation_forms import attached_name
from gateway.web.rest.user_names import is_users
from gateway.web.route import SERVED
from gateway.web.routes import add_routes
from tests.support.forms import Forms
from tests.support.remote import file_of, numbered
from tests.support.sign_in import ADMIN, READER, origin, signed_in
from tests.support.web import House, archive, working

PATIENT, STUDY = public_id("P1"), public_id("P1", "1.2.3")
PAGE, PATIENT_PAGE = f"/ui/studies/{STUDY}", f"/ui/patients/{PATIENT}"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    """A patient with two studies, and deletion switched on."""
    async with asyncio.timeout(50), archive(tmp_path) as made, working(made):
        made.dicomweb = Dicomweb(delete=True)
        for number, uid in enumerate(("1.2.3", "1.2.4"), 1):
            data_set = numbered(number)
            data_set.StudyInstanceUID, data_set.SeriesInstanceUID = uid, f"{uid}.1"
            await made.client.post("/instances", data=file_of(data_set))
        yield made


async def forms(gateway: House, path: str, status: int = 200) -> Forms:
    answer = await gateway.get(path)
    assert answer.status == status, await answer.text()
    return Forms(await answer.text())


async def send(gateway: House, path: str, fields: dict[str, str] | FormData) -> ClientResponse:
    return await gateway.client.post(path, data=fields, headers=origin(gateway), allow_redirects=False)


async def filled(gateway: House, page: str, path: str, **fields: str) -> ClientResponse:
    """The answer to the form at `path`, as it stands on a page but for some fields."""
    return await send(gateway, path, {**(await forms(gateway, page)).found[path], **fields})


def led_to(answer: ClientResponse) -> str:
    assert answer.status == 303
    return answer.headers["Location"]


class TestLabels:
    @pytest.mark.parametrize(("page", "kind"), [(PAGE, f"studies/{STUDY}"), (PATIENT_PAGE, f"patients/{PATIENT}")])
    async def test_given_and_taken(self, gateway: House, page: str, kind: str) -> None:
        assert led_to(await filled(gateway, page, f"{page}/labels", add="urgent")) == page
        assert await gateway.json(f"/{kind}/labels") == ["urgent"]
        assert led_to(await send(gateway, f"{page}/labels", {"remove": "urgent"})) == page
        assert await gateway.json(f"/{kind}/labels") == []

    async def test_those_that_may_be_given(self, gateway: House) -> None:
        """As over REST (`PUT /auth/settings/roles`)."""
        wanted = {"roles": {}, "available-labels": ["urgent"]}
        await gateway.client.put("/auth/settings/roles", json=wanted)
        assert (await send(gateway, f"{PAGE}/labels", {"add": "other"})).status == 403
        assert (await send(gateway, f"{PAGE}/labels", {"add": "urgent"})).status == 303
        assert await gateway.json(f"/studies/{STUDY}/labels") == ["urgent"]


class TestNotes:
    PATH = f"{PAGE}/notes"

    async def stored(self, gateway: House) -> str:
        return await (await gateway.get(f"/studies/{STUDY}/metadata/Notes")).text()

    async def test_written_changed_and_removed(self, gateway: House) -> None:
        for text in ("call\r\nthe ward", "called <now>"):
            assert led_to(await filled(gateway, PAGE, self.PATH, notes=text)) == f"{PAGE}#notes"
            assert await self.stored(gateway) == text.replace("\r", "")
            assert (await forms(gateway, PAGE)).areas == {"notes": text.replace("\r", "")}
        assert (await filled(gateway, PAGE, self.PATH, notes=" ")).status == 303
        assert (await gateway.get(f"/studies/{STUDY}/metadata/Notes")).status == 404
        assert (await filled(gateway, PAGE, self.PATH, notes="")).status == 303

    @pytest.mark.parametrize("before", ["", "first"])
    @pytest.mark.parametrize("typed", ["mine", ""])
    async def test_of_somebody_else_are_not_lost_nor_what_was_typed(
        self, gateway: House, before: str, typed: str
    ) -> None:
        if not before and not typed:
            return  # Nothing is to be removed.
        await filled(gateway, PAGE, self.PATH, notes=before)
        form = (await forms(gateway, PAGE)).found[self.PATH]
        await filled(gateway, PAGE, self.PATH, notes="<theirs>")
        answer = await send(gateway, self.PATH, {**form, "notes": typed})
        text = await answer.text()
        assert answer.status == 409
        assert "Somebody else has changed the notes" in text
        assert "&lt;theirs&gt;" in text
        assert Forms(text).areas == {"notes": typed}
        assert await self.stored(gateway) == "<theirs>"
        again = await send(gateway, self.PATH, {**Forms(text).found[self.PATH], "notes": "both"})
        assert (again.status, await self.stored(gateway)) == (303, "both")

    async def test_of_a_study_that_is_not_there(self, gateway: House) -> None:
        assert (await send(gateway, "/ui/studies/0-0/notes", {"notes": "x"})).status == 404

    async def test_of_no_study_with_too_much(self, gateway: House) -> None:
        assert (await send(gateway, self.PATH, {"notes": "a\0b"})).status == 400


class TestFiles:
    PATH = f"{PAGE}/files"

    async def attach(self, gateway: House, name: str = "letter.txt", content: bytes = b"Dear") -> ClientResponse:
        form = FormData(quote_fields=False)  # As browsers send names.
        for field, value in (await forms(gateway, PAGE)).found[self.PATH].items():
            form.add_field(field, value)
        form.add_field("file", content, filename=name, content_type="text/plain")
        return await send(gateway, self.PATH, form)

    async def test_attached_and_removed_after_a_question(self, gateway: House) -> None:
        assert led_to(await self.attach(gateway, "Brief an Dr. Müller.txt")) == f"{PAGE}#attachments"
        (name,) = await gateway.json(f"/studies/{STUDY}/attachments")
        assert name == "Brief-an-Dr.-M-ller.txt"
        answer = await gateway.get(f"/studies/{STUDY}/attachments/{name}/data")
        assert await answer.read() == b"Dear"
        text = await (await gateway.get(PAGE)).text()
        (question,) = re.findall(rf'href="({PAGE}/files/remove[^"]*)"', text)
        form = (await forms(gateway, html.unescape(question))).found[f"{PAGE}/files/remove"]
        assert await gateway.json(f"/studies/{STUDY}/attachments") == [name]
        assert led_to(await send(gateway, f"{PAGE}/files/remove", form)) == f"{PAGE}#attachments"
        assert await gateway.json(f"/studies/{STUDY}/attachments") == []
        await forms(gateway, html.unescape(question), status=404)

    async def test_nothing_is_replaced(self, gateway: House) -> None:
        await self.attach(gateway)
        assert (await self.attach(gateway, content=b"other")).status == 412
        answer = await gateway.get(f"/studies/{STUDY}/attachments/letter.txt/data")
        assert await answer.read() == b"Dear"

    async def test_no_file(self, gateway: House) -> None:
        assert (await self.attach(gateway, "")).status == 400
        assert (await send(gateway, self.PATH, {"file": "x"})).status == 400
        assert await gateway.json(f"/studies/{STUDY}/attachments") == []

    async def test_what_is_not_the_users(self, gateway: House) -> None:
        assert (await send(gateway, f"{PAGE}/files/remove", {"name": "dicom"})).status == 403

    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("a.pdf", "a.pdf"),
            (r"C:\letters\a b.pdf", "a-b.pdf"),
            ("../../etc/passwd", "etc-passwd"),
            ("手紙.pdf", "pdf"),
            ("手紙", "file-"),
            ("dicom", "file-dicom"),
            ("12", "file-12"),
            ("x" * 100 + ".pdf", "x" * 60 + ".pdf"),
        ],
    )
    def test_names(self, file: str, name: str) -> None:
        assert attached_name(file) == name
        assert is_users(name, {"dicom": 1})


class TestProtection:
    @pytest.mark.parametrize("page", [PAGE, PATIENT_PAGE])
    async def test_protected_and_no_longer(self, gateway: House, page: str) -> None:
        for wanted in ("1", "0"):
            assert led_to(await filled(gateway, page, f"{PATIENT_PAGE}/protected", protected=wanted)) == page
            assert await (await gateway.get(f"/patients/{PATIENT}/protected")).text() == wanted

    async def test_leads_nowhere_else(self, gateway: House) -> None:
        fields = {"protected": "1", "next": "https://example.org/"}
        assert led_to(await send(gateway, f"{PATIENT_PAGE}/protected", fields)) == "/ui/"
        assert (await send(gateway, f"{PATIENT_PAGE}/protected", {"protected": "yes"})).status == 400
        assert (await send(gateway, "/ui/patients/0-0/protected", {"protected": "1"})).status == 404


class TestDeletion:
    async def test_of_a_study_after_a_question(self, gateway: House) -> None:
        text = await (await gateway.get(f"{PAGE}/delete")).text()
        assert "Delete this study for good?" in text
        assert "1 series with 1 instance" in html.unescape(text)
        assert len(await gateway.json("/studies")) == 2
        assert led_to(await filled(gateway, f"{PAGE}/delete", f"{PAGE}/delete")) == PATIENT_PAGE
        assert await gateway.json("/studies") == [public_id("P1", "1.2.4")]
        await forms(gateway, f"{PAGE}/delete", status=404)

    async def test_of_a_patient_after_a_question(self, gateway: House) -> None:
        text = await (await gateway.get(f"{PATIENT_PAGE}/delete")).text()
        assert "2 series with 2 instances" in html.unescape(text)
        path = f"{PATIENT_PAGE}/delete"
        assert led_to(await filled(gateway, path, path)) == "/ui/patients"
        assert await gateway.json("/patients") == []

    async def test_is_off(self, gateway: House) -> None:
        gateway.dicomweb = Dicomweb()
        for page in (PAGE, PATIENT_PAGE):
            assert f"{page}/delete" not in await (await gateway.get(page)).text()
            await forms(gateway, f"{page}/delete", status=403)
            assert (await send(gateway, f"{page}/delete", {})).status == 403


ALL_FORMS = (
    *(f"{PAGE}/{each}" for each in ("labels", "notes", "files", "delete", "files/remove")),
    *(f"{PATIENT_PAGE}/{each}" for each in ("labels", "protected", "delete")),
)


@pytest.mark.parametrize("path", ALL_FORMS)
async def test_a_form_of_another_page_changes_nothing(gateway: House, path: str) -> None:
    """Each has the token of the session, which another site cannot know."""
    await gateway.client.put(f"/studies/{STUDY}/attachments/letter.txt", data=b"x")
    gateway.http = Http(users=(ADMIN,))
    await signed_in(gateway)
    fields = {"add": "x", "notes": "x", "protected": "1", "name": "letter.txt", "csrf": "0" * 32}
    body: dict[str, str] | FormData = fields
    if path.endswith("/files"):
        body = FormData()
        body.add_field("csrf", "0" * 32)
        body.add_field("file", b"x", filename="x.txt")
    assert (await send(gateway, path, body)).status == 403
    assert len(await gateway.json("/studies")) == 2
    assert await gateway.json(f"/studies/{STUDY}/attachments") == ["letter.txt"]


async def test_each_form_of_the_page_works_in_a_session(gateway: House) -> None:
    gateway.http = Http(users=(ADMIN,))
    await signed_in(gateway)
    assert (await filled(gateway, PAGE, f"{PAGE}/labels", add="urgent")).status == 303
    assert (await filled(gateway, PAGE, f"{PAGE}/notes", notes="x")).status == 303
    assert (await TestFiles().attach(gateway)).status == 303
    assert (await filled(gateway, PAGE, f"{PATIENT_PAGE}/protected", protected="1")).status == 303
    assert (await filled(gateway, f"{PAGE}/delete", f"{PAGE}/delete")).status == 303


async def test_who_may_look_alone(gateway: House) -> None:
    gateway.http = Http(users=(ADMIN, READER))
    await signed_in(gateway, "rob")
    for page in (PAGE, PATIENT_PAGE):
        text = await (await gateway.get(page)).text()
        assert [path for path in ALL_FORMS if f'"{path}' in text] == []
    for path in ALL_FORMS:
        assert (await send(gateway, path, {"csrf": "x"})).status == 403


async def test_who_sees_a_patient_in_part_changes_nothing_of_the_patient(gateway: House) -> None:
    """By a patient's labels it is decided who sees the patient's studies."""
    await gateway.client.put(f"/studies/{STUDY}/labels/shown")
    gateway.roles = {"part": Role(permissions=("view", "edit-labels", "delete"), labels=("shown",))}
    gateway.http = Http(users=(User(name="ann", password=ADMIN.password, roles=("part",)),))
    await signed_in(gateway)
    text = await (await gateway.get(PATIENT_PAGE)).text()
    assert [path for path in ("labels", "protected") if f'"{PATIENT_PAGE}/{path}"' in text] == []
    for what, fields in (("labels", {"add": "shown"}), ("protected", {"protected": "1"})):
        answer = await filled(gateway, PAGE, f"{PAGE}/labels", add="mine")
        assert answer.status == 303, "the study's own may be changed"
        csrf = (await forms(gateway, PAGE)).found[f"{PAGE}/labels"]["csrf"]
        assert (await send(gateway, f"{PATIENT_PAGE}/{what}", {**fields, "csrf": csrf})).status == 403


def test_so_behind_a_prefix() -> None:
    def whole(prefix: str) -> set[tuple[str, str]]:
        app = web.Application()
        add_routes(app, prefix)
        return {(each.method, each.path.removeprefix(prefix)) for each in app[SERVED] if each.is_of_whole_patient}

    assert ("PUT", "/patients/{id}/labels/{label}") in whole("")
    assert ("POST", "/ui/patients/{id}/labels") in whole("")
    assert whole("/pacs") == whole("")
