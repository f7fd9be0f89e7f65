"""gateway/web/rest/jobs.py: whose jobs somebody may act on."""

from __future__ import annotations

import time

import pytest

from gateway.config import Http, User
from gateway.config.roles import Role
from gateway.database.actor import GATEWAY, Actor
from gateway.forwarding.table import KIND as DELIVERY
from gateway.jobs.table import add_job, get_job
from tests.support.sign_in import ADMIN, by_password
from tests.support.web import House


@pytest.fixture
def house(gateway: House) -> House:
    names = {"eva": ("view",), "max": ("view",), "ops": ("view", "ops"), "rick": ("route",)}
    users = [User(name, ADMIN.password, roles) for name, roles in names.items()]
    gateway.http = Http(users=(ADMIN, *users))
    gateway.roles = {"ops": Role(permissions=("settings",))}
    return gateway


async def added(house: House, actor: Actor, kind: str = "Archive") -> int:
    return await house.database.write(lambda: add_job(kind, {}, time.time(), actor=actor))


async def acted(house: House, user: str, number: int, how: str) -> int:
    method, path = ("DELETE", f"/jobs/{number}") if how == "delete" else ("POST", f"/jobs/{number}/{how}")
    return (await house.client.request(method, path, headers=by_password(user))).status


@pytest.mark.parametrize("how", ["cancel", "pause", "resume", "resubmit", "delete"])
async def test_of_somebody_else(house: House, how: str) -> None:
    """Who may view everything sees them, and no more."""
    number = await added(house, Actor("eva", "token t", "10.0.0.1"))
    assert (await house.client.get(f"/jobs/{number}", headers=by_password("max"))).status == 200
    assert await acted(house, "max", number, how) == await acted(house, "rick", number, how) == 403
    job = await get_job(house.database, number)
    assert job is not None
    assert (job.state, job.actor) == ("waiting", Actor("eva", "token t", "10.0.0.1"))
    done = 400 if how == "delete" else 200  # It is not over.
    assert await acted(house, "eva", number, how) == done


async def test_by_who_may_change_the_settings(house: House) -> None:
    for user in ("ops", "ann"):
        assert await acted(house, user, await added(house, Actor("eva")), "cancel") == 200
        assert await acted(house, user, await added(house, GATEWAY), "cancel") == 200


async def test_of_a_delivery(house: House) -> None:
    for user, expected in (("eva", 403), ("ops", 403), ("rick", 200), ("ann", 200)):
        assert await acted(house, user, await added(house, GATEWAY, DELIVERY), "pause") == expected, user


async def test_without_users(gateway: House) -> None:
    number = await added(gateway, Actor("", "", "10.0.0.1"))
    assert (await gateway.client.post(f"/jobs/{number}/cancel")).status == 200
