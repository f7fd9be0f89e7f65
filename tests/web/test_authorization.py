"""gateway/web/authorization.py: what a request may, and sees, by the roles of its user."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from aiohttp import web

from gateway.access.passwords import hash_password
from gateway.access.principals import ANYBODY, Principal
from gateway.config import Http, User
from gateway.config.roles import Role
from gateway.database.actor import ACTOR
from gateway.database.view import VIEW, View
from gateway.index.visibility import visible
from gateway.web.authorization import _view
from gateway.web.route import Route
from tests.support.web import House

HASH = hash_password("geheim")
ANNA = {"Authorization": "Basic " + base64.b64encode(b"anna:geheim").decode()}
LIMITED, ALL = Role(permissions=("download", "view"), labels=("a",)), Role(permissions=("q-r-remote-modalities",))


async def nothing(_request: web.Request) -> web.StreamResponse:
    """Nothing."""
    raise AssertionError


def view_of(permission: str, *roles: Role) -> View | None:
    return _view(Principal("anna", roles), Route("GET", "/x", nothing, permission))


class TestView:
    def test_of_the_roles_that_give_the_permission(self) -> None:
        assert view_of("view", LIMITED) == visible([LIMITED], reader="anna")
        assert view_of("view", LIMITED, Role(permissions=("view",))) is None
        assert view_of("view", LIMITED, Role(permissions=("upload",))) == visible([LIMITED], reader="anna")

    def test_where_several_permissions_would_do(self) -> None:
        """The answer may be about what any of them is for: it shows what all of those that the user has do, and what
        they may view."""
        assert view_of("download|q-r-remote-modalities", LIMITED, ALL) == visible([LIMITED], reader="anna")
        assert view_of("download|q-r-remote-modalities", ALL) == visible([], reader="anna")
        assert view_of("download|q-r-remote-modalities", ALL, Role(permissions=("view",))) is None

    def test_where_none_is_needed(self) -> None:
        """What is shown there is for those who may view it."""
        assert view_of("", LIMITED) == visible([LIMITED], reader="anna")
        assert view_of("", ALL) == view_of("") == visible([], reader="anna")
        assert view_of("", Role(permissions=("all",))) is None


class TestRequests:
    @pytest.fixture
    async def seen(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What each request to the database had."""
        seen: list[Any] = []
        await gateway.use_cases.emergencies.of(ANYBODY)  # It is read once, for everybody.
        fetch = gateway.database.fetch

        async def noted(*arguments: Any) -> Any:
            seen.append((ACTOR.get().user, VIEW.get()))
            return await fetch(*arguments)

        monkeypatch.setattr(gateway.database, "fetch", noted)
        return seen

    async def test_without_users(self, gateway: House, seen: list[Any]) -> None:
        await gateway.json("/statistics")
        assert set(seen) == {("", None)}

    async def test_with_roles(self, gateway: House, seen: list[Any]) -> None:
        gateway.http = Http(users=(User(name="anna", password=HASH, roles=("part",)),))
        gateway.roles = {"part": LIMITED}
        answer = await gateway.client.get("/statistics", headers=ANNA)
        assert answer.status == 200
        assert set(seen) == {("anna", visible([LIMITED], reader="anna"))}
        seen.clear()
        gateway.http = Http()
        await gateway.json("/statistics")
        assert set(seen) == {("", None)}, "the connection is the same, and the view another's"

    async def test_refused(self, gateway: House, seen: list[Any]) -> None:
        gateway.http = Http(users=(User(name="anna", password=HASH, roles=("store",)),))
        answer = await gateway.client.get("/statistics", headers=ANNA)
        assert answer.status == 403
        assert (await answer.json())["Details"] == "user anna has no role with the permission view"
        assert seen == []

    async def test_roles_that_change(self, gateway: House, seen: list[Any]) -> None:
        """From the next request on."""
        for roles, status in ((("view",), 200), (("audit",), 403), (("view",), 200)):
            gateway.http = Http(users=(User(name="anna", password=HASH, roles=roles),))
            assert (await gateway.client.get("/statistics", headers=ANNA)).status == status

    async def test_a_patients_own(self, gateway: House, seen: list[Any]) -> None:
        """Labels of a patient decide what others see: they are for those who see all of the patient's studies."""
        gateway.roles = {"part": Role(permissions=("all",), labels=("a",)), "all": Role(permissions=("edit-labels",))}
        for roles, status in ((("part",), 403), (("part", "all"), 404)):
            gateway.http = Http(users=(User(name="anna", password=HASH, roles=roles),))
            assert (await gateway.client.put("/patients/x/labels/a", headers=ANNA)).status == status
            assert (await gateway.client.put("/studies/x/labels/a", headers=ANNA)).status == 404
