"""The page of users and roles: what it shows to whom, and what each of its forms does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from gateway.access.issued_tokens import Allowance, password_mark
from gateway.access.passwords import hash_password
from gateway.access.principals import user_principal
from gateway.audit.table import AuditFilter, search
from gateway.config import Http, Modality, User
from gateway.config.roles import BUILT_IN, Role
from gateway.web.pages.wording import LANGUAGES
from gateway.web.sessions import SESSION
from tests.support.sign_in import ADMIN, PASSWORD, READER, by_password, issuer_tokens, origin, signed_in
from tests.support.web import House

ANN = by_password("ann")
LINK = Allowance(permissions=("view",), studies=("1.2.3",), resources=("a-b",), link="ohif-viewer-publication")


@pytest.fixture
def house(gateway: House) -> House:
    gateway.http = Http(users=(ADMIN, READER))
    return gateway


async def page(house: House, path: str = "/ui/users", **headers: str) -> str:
    answer = await house.client.get(path, headers={**ANN, **headers})
    assert answer.status == 200
    return await answer.text()


async def sent(house: House, what: str, **fields: str) -> ClientResponse:
    return await house.client.post("/ui/users", data={"what": what, **fields}, headers=ANN, allow_redirects=False)


async def profile(house: House, name: str) -> Any:
    return await house.json("/auth/user/profile", **by_password(name))


async def test_for_administrators_alone(house: House) -> None:
    assert (await house.client.get("/ui/users", headers=by_password("rob"))).status == 403
    assert (await house.client.post("/ui/users", data={}, headers=by_password("rob"))).status == 403
    assert "/ui/users" not in await (await house.client.get("/ui/", headers=by_password("rob"))).text()
    assert "/ui/users" in await page(house, "/ui/")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_in_every_language(house: House, language: str) -> None:
    house.roles = {"some": Role(permissions=("view", "delete:series"), labels=("a",), days=2.5)}
    await house.use_cases.issued_tokens.issue("share", "x", "ann", LINK, seconds=60, uses=3)
    assert f'<html lang="{language}">' in await page(house, **{"Accept-Language": language})


class TestShows:
    async def test_users_and_who_has_a_role(self, house: House) -> None:
        house.http = Http(users=(ADMIN, User("robot", roles=("view", "gone"), certificate="robot.example")))
        house.modalities = {"ct1": Modality(aet="CT1", roles=("view",))}
        text = await page(house)
        assert "robot.example" in text
        assert re.search(r'class="tag missing"[^>]*>gone<', text)
        assert re.search(r">view<span.*?robot, ct1", text, re.DOTALL)

    async def test_a_password_of_ones_own(self, house: House) -> None:
        assert "changed by the user" not in await page(house)
        changed = hash_password("another long one")
        await house.use_cases.access_changes.change_password(READER, READER, changed)
        assert "changed by the user" in await page(house)

    async def test_groups_of_an_issuer(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path, roles_claim="groups", groups={"/radiology": ("view",)})
        text = await page(house)
        assert "Users of https://login.example" in text
        assert re.search(r"/radiology</dt><dd><span[^>]*>view<", text)

    async def test_nobody(self, gateway: House) -> None:
        assert "whoever reaches this gateway may do everything" in await (await gateway.get("/ui/users")).text()

    async def test_what_roles_permit_in_words(self, house: House) -> None:
        permissions = ("delete:series", "share")
        house.roles = {"few": Role(permissions=permissions, labels=("a", "b"), patients=("X-*",), days=2)}
        text = await page(house)
        for words in (
            "Delete: series and below",
            "Share by link",
            "With one of the labels a, b",
            "Of the patients X-*",
            "in the last 2 days",
        ):
            assert words in text

    async def test_text_of_others_is_no_markup(self, house: House) -> None:
        hostile = '"><script>alert(1)</script>'
        house.http = Http(users=(ADMIN, User(hostile, password=ADMIN.password)))
        await house.use_cases.issued_tokens.issue("api", hostile, hostile, Allowance(roles=(hostile,)), seconds=60)
        await house.use_cases.emergencies.begin(user_principal(hostile, house.settings()), hostile, house.settings())
        asked = {"user": hostile, "role": hostile, "done": hostile}
        answer = await house.client.get("/ui/users", params=asked, headers=ANN)
        assert "<script>alert" not in await answer.text()

    async def test_of_one_user(self, house: House) -> None:
        for user in ("ann", "rob"):
            await house.use_cases.issued_tokens.issue("api", f"of {user}", user, Allowance(roles=("view",)), seconds=60)
        text = await page(house)
        assert ("of rob" in text, "of ann" in text) == (True, True)
        text = await page(house, "/ui/users?user=rob")
        assert ("of rob" in text, "of ann" in text) == (True, False)


class TestRoles:
    async def test_from_its_making_to_its_end(self, house: House) -> None:
        house.http = Http(users=(ADMIN, User("stu", password=ADMIN.password, roles=("teaching",))))
        assert (await profile(house, "stu"))["permissions"] == []
        fields = {"name": "teaching", "permission.view": "on", "permission.download": "on", "labels": " teach, test ,"}
        answer = await sent(house, "save-role", **fields)
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/users?done=role")
        assert house.use_cases.settings().roles["teaching"] == Role(("view", "download"), labels=("teach", "test"))
        assert (await profile(house, "stu"))["authorized-labels"] == ["teach", "test"]
        text = await page(house, "/ui/users?role=teaching")
        assert 'value="teach, test"' in text
        assert len(re.findall(r'name="permission\.[a-z-]+" checked', text)) == 2
        assert (await sent(house, "remove-role", name="teaching")).status == 303
        assert (await profile(house, "stu"))["permissions"] == []
        answer = await sent(house, "remove-role", name="teaching")
        assert (answer.status, "not there any more" in await answer.text()) == (400, True)

    async def test_a_built_in_one_comes_back(self, house: House) -> None:
        await sent(house, "save-role", name="view", **{"permission.view": "on"})
        assert (await profile(house, "rob"))["permissions"] == ["view"]
        await sent(house, "remove-role", name="view")
        assert set((await profile(house, "rob"))["permissions"]) == set(BUILT_IN["view"].permissions)

    async def test_others_stay(self, house: House) -> None:
        await sent(house, "save-labels", labels="teach")
        await sent(house, "save-role", name="a", **{"permission.view": "on"})
        await sent(house, "save-role", name="b", **{"permission.delete:series": "on"})
        assert set(house.use_cases.access_changes.roles) == {"a", "b"}
        assert house.use_cases.access_changes.roles["b"].permissions == ("delete:series",)
        assert 'name="permission.delete:series" checked' in await page(house, "/ui/users?role=b")
        assert house.use_cases.access_changes.labels == ("teach",)
        await sent(house, "save-labels", labels="")
        assert set(house.use_cases.access_changes.roles) == {"a", "b"}
        assert house.use_cases.access_changes.labels == ()

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"name": "a b", "permission.view": "on"}, "A role needs a name"),
            ({"name": "", "permission.view": "on"}, "A role needs a name"),
            ({"name": "admin", "permission.view": "on"}, "in the configuration alone"),
            ({"name": "ours", "permission.view": "on"}, "in the configuration alone"),
            ({"name": "x"}, "Choose what the role permits"),
            ({"name": "x", "permission.fly": "on"}, "Choose what the role permits"),
            ({"name": "x", "permission.settings": "on", "labels": "a"}, "Settings and operation"),
            ({"name": "x", "permission.view": "on", "days": "none"}, "number greater than 0"),
            ({"name": "x", "permission.view": "on", "days": "-1"}, "number greater than 0"),
            ({"name": "x", "permission.view": "on", "days": "nan"}, "number greater than 0"),
            ({"name": "x", "permission.view:floor": "on"}, "Choose what the role permits"),
        ],
    )
    async def test_what_is_wrong_is_said_and_stays_in_the_form(
        self, house: House, fields: dict[str, str], words: str
    ) -> None:
        house.roles = {"ours": Role(permissions=("view",))}
        answer = await sent(house, "save-role", **fields)
        text = await answer.text()
        assert (answer.status, words in text) == (400, True)
        assert f'name="name" value="{fields["name"]}"' in text
        assert house.use_cases.access_changes.roles == {}

    async def test_given_to_a_user_of_the_configuration(self, house: House) -> None:
        """Beside those that the configuration names, which nobody takes away here."""
        await sent(house, "save-role", name="teaching", labels="teach", **{"permission.anonymize": "on"})
        answer = await sent(house, "give-role", user="rob", role="teaching")
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/users?done=given")
        assert (await profile(house, "rob"))["permissions"] == ["anonymize", "download", "view"]
        await house.use_cases.access_changes.refresh()
        text = await page(house)
        assert 'aria-label="Take away teaching from rob"' in text
        for fields in ({"user": "rob", "role": "view"}, {"user": "eva", "role": "teaching"}):
            assert (await sent(house, "take-role", **fields)).status == 400
        assert (await sent(house, "give-role", user="rob", role="none")).status == 400
        assert (await sent(house, "take-role", user="rob", role="teaching")).headers["Location"].endswith("taken")
        assert (await profile(house, "rob"))["permissions"] == ["download", "view"]

    async def test_of_the_configuration(self, house: House) -> None:
        house.roles = {"ours": Role(permissions=("view",))}
        text = await page(house, "/ui/users?role=ours")
        assert "Change the role ours" not in text
        assert "Change the role admin" not in text
        assert (await sent(house, "save-labels", labels="no label!")).status == 400
        assert (await sent(house, "nonsense")).status == 400


class TestEnds:
    @pytest.mark.parametrize(("kind", "what"), [("api", "revoke-token"), ("share", "revoke-link")])
    async def test_of_a_token_or_link(self, house: House, kind: Any, what: str) -> None:
        allows = LINK if kind == "share" else Allowance(roles=("view",))
        token_id, secret = await house.use_cases.issued_tokens.issue(kind, "theirs", "rob", allows, seconds=60)
        bearer = {"Authorization": f"Bearer {secret}"}
        assert (await house.client.get("/studies", headers=bearer)).status == 200
        assert token_id in await page(house)
        assert (await sent(house, what, id=token_id, of="rob")).headers["Location"] == "/ui/users?user=rob&done=revoked"
        assert (await house.client.get("/studies", headers=bearer)).status == 401
        assert (await sent(house, what, id=token_id)).status == 400

    @pytest.mark.parametrize("how", ["one", "all"])
    async def test_of_sessions(self, house: House, how: str) -> None:
        allows = Allowance(password=password_mark(READER.password))
        session_id, secret = await house.use_cases.issued_tokens.issue("session", "", "rob", allows, seconds=60)
        cookie = {"Cookie": f"{SESSION}={secret}"}
        assert (await house.client.get("/studies", headers=cookie)).status == 200
        fields = {"what": "end-session", "id": session_id} if how == "one" else {"what": "end-sessions", "user": "rob"}
        assert (await sent(house, **fields)).status == 303
        assert (await house.client.get("/studies", headers=cookie)).status == 401
        if how == "one":
            assert (await sent(house, **fields)).status == 400
        assert (await sent(house, "end-sessions")).status == 400

    async def test_of_emergency_access(self, house: House) -> None:
        emergencies, who = house.use_cases.emergencies, user_principal("rob", house.settings())
        await emergencies.begin(who, "unconscious", house.settings())
        assert "unconscious" in await page(house)
        assert (await sent(house, "end-emergency", user="rob")).status == 303
        assert await emergencies.of(who) is None

    async def test_one_that_is_idle_is_not_shown(self, house: House) -> None:
        await house.use_cases.issued_tokens.issue("session", "", "rob", Allowance(), seconds=600)
        assert "End the session of rob" in await page(house)
        house.http = Http(users=house.http.users, session_idle_minutes=1e-9)
        assert "End the session of rob" not in await page(house)


async def test_a_form_of_another_page(house: House) -> None:
    await signed_in(house)
    fields = {"what": "end-sessions", "user": "ann"}
    ours = origin(house)
    assert (await house.client.post("/ui/users", data=fields, headers=ours)).status == 403
    text = await (await house.client.get("/ui/users")).text()
    csrf = re.search(r'name="csrf" value="(\w+)"', text)
    assert csrf is not None
    fields["csrf"] = csrf[1]
    assert (await house.client.post("/ui/users", data=fields, headers={"Origin": "https://evil.example"})).status == 403
    answer = await house.client.post("/ui/users", data=fields, headers=ours, allow_redirects=False)
    assert answer.status == 303
    assert (await house.client.get("/studies")).status == 401
    assert PASSWORD not in text


async def test_is_in_the_audit_log(house: House) -> None:
    await sent(house, "save-role", name="a", **{"permission.view": "on"})
    await sent(house, "end-sessions", user="rob")
    await house.use_cases.audit.flush()
    found = await search(house.database, AuditFilter(action="admin-permissions"), skip=0, limit=10)
    changes = [each for each in found if each.details.get("method") == "POST"]
    assert [(each.user, each.outcome, each.details["what"]) for each in reversed(changes)] == [
        ("ann", "success", "save-role"),
        ("ann", "success", "end-sessions"),
    ]
    assert [each.details.get("name", each.details.get("user")) for each in reversed(changes)] == ["a", "rob"]
