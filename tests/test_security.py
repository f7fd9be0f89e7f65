"""deploy/SECURITY.md: who may call what is what the program does, and whatever it names is there.

The tables are policy, written by hand; here each of their rows is asked of an application and of a DICOM listener. What
is added to either and not to the document fails, and so does what is in it and no more in the program.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import ClientResponse

from gateway.config import SERVICES, Dicom, Dicomweb, Http, Rest, Tenant
from gateway.config.roles import BUILT_IN, OF_STUDIES, OF_TENANTS, Role
from gateway.dicom import uids
from gateway.errors import AssociationRefused
from gateway.net.requestor import associate
from gateway.scp.services import REGISTRY, Offer
from gateway.ul.negotiation import (
    ACCEPTANCE,
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    CALLING_AE_TITLE_NOT_RECOGNIZED,
    USER_REJECTION,
)
from gateway.web.route import Route as Declared
from gateway.web.security import EVERY_ANSWER
from tests.support.intake import Intake, intake
from tests.support.web import House, house
from tests.web.test_middlewares import ANNA, basic

ROOT = Path(__file__).parents[1]
OF_WHOLE_PATIENT = ("/ui/patients/{id}/labels", "/ui/patients/{id}/protected")
"""Forms that change what is a patient's own."""
TEXT = (ROOT / "deploy" / "SECURITY.md").read_text()
LET_IN = {"Authorization": basic("geheim")}
IN_PATHS = {"patient": "-".join(["0123abcd"] * 5), "frames": "1", "path": "00420011"}

TENANTS = {"1": Tenant(), "2": Tenant()}
CONDITIONAL: dict[str, frozenset[str]] = {"limited": OF_STUDIES, "own tenant": OF_TENANTS, "other tenant": OF_TENANTS}
"""Roles with all permissions, with studies of a label or of a tenant alone: none of those that are about more."""


class Route(NamedTuple):
    method: str
    path: str
    who: str
    needs: frozenset[str]
    """Permissions of which one is needed; none: everybody who is let in may."""
    answer: str
    changes: str

    @property
    def url(self) -> str:
        """A path that it has."""
        return re.sub(r"\{(\w+)\}", lambda found: IN_PATHS.get(found[1], "1"), self.path)

    @property
    def is_open(self) -> bool:
        return self.who == "anybody"

    @property
    def signs_in(self) -> bool:
        """Whether it is part of signing in: for anybody, but under our own names alone."""
        return self.who == "signs in"

    @property
    def setting(self) -> str:
        """What has to be set before it is served; empty for none."""
        found = re.fullmatch(r"users, if `(.+)`", self.who)
        return found[1] if found else ""


def rows(name: str) -> Iterator[list[str]]:
    """The cells of a table of the document, its head left out."""
    found = re.search(rf"<!-- {name}: .*? -->\n(.*?)<!-- end of {name} -->", TEXT, re.DOTALL)
    assert found is not None, name
    for line in found[1].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def permissions(cell: str) -> frozenset[str]:
    """The permissions of a cell."""
    assert cell == "none" or re.fullmatch(r"`[\w-]+`( `[\w-]+`)*", cell), cell
    return frozenset(re.findall(r"`(.+?)`", cell))


def roles() -> dict[str, frozenset[str]]:
    """The permissions of the roles that are built in."""
    return {name.strip("`"): permissions(cell) for name, cell in rows("roles")}


def routes() -> list[Route]:
    found = []
    for paths, methods, who, needs, *others in rows("routes"):
        for path, method in itertools.product(re.findall(r"`(.+?)`", paths), methods.split()):
            # What stands in brackets may be left out, any of several, and HEAD is where GET is.
            *parts, last = re.split(r"\[(.*?)\]", path)
            choices = [(part, "") if number % 2 else (part,) for number, part in enumerate(parts)]
            for each in {"".join(chosen) + last for chosen in itertools.product(*choices)}:
                found += [
                    Route(one, each, who, permissions(needs), *others)
                    for one in (("GET", "HEAD") if method == "GET" else (method,))
                ]
    return found


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, Http(users=(ANNA,))) as made:
        made.tenants = TENANTS
        made.reasons = ["the disk is full"]
        yield made


async def ask(app: House, route: Route, **headers: str) -> ClientResponse:
    """The answer, its body left: that of `/ui/events` has no end."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await app.client.request(route.method, route.url, headers=fields, allow_redirects=False)
    answer.close()
    return answer


def check_headers(route: Route, answer: ClientResponse) -> None:
    """Nothing in it is active, but for pages of ours."""
    for name in set(EVERY_ANSWER) - {"Content-Security-Policy", "Referrer-Policy"}:
        assert answer.headers[name] == EVERY_ANSWER[name], route
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'"), route
    assert "frame-ancestors 'none'" in policy, route
    assert route.answer == "page" or "script-src" not in policy, route
    assert not any(name.startswith("Access-Control") for name in answer.headers), route


@pytest.mark.case("every route and service stands in the security document, with who may call it")
class TestRoutes:
    async def test_all_and_no_others(self, app: House) -> None:
        served = {(each.method, each.resource.canonical) for each in app.client.app.router.routes() if each.resource}
        listed = [(each.method, each.path) for each in routes()]
        assert sorted(set(listed)) == sorted(served)
        assert len(set(listed)) == len(listed), "one of them stands there twice"

    async def test_who(self) -> None:
        for route in routes():
            assert route.is_open or route.signs_in or route.setting or route.who == "users", route
            assert route.answer in ("data", "page"), route
            assert (route.changes == "nothing") is (route.method in ("GET", "HEAD", "OPTIONS")), route

    async def test_without_credentials(self, app: House) -> None:
        for route in routes():
            answer = await ask(app, route)
            if route.signs_in:
                assert answer.status in (200, 403, 404), route
            else:
                assert answer.status in ((200, 503) if route.is_open else (401,)), route
            assert ("WWW-Authenticate" in answer.headers) is (answer.status == 401), route
            check_headers(route, answer)

    async def test_to_pages_of_others(self, app: House) -> None:
        """A browser that has a password of ours sends it along with whatever a page of somebody else asks for."""
        for route, origin in itertools.product(routes(), ("http://evil.example", "null")):
            answer = await ask(app, route, Origin=origin, **LET_IN)
            assert answer.status in ((200, 503) if route.is_open else (403,)), route
            check_headers(route, answer)

    async def test_under_a_name_of_others(self, app: House) -> None:
        for route in routes():
            answer = await ask(app, route, Host="evil.example", **LET_IN)
            assert answer.status in ((200, 503) if route.is_open else (421,)), route

    async def test_with_credentials(self, app: House) -> None:
        for route in routes():
            if route.changes == "nothing" and not route.setting:
                answer = await ask(app, route, **LET_IN)
                assert answer.status < 500 or route.is_open, route
                assert answer.status not in ((421,) if route.signs_in else (401, 403, 421)), route
                check_headers(route, answer)

    async def test_what_a_setting_opens(self, app: House) -> None:
        guarded = [route for route in routes() if route.setting and route.method != "HEAD"]
        assert {route.setting for route in guarded} == {"dicomweb.delete", "rest.log_level", "rest.shutdown"}
        for route in guarded:
            answer = await app.client.request(route.method, route.url, headers=LET_IN)
            assert (answer.status, route.setting in await answer.text()) == (403, True), route
        app.dicomweb, app.rest = Dicomweb(delete=True), Rest(shutdown=True, log_level=True)
        for route in guarded:
            assert (await ask(app, route, **LET_IN)).status != 403, route

    async def test_without_users_whoever_reaches_it_may(self, app: House) -> None:
        app.http = Http()
        for route in routes():
            if route.changes == "nothing" and not route.setting:
                assert (await ask(app, route)).status not in ((421,) if route.signs_in else (401, 403, 421)), route

    @pytest.mark.parametrize(
        "path", ["/nope", "/system/", "/dicom-web//studies", "/ui/../system", "/dicom-web/studies/"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "TRACE", "OPTIONS"])
    async def test_whatever_else_is_asked_needs_credentials_too(self, app: House, method: str, path: str) -> None:
        answer = await app.client.request(method, path, allow_redirects=False)
        assert answer.status == 401


class Service(NamedTuple):
    name: str
    strangers: bool
    """Whether `allow_any_caller` lets strangers ask for it, as `any_caller_may` is by default."""
    needs: frozenset[str]
    """Permissions of which one is needed, where a modality or user has roles."""


def services() -> list[Service]:
    found = []
    for name, _messages, strangers, needs, _changes in rows("services"):
        assert strangers in ("yes", "no")
        found.append(Service(name.strip("`"), strangers == "yes", permissions(needs)))
    return found


async def granted(gateway: Intake) -> set[str]:
    """The services that a caller is granted which proposes all their SOP classes, those of each service by themselves.

    Raises AssociationRefused.
    """
    found: dict[str, set[int]] = {service: set() for service in SERVICES}
    syntaxes = [uids.IMPLICIT_VR_LITTLE_ENDIAN.uid, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid]
    for service, results in found.items():
        classes = [uid for uid in sorted(Offer(Dicom()).contexts) if REGISTRY.permission_of(uid) == service]
        for at in range(0, len(classes), 100):
            async with associate(gateway.call(*[(uid, syntaxes) for uid in classes[at : at + 100]])) as peer:
                results |= {context.result for context in peer.association.accepted.contexts}
    assert all(results in ({ACCEPTANCE}, {USER_REJECTION}) for results in found.values()), found
    return {service for service, results in found.items() if results == {ACCEPTANCE}}


@pytest.mark.case("every route and service stands in the security document, with who may call it")
class TestServices:
    def test_all_and_no_others(self) -> None:
        listed = [service.name for service in services()]
        assert sorted(listed) == sorted(SERVICES)
        assert {REGISTRY.permission_of(uid) for uid in Offer(Dicom()).contexts} == set(SERVICES)
        assert {service.name for service in services() if service.strangers} == set(Dicom().any_caller_may)

    async def test_on_loopback_with_nobody_named(self, tmp_path: Path) -> None:
        async with asyncio.timeout(60), intake(tmp_path) as gateway:
            assert await granted(gateway) == set(SERVICES)

    async def test_to_strangers_once_somebody_is_named(self, tmp_path: Path) -> None:
        async with asyncio.timeout(60), intake(tmp_path, modalities={"ct": {"aet": "CT"}}) as gateway:
            for uid in sorted(Offer(Dicom()).contexts):
                with pytest.raises(AssociationRefused) as caught:
                    async with associate(gateway.call((uid, [uids.IMPLICIT_VR_LITTLE_ENDIAN.uid]))):
                        pass
                refusal = caught.value
                assert (refusal.result, refusal.source, refusal.reason) == CALLING_AE_TITLE_NOT_RECOGNIZED, uid

    async def test_to_strangers_where_any_caller_is_allowed(self, tmp_path: Path) -> None:
        dicom, modalities = {"allow_any_caller": True}, {"ct": {"aet": "CT"}}
        async with asyncio.timeout(60), intake(tmp_path, dicom=dicom, modalities=modalities) as gateway:
            assert await granted(gateway) == {service.name for service in services() if service.strangers}

    async def test_to_a_modality_that_may_one_thing(self, tmp_path: Path) -> None:
        async with asyncio.timeout(60), intake(tmp_path) as gateway:
            for service in SERVICES:
                gateway.configure(modalities={"ct": {"aet": "TEST", "allow": [service]}})
                assert await granted(gateway) == {service}


@pytest.mark.case("whoever has a role may what the security document says, at every route and service, and no more")
class TestRoles:
    def test_built_in(self) -> None:
        assert {name: frozenset(role.permissions) for name, role in BUILT_IN.items()} == roles()

    def test_a_route_without_a_rule_is_none(self) -> None:
        with pytest.raises(TypeError, match="permission"):
            Declared("GET", "/new", None)  # type: ignore[call-arg, arg-type]

    @pytest.mark.parametrize("role", ["none", *BUILT_IN, *CONDITIONAL])
    async def test_routes(self, tmp_path: Path, role: str) -> None:
        """What is below the root of another tenant is not there; that of one's own is as all else."""
        may = {**roles(), "none": frozenset[str](), **CONDITIONAL}[role]
        user = msgspec.structs.replace(ANNA, roles=(role,))
        async with asyncio.timeout(55), house(tmp_path, Http(users=(user,))) as app:
            app.tenants = TENANTS
            app.roles = {
                "limited": Role(permissions=("all",), labels=("a",)),
                "own tenant": Role(permissions=("all",), tenant="1"),
                "other tenant": Role(permissions=("all",), tenant="2"),
            }
            for route in routes():
                if route.is_open or route.signs_in or (route.method != "GET" and role == "admin"):
                    continue
                answer = await app.client.request(route.method, route.url, headers=LET_IN, allow_redirects=False)
                if route.path == "/ui/events":
                    answer.close()
                    refused = answer.status == 403
                else:
                    refused = answer.status == 403 and b"has no role with the permission" in await answer.read()
                if "{tenant}" in route.path and role in ("none", "other tenant"):
                    assert answer.status == 404, route
                    continue
                if route.method == "HEAD":
                    refused = answer.status == 403
                of_patient = role == "limited" and (
                    (route.method in ("PUT", "DELETE") and route.path.startswith("/patients/{id}/"))
                    or (route.method == "POST" and route.path in OF_WHOLE_PATIENT)
                )
                allowed = not route.needs or "all" in may or bool(route.needs & may)
                if route.method == "HEAD" and route.setting:
                    continue  # It has no text that says whether a permission is lacking or a setting.
                assert refused is (not allowed or of_patient), (route, answer.status)

    @pytest.mark.parametrize("role", ["none", *BUILT_IN, *CONDITIONAL])
    async def test_services(self, tmp_path: Path, role: str) -> None:
        may = {**roles(), "none": frozenset[str](), **CONDITIONAL}[role]
        conditional = {
            "limited": {"permissions": ["all"], "labels": ["a"]},
            "own tenant": {"permissions": ["all"], "tenant": "1"},
            "other tenant": {"permissions": ["all"], "tenant": "2"},
        }
        settings: dict[str, Any] = {
            "modalities": {"ct": {"aet": "TEST", "roles": [role]}},
            "roles": conditional,
            "tenants": {"1": {"aets": ["ONE"]}, "2": {}},
        }
        async with asyncio.timeout(55), intake(tmp_path, **settings) as gateway:
            if role in ("none", "other tenant"):
                with pytest.raises(AssociationRefused) as caught:
                    async with associate(gateway.call(called_aet="ONE")):
                        pass
                assert caught.value.reason == CALLED_AE_TITLE_NOT_RECOGNIZED[2]
            expected = {each.name for each in services() if not each.needs or "all" in may or each.needs & may}
            assert await granted(gateway) == expected


class TestReferences:
    """The matrix: each file and each test that it names."""

    def test_files(self) -> None:
        named = set(re.findall(r"`((?:gateway|deploy|tests|loadtest)/[\w./]+)", TEXT))
        assert len(named) > 50
        assert [name for name in sorted(named) if not (ROOT / name).exists()] == []

    def test_tests(self) -> None:
        named = set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", TEXT))
        assert len(named) > 50
        assert [f"{file}::{name}" for file, name in sorted(named) if name not in defined_in(ROOT / file)] == []

    def test_each_attack_has_one(self) -> None:
        for attack, _where, tests in rows("attacks"):
            assert "tests/" in tests, attack


@functools.cache
def defined_in(file: Path) -> set[str]:
    """Tests of a file as pytest names them, classes too."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
    return found
