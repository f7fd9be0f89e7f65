"""gateway/access/principals.py: what roles permit, for which resources, and which settings of roles are wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.principals import (
    ANYBODY,
    Principal,
    granting,
    permitted_services,
    principal,
    role_problems,
    user_principal,
    within,
)
from gateway.config import SERVICES, Http, Modality, Settings, Tenant, User
from gateway.config.roles import BUILT_IN, DEPOSIT, LEVELS_OF_PERMISSION, OF_STUDIES, OF_TENANTS, PERMISSIONS, Role


def role(*permissions: str, **conditions: Any) -> Role:
    return Role(permissions=permissions, **conditions)


class TestGranting:
    def test_those_that_grant_one_of_them(self) -> None:
        roles = role("view"), role("delete", "upload"), role("all")
        assert granting(roles, ("view",)) == (roles[0], roles[2])
        assert granting(roles, ("view", "upload")) == roles
        assert granting(roles[:1], ("settings",)) == ()

    def test_where_no_permission_is_needed(self) -> None:
        """Somebody without roles may, and sees nothing."""
        assert granting((role("view"),), ()) == (role("view"),)
        (nothing,) = granting((), ())
        assert granting((nothing,), PERMISSIONS) == ()

    @pytest.mark.parametrize("highest", LEVELS_OF_PERMISSION)
    @pytest.mark.parametrize("level", LEVELS_OF_PERMISSION)
    def test_from_a_level_down(self, highest: str, level: str) -> None:
        may = LEVELS_OF_PERMISSION.index(level) >= LEVELS_OF_PERMISSION.index(highest)
        assert bool(granting((role(f"delete:{highest}"),), ("delete",), level)) is may
        assert granting((role(f"delete:{highest}"),), ("view",), "instance") == ()

    def test_of_some_studies(self) -> None:
        """What is about more than studies needs a role without conditions."""
        limited = role("all", "settings", "route", labels=("a",))
        for permission in PERMISSIONS:
            assert bool(granting((limited,), (permission,))) is (permission in OF_STUDIES), permission

    @given(st.sets(st.sampled_from(PERMISSIONS)), st.sets(st.sampled_from(PERMISSIONS), min_size=1))
    def test_any_permissions(self, given_ones: set[str], needed: set[str]) -> None:
        assert bool(granting((role(*given_ones),), needed)) is bool(given_ones & needed)


class TestConditions:
    @pytest.mark.parametrize(
        "conditions",
        [
            {"labels": ("a",)},
            {"without_labels": ("a",)},
            {"sources": ("CT",)},
            {"patients": ("*",)},
            {"studies": ("1.2",)},
            {"days": 1},
            {"tenant": "a"},
        ],
    )
    def test_each(self, conditions: dict[str, Any]) -> None:
        assert role("view", **conditions).has_conditions

    def test_none(self) -> None:
        assert not any(each.has_conditions for each in BUILT_IN.values())

    def test_no_field_is_forgotten(self) -> None:
        assert set(msgspec.structs.asdict(role())) - {"permissions"} == {
            *("labels", "without_labels", "sources", "patients", "studies", "days", "tenant"),
        }


class TestTenants:
    OWN, OTHER, ABOVE = role("view", tenant="a"), role("view", tenant="b"), role("view", labels=("x",))

    def test_within(self) -> None:
        above = msgspec.structs.replace(self.ABOVE, tenant="a")
        assert within((self.OWN, self.OTHER, self.ABOVE), "a") == (self.OWN, above)
        assert within((self.OTHER,), "a") == ()

    def test_what_they_may(self) -> None:
        """What is about studies, and the tenant's own modalities; of a part of its studies not these."""
        everything = role("all", tenant="a")
        assert {each for each in (*PERMISSIONS, DEPOSIT) if granting((everything,), (each,))} == OF_TENANTS
        in_part = role("all", tenant="a", labels=("x",))
        assert {each for each in PERMISSIONS if granting((in_part,), (each,))} == OF_STUDIES

    def test_whole_patients(self) -> None:
        """Who sees all studies of a tenant may change what is its patients' own."""
        held = Principal("anna", (self.OWN, self.ABOVE, role("view", tenant="a", days=1)))
        assert held.without_conditions().roles == (self.OWN,)


class TestPrincipals:
    def test_of_names(self) -> None:
        settings = Settings(roles={"mine": role("view", labels=("a",)), "view": role("upload")})
        found = principal("anna", ("mine", "view", "store", "gone"), settings)
        assert found == Principal("anna", (role("view", labels=("a",)), role("upload"), BUILT_IN["store"]))
        assert found.without_conditions().roles == (role("upload"), BUILT_IN["store"])

    def test_of_users(self) -> None:
        settings = Settings(
            http=Http(users=(User(name="anna", password=""), User(name="ben", password="", roles=("view",))))
        )
        assert user_principal("anna", settings).roles == (BUILT_IN["admin"],)
        assert user_principal("ben", settings).roles == (BUILT_IN["view"],)
        assert user_principal("eve", settings).roles == ()

    def test_anybody(self) -> None:
        assert all(ANYBODY.granting((permission,)) for permission in PERMISSIONS)

    def test_services(self) -> None:
        assert permitted_services((BUILT_IN["admin"],), SERVICES) == set(SERVICES)
        assert permitted_services((BUILT_IN["view"],), SERVICES) == {"echo", "find", "get"}
        assert permitted_services((role("all", sources=("CT",)),), SERVICES) == set(SERVICES) - {"worklist", "mpps"}


class TestProblems:
    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            (Settings(roles={"x": role("veiw")}), "roles.x.permissions: 'veiw' is no permission"),
            (Settings(roles={"x": role("view:paper")}), "roles.x.permissions: 'paper' is no level"),
            (Settings(roles={"x": role("view", days=0)}), "roles.x.days: 0 is not a positive number"),
            (Settings(roles={"x": role("settings", labels=("a",))}), "roles.x.permissions: 'settings' is about more"),
            (
                Settings(roles={"x": role("settings", tenant="a")}, tenants={"a": Tenant()}),
                "roles.x.permissions: 'settings' is about more",
            ),
            (Settings(roles={"x": role("view", tenant="a")}), "roles.x.tenant: 'a' is no tenant; there are none"),
            (
                Settings(http=Http(users=(User(name="a", password="", roles=("x",)),))),
                "http.users: a: roles: 'x' is no",
            ),
            (Settings(modalities={"ct": Modality(aet="CT", roles=("x",))}), "modalities.ct.roles: 'x' is no role"),
        ],
    )
    def test_each(self, settings: Settings, text: str) -> None:
        (problem,) = role_problems(settings)
        assert text in problem

    def test_none(self) -> None:
        users = User(name="a", password="", roles=("x", "view"))
        limited = role("all", "delete:series", labels=("a",))
        assert list(role_problems(Settings(roles={"x": limited}, http=Http(users=(users,))))) == []
