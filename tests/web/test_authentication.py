"""gateway/web/authentication.py: by what a request proves who makes it, and what is refused."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.access.issued_tokens import Allowance
from gateway.config import Http, User
from gateway.config.roles import Role
from gateway.jobs.table import ended_job, list_jobs
from tests.support.datasets import instance
from tests.support.sign_in import (
    ADMIN,
    KEY,
    OTHER_KEY,
    PASSWORD,
    READER,
    by_password,
    issuer_tokens,
    key_set,
    origin,
    signed_in,
    web_token,
)
from tests.support.web import House, working

pytestmark = pytest.mark.case("signing in: passwords, bearer tokens, API tokens, links, sessions, certificates")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def profile(house: House, **headers: str) -> Any:
    return await house.json("/auth/user/profile", **headers)


@pytest.fixture
def house(gateway: House) -> House:
    gateway.http = Http(users=(ADMIN, READER))
    return gateway


class TestBearer:
    async def test_roles_by_groups(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path, roles_claim="realm_access.roles", groups={"doctors": ("view",)})
        token = web_token(realm_access={"roles": ["doctors", "admin"]})
        found = await profile(house, **bearer(token))
        assert (found["name"], found["permissions"]) == ("eva", ["download", "view"])
        assert (await house.get("/studies", **bearer(token))).status == 200
        assert (await house.client.post("/tools/reset", headers=bearer(token))).status == 403

    async def test_a_group_is_a_role_of_its_name(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path, roles_claim="groups")
        assert (await profile(house, **bearer(web_token(groups="audit nothing"))))["permissions"] == ["audit-logs"]

    async def test_without_groups_nothing(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path)
        token = web_token(groups=["admin"])
        assert (await profile(house, **bearer(token)))["permissions"] == []
        assert (await house.get("/studies", **bearer(token))).status == 403

    async def test_users_with_its_name_have_their_roles(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path)
        assert (await profile(house, **bearer(web_token(sub="rob"))))["permissions"] == ["download", "view"]

    async def test_in_the_header_of_orthanc_explorer(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path, roles=("view",))
        assert (await house.get("/studies", token=f"Bearer {web_token()}")).status == 200

    @pytest.mark.parametrize(
        ("token", "why"),
        [
            pytest.param(lambda: web_token(aud="another"), "aud", id="audience"),
            pytest.param(lambda: web_token(iss="https://evil.example"), "iss", id="issuer"),
            pytest.param(lambda: web_token(exp=int(time.time()) - 90), "expired", id="time"),
            pytest.param(lambda: web_token(nbf=int(time.time()) + 90), "not yet valid", id="too early"),
            pytest.param(lambda: web_token(OTHER_KEY), "'two' that is not in tokens.keys", id="key"),
            pytest.param(lambda: web_token()[:-20] + "A" * 20, "not in tokens.keys", id="signature"),
            pytest.param(lambda: "eyJhbGciOiJub25lIn0.e30.", "signed with 'none'", id="no algorithm"),
            pytest.param(lambda: "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "signed with 'HS256'", id="algorithm"),
            pytest.param(lambda: "dgw_nothing", "never issued", id="never issued"),
        ],
    )
    async def test_refused(
        self, house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture, token: Any, why: str
    ) -> None:
        house.tokens, shown = issuer_tokens(tmp_path), token()
        with caplog.at_level(logging.WARNING):
            answer = await house.get("/studies", **bearer(shown))
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')
        assert why in (await answer.json())["Details"]
        assert why in caplog.text
        assert shown not in caplog.text

    async def test_a_key_that_is_withdrawn(self, house: House, tmp_path: Path) -> None:
        """At the very next request, though the token was good before."""
        house.tokens = issuer_tokens(tmp_path, KEY, OTHER_KEY, roles=("view",))
        old = web_token()
        assert (await house.get("/studies", **bearer(old))).status == 200
        Path(house.tokens.keys).write_bytes(key_set(OTHER_KEY))
        assert (await house.get("/studies", **bearer(old))).status == 401
        assert (await house.get("/studies", **bearer(web_token(OTHER_KEY)))).status == 200

    async def test_an_issuer_alone_closes_the_gateway(self, gateway: House, tmp_path: Path) -> None:
        gateway.tokens = issuer_tokens(tmp_path, roles=("view",))
        answer = await gateway.get("/studies")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="DICOM gateway"')
        assert (await gateway.get("/studies", **bearer(web_token()))).status == 200

    async def test_never_in_a_query(self, house: House, tmp_path: Path) -> None:
        house.tokens = issuer_tokens(tmp_path, roles=("view",))
        assert (await house.get(f"/studies?token={web_token()}")).status == 401


class TestApiTokens:
    async def made(self, house: House, **fields: Any) -> Any:
        body = {"Name": "nightly", **fields}
        answer = await house.client.post("/auth/api-tokens", json=body, headers=by_password("ann"))
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def test_from_making_to_revoking(self, house: House) -> None:
        made = await self.made(house, Roles=["view"], ValidityDuration=60)
        headers = bearer(made["Token"])
        assert (await profile(house, **headers))["permissions"] == ["download", "view"]
        (listed,) = await house.json("/auth/api-tokens", **by_password("ann"))
        assert (listed["ID"], listed["Name"], listed["Roles"]) == (made["ID"], "nightly", ["view"])
        assert listed["LastUse"] is not None
        assert made["Token"] not in str(listed)
        assert await house.json("/auth/api-tokens", **by_password("rob")) == []
        path = f"/auth/api-tokens/{made['ID']}"
        assert (await house.client.delete(path, headers=by_password("rob"))).status == 404
        assert (await house.client.delete(path, headers=by_password("ann"))).status == 200
        assert (await house.get("/studies", **headers)).status == 401

    async def test_the_database_has_no_secret(self, house: House, tmp_path: Path) -> None:
        made = await self.made(house)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert not any(made["Token"].encode() in path.read_bytes() for path in files)

    async def test_never_in_a_query(self, house: House) -> None:
        made = await self.made(house)
        answer = await house.get(f"/studies?token={made['Token']}")
        assert (answer.status, "only links" in await answer.text()) == (401, True)

    async def test_no_more_than_its_maker(self, house: House) -> None:
        answer = await house.client.post(
            "/auth/api-tokens", json={"Name": "x", "Roles": ["manage"]}, headers=by_password("rob")
        )
        assert answer.status == 403

    async def test_makes_no_other(self, house: House) -> None:
        made = await self.made(house)
        answer = await house.client.post("/auth/api-tokens", json={"Name": "x"}, headers=bearer(made["Token"]))
        assert answer.status == 400

    async def test_ends_with_its_user_and_shrinks_with_it(self, house: House) -> None:
        made = await self.made(house, Roles=["view", "manage"])
        house.http = Http(users=(User(name="ann", password=ADMIN.password, roles=("view",)),))
        assert (await profile(house, **bearer(made["Token"])))["permissions"] == ["download", "view"]
        house.http = Http(users=(READER,))
        assert (await house.get("/studies", **bearer(made["Token"]))).status == 401

    @pytest.mark.parametrize(
        "fields",
        [
            {"Name": ""},
            {"Name": "a\nb"},
            {"Name": "x" * 129},
            {"Roles": ["nobody"]},
            {"Roles": []},
            {"ValidityDuration": 0},
            {"ValidityDuration": 10**12},
            {"ExpirationDate": "soon"},
            {"ExpirationDate": "2001-01-01"},
        ],
    )
    async def test_nonsense(self, house: House, fields: Any) -> None:
        body = {"Name": "n", **fields}
        answer = await house.client.post("/auth/api-tokens", json=body, headers=by_password("ann"))
        assert answer.status == 400


class TestLinks:
    @pytest.fixture
    async def uid(self, house: House) -> str:
        one, other = (
            instance(),
            instance(StudyInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.1", SeriesInstanceUID="1.2.3.4.2"),
        )
        await house.add(one)
        await house.add(other)
        return str(one.StudyInstanceUID)

    async def made(self, house: House, uid: str, kind: str = "ohif-viewer-publication", **fields: Any) -> Any:
        body = {"Resources": [{"DicomUid": uid, "OrthancId": "", "Level": "study"}], "Type": kind, **fields}
        answer = await house.client.put(f"/auth/tokens/{kind}", json=body, headers=by_password("ann"))
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def test_shows_one_study(self, house: House, uid: str) -> None:
        made = await self.made(house, uid, "viewer-instant-link")
        assert made["Url"] is None
        for found in (await house.json("/dicom-web/studies", token=made["Token"]),):
            assert [each["0020000D"]["Value"] for each in found] == [[uid]]
        (public_id,) = await house.json(f"/studies?token={made['Token']}")
        assert (await house.get(f"/studies/{public_id}/archive?token={made['Token']}")).status == 200
        assert (await house.get("/dicom-web/studies/1.2.3.4/metadata", token=made["Token"])).status == 404
        assert (await house.client.post("/instances", headers={"token": made["Token"]})).status == 403
        assert (
            await house.client.post("/auth/api-tokens", json={"Name": "x"}, headers={"token": made["Token"]})
        ).status

    async def test_opened_in_a_browser(self, house: House, uid: str) -> None:
        made = await self.made(house, uid, Count=1, Label="Dr. Who")
        answer = await house.client.get(made["Url"].partition("http://")[2].partition("/")[2].join(("/", "")))
        assert answer.status == 200
        assert "token=" not in str(answer.url)
        assert "1.2.3.4" not in await answer.text()
        # The count was for opening it: what the page loads counts no more.
        (found,) = await house.json("/dicom-web/studies")
        assert found["0020000D"]["Value"] == [uid]
        assert (await house.get("/dicom-web/studies", token=made["Token"])).status == 401
        (listed,) = await house.json("/auth/shares", **by_password("ann"))
        assert (listed["Count"], listed["Name"], listed["ResourcesDicomIds"]) == (0, "Dr. Who", [uid])
        gone = await house.client.delete(f"/auth/shares/{made['ID']}", headers=by_password("ann"))
        assert gone.status == 200
        assert (await house.get("/dicom-web/studies")).status == 401, "its session ends with it"

    async def test_decoded(self, house: House, uid: str) -> None:
        made = await self.made(house, uid, Count=1)
        body, headers = {"TokenKey": "token", "TokenValue": made["Token"]}, by_password("rob")
        answer = await (await house.client.post("/auth/tokens/decode", json=body, headers=headers)).json()
        assert answer["TokenType"] == "ohif-viewer-publication"
        assert answer["ResourcesDicomIds"] == [uid]
        assert answer["RedirectUrl"] == made["Url"]
        assert (await house.get("/dicom-web/studies", token=made["Token"])).status == 200
        answer = await (await house.client.post("/auth/tokens/decode", json=body, headers=headers)).json()
        assert answer["ErrorCode"] == "expired"
        body = {"TokenKey": "token", "TokenValue": "nonsense"}
        answer = await (await house.client.post("/auth/tokens/decode", json=body, headers=headers)).json()
        assert answer["ErrorCode"] == "invalid"

    async def test_only_to_what_its_maker_sees_and_may(self, house: House, uid: str) -> None:
        house.roles = {"other": Role(permissions=("view", "share"), studies=("1.2.3.4",))}
        house.http = Http(users=(User(name="rob", password=ADMIN.password, roles=("other",)),))
        headers = by_password("rob")
        for wanted, status in ((uid, 404), ("1.2.3.4", 200)):
            body = {"Resources": [{"DicomUid": wanted, "Level": "study"}]}
            path = "/auth/tokens/ohif-viewer-publication"
            assert (await house.client.put(path, json=body, headers=headers)).status == status
        made = await (await house.client.put(path, json=body, headers=headers)).json()
        answer = await house.get("/auth/user/profile", token=made["Token"])
        assert (await answer.json())["permissions"] == ["view"], "who may not download, gives nobody a download"
        answer = await house.client.put("/auth/tokens/download-instant-link", json=body, headers=headers)
        assert answer.status == 403

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("stone-viewer-publication", {"Resources": [{"DicomUid": "1.2.3.4"}]}),
            ("viewer-instant-link", {}),
            ("viewer-instant-link", {"Resources": [{"DicomUid": "1.2.3.4"}] * 101}),
            ("viewer-instant-link", {"Resources": [{"DicomUid": "1.2.3.4", "Level": "instance"}]}),
            ("viewer-instant-link", {"Resources": [{"DicomUid": "1.2.3.4"}], "Count": 0}),
            ("viewer-instant-link", []),
        ],
    )
    async def test_nonsense(self, house: House, uid: str, kind: str, body: Any) -> None:
        headers = by_password("ann")
        assert (await house.client.put(f"/auth/tokens/{kind}", json=body, headers=headers)).status == 400


class TestSessions:
    async def test_in_and_out(self, house: House) -> None:
        assert (await house.get("/studies")).status == 401
        answer = await signed_in(house, next="/ui/routing")
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/routing")
        cookie = answer.headers["Set-Cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"))
        assert (await profile(house))["name"] == "ann"
        page = await (await house.get("/ui/account")).text()
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        assert len(csrf) == 32
        assert (await house.client.post("/ui/sign-out", data={"csrf": "x"}, headers=origin(house))).status == 403
        answer = await house.client.post("/ui/sign-out", data={"csrf": csrf}, headers=origin(house))
        assert "You are signed out" in await answer.text()
        assert (await house.get("/studies")).status == 401

    async def test_open_pages_ask_for_no_password_of_the_browsers_own(self, house: House) -> None:
        """Once the session is over, whichever way; who wants the browser's own dialog has it after it was used."""
        script = {"Sec-Fetch-Mode": "cors"}
        assert (await house.get("/ui/rows", **script)).headers["WWW-Authenticate"].startswith("Basic")
        await signed_in(house)
        page = await (await house.get("/ui/account")).text()
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        await house.client.post("/ui/sign-out", data={"csrf": csrf}, headers=origin(house))
        assert (await house.get("/ui/rows", **script)).headers["WWW-Authenticate"].startswith("Bearer")
        assert (await house.get("/ui/rows")).headers["WWW-Authenticate"].startswith("Basic")
        await house.client.get("/ui/sign-in/basic", headers=by_password("ann"), allow_redirects=False)
        assert (await house.get("/ui/rows", **script)).headers["WWW-Authenticate"].startswith("Basic")

    async def test_over_https_for_this_host_alone(self, house: House) -> None:
        house.http = Http(users=(ADMIN,), trusted_proxies=("127.0.0.1",), hosts=("pacs.example",))
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example", "Origin": "https://pacs.example"}
        form = {"name": "ann", "password": PASSWORD}
        answer = await house.client.post("/ui/sign-in", data=form, headers=headers, allow_redirects=False)
        assert answer.headers["Set-Cookie"].startswith("__Host-dicom-gateway=dgw_")
        assert "Secure" in answer.headers["Set-Cookie"]

    async def test_a_wrong_password(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = await signed_in(house, password="wrong")
        assert (answer.status, "Set-Cookie" in answer.headers) == (401, False)
        assert "wrong" in await answer.text()

    @pytest.mark.parametrize("page", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\nb", ""])
    async def test_it_leads_nowhere_else(self, house: House, page: str) -> None:
        assert (await signed_in(house, next=page)).headers["Location"] == "/ui/"

    async def test_pages_of_others_change_nothing(self, house: House) -> None:
        await signed_in(house)
        for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            answer = await house.client.post("/tools/reset", headers=headers)
            assert answer.status == 403, headers
            assert "rest.shutdown" not in await answer.text(), "it came as far as the handler"
        for headers in (origin(house), {"Sec-Fetch-Site": "same-origin"}):
            assert "rest.shutdown" in await (await house.client.post("/tools/reset", headers=headers)).text()
        answer = await house.client.post("/ui/sign-in", data={"name": "ann", "password": PASSWORD})
        assert answer.status == 403, "nobody is signed in by a page of somebody else"

    async def test_ends(self, house: House) -> None:
        house.http = Http(users=(ADMIN,), session_idle_minutes=1e-9)
        await signed_in(house)
        assert (await house.get("/studies")).status == 401
        house.client.session.cookie_jar.clear()
        issued = house.use_cases.issued_tokens
        _, secret = await issued.issue("session", "", "ann", Allowance(), seconds=-1)
        answer = await house.get("/studies", cookie=f"dicom-gateway={secret}")
        assert answer.status == 401

    async def test_a_page_without_a_session_is_the_form(self, house: House) -> None:
        answer = await house.get("/ui/routing?name=1.2", accept="text/html,*/*;q=0.8")
        assert answer.status == 401
        text = await answer.text()
        assert 'name="next" value="/ui/routing?name=1.2"' in text
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), "no dialog of the browser's own"
        answer = await house.get("/ui/sign-in/basic", accept="text/html,*/*;q=0.8")
        assert answer.headers["WWW-Authenticate"].startswith("Basic"), "but to whoever wants it"


class TestPassword:
    async def change(self, house: House, old: str, new: str, again: str | None = None) -> tuple[int, str]:
        page = await (await house.get("/ui/account")).text()
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        form = {"what": "password", "csrf": csrf, "old": old, "new": new, "again": new if again is None else again}
        answer = await house.client.post("/ui/account", data=form, headers=origin(house))
        return answer.status, await answer.text()

    async def test_changed_by_its_owner(self, house: House) -> None:
        await signed_in(house)
        basic = by_password("ann")
        assert (await house.client.get("/studies", headers=basic)).status == 200
        status, text = await self.change(house, PASSWORD, "another long one")
        assert (status, "The password is changed" in text) == (200, True)
        assert (await house.get("/studies")).status == 200, "this session goes on"
        assert (await house.client.get("/studies", headers=basic)).status == 401
        house.client.session.cookie_jar.clear()
        assert (await signed_in(house, password="another long one")).status == 303
        # Whoever sets another one in the configuration has the last word.
        house.http = Http(users=(User(name="ann", password=READER.password[:-4] + "AAA="),))
        assert (await house.get("/studies")).status == 401

    @pytest.mark.parametrize(
        ("old", "new", "again"),
        [("wrong", "another long one", None), (PASSWORD, "short", None), (PASSWORD, "x" * 20, "y")],
    )
    async def test_refused(self, house: House, old: str, new: str, again: str | None) -> None:
        await signed_in(house)
        assert (await self.change(house, old, new, again))[0] == 400
        assert (await signed_in(house)).status == 303


class TestRoles:
    async def test_changed_over_rest(self, house: House) -> None:
        basic = by_password("ann")
        roles = await house.json("/auth/settings/roles", **basic)
        assert roles["roles"]["view"] == {"permissions": ["view", "download"], "authorized-labels": ["*"]}
        roles["roles"]["teaching"] = {"permissions": ["view"], "authorized-labels": ["teach"]}
        roles["available-labels"] = ["teach"]
        answer = await house.client.put("/auth/settings/roles", json=roles, headers=basic)
        assert await answer.json() == await house.json("/auth/settings/roles", **basic)
        house.http = Http(users=(ADMIN, User(name="stu", password=ADMIN.password, roles=("teaching",))))
        found = await profile(house, **by_password("stu"))
        assert (found["permissions"], found["authorized-labels"]) == (["view"], ["teach"])
        assert "all" in await house.json("/auth/settings/permissions", **basic)

    @pytest.mark.parametrize(
        ("role", "status"),
        [
            ({"permissions": ["fly"], "authorized-labels": ["*"]}, 400),
            ({"permissions": ["view"], "authorized-labels": []}, 400),
            ({}, 400),
        ],
    )
    async def test_nonsense(self, house: House, role: Any, status: int) -> None:
        """What it may do is no permission, what it sees is nothing, or it is no role."""
        basic = by_password("ann")
        answer = await house.client.put("/auth/settings/roles", json={"roles": {"x": role}}, headers=basic)
        assert answer.status == status

    @pytest.mark.parametrize("name", ["", "a\nb", "x" * 65])
    async def test_names_that_are_none(self, house: House, name: str) -> None:
        body = {"roles": {name: {"permissions": ["view"], "authorized-labels": ["*"]}}}
        answer = await house.client.put("/auth/settings/roles", json=body, headers=by_password("ann"))
        assert (answer.status, "is no name of a role" in await answer.text()) == (400, True)

    async def test_the_configuration_stays(self, house: House) -> None:
        house.roles = {"ours": Role(permissions=("view",))}
        body = {"roles": {"ours": {"permissions": ["all"], "authorized-labels": ["*"]}}}
        basic = by_password("ann")
        assert (await house.client.put("/auth/settings/roles", json=body, headers=basic)).status == 403
        body = {"roles": {"admin": {"permissions": ["view"], "authorized-labels": ["*"]}}}
        assert (await house.client.put("/auth/settings/roles", json=body, headers=basic)).status == 400


class TestBreakGlass:
    async def test_everything_for_a_while(self, house: House, caplog: pytest.LogCaptureFixture) -> None:
        await house.add(instance())
        house.roles = {
            "ward": Role(permissions=("view",), labels=("ward",)),
            "glass": Role(permissions=("break-glass",)),
        }
        house.http = Http(users=(User(name="doc", password=ADMIN.password, roles=("ward", "glass")), READER))
        alarms: list[Any] = []

        async def post(url: str, body: bytes) -> None:
            alarms.append((url, body))

        house.break_glass = type(house.break_glass)(minutes=30, webhook="https://alarm.example/")
        house.use_cases.emergency_alarms._post = post
        basic = by_password("doc")
        assert await house.json("/studies", **basic) == []
        path = "/auth/break-glass"
        assert (await house.client.post(path, json={"Reason": "x"}, headers=by_password("rob"))).status == 403
        assert (await house.client.post(path, json={"Reason": " "}, headers=basic)).status == 400
        answer = await house.client.post(path, json={"Reason": "unconscious in the ER"}, headers=basic)
        emergency = await answer.json()
        assert emergency["Until"] - emergency["Since"] == 1800
        assert len(await house.json("/studies", **basic)) == 1
        (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert "user doc sees all studies" in record.getMessage()
        assert "unconscious in the ER" in record.getMessage()
        assert "Emergency access" in await (await house.get("/ui/", **basic)).text()
        assert "Emergency access" in await (await house.get("/ui/account", **basic)).text()
        assert alarms == []
        (job,) = await list_jobs(house.database)
        async with working(house):
            await ended_job(house.database, job.id)
        ((url, body),) = alarms
        assert url == "https://alarm.example/"
        assert b'"Reason":"unconscious in the ER"' in body
        assert (await house.client.delete(path, headers=basic)).status == 200
        assert await house.json("/studies", **basic) == []

    @pytest.mark.parametrize("roles", [("view", "glass"), ("admin",)])
    @pytest.mark.parametrize("how", ["cancel", "pause", "resubmit", "delete"])
    async def test_nobody_stops_the_alarm(self, house: House, roles: tuple[str, ...], how: str) -> None:
        house.roles = {"glass": Role(permissions=("break-glass",))}
        house.http = Http(users=(User(name="doc", password=ADMIN.password, roles=roles),))
        house.break_glass = type(house.break_glass)(webhook="https://alarm.example/")
        basic = by_password("doc")
        assert (await house.client.post("/auth/break-glass", json={"Reason": "x"}, headers=basic)).status == 200
        (job,) = await house.json("/jobs", **basic)
        method, path = ("DELETE", f"/jobs/{job}") if how == "delete" else ("POST", f"/jobs/{job}/{how}")
        assert (await house.client.request(method, path, headers=basic)).status == 403
        assert (await house.json(f"/jobs/{job}", **basic))["State"] == "Pending"

    async def test_ends_by_itself(self, house: House) -> None:
        house.http = Http(users=(ADMIN,))
        house.break_glass = type(house.break_glass)(minutes=1e-9)
        basic = by_password("ann")
        await house.client.post("/auth/break-glass", json={"Reason": "x"}, headers=basic)
        assert await house.json("/auth/break-glass", **basic) is None
