"""`dicom-gateway token` and `link` against a running gateway."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.index.identity import public_id
from tests.support.processes import Gateway
from tests.support.remote import file_of, numbered
from tests.support.sign_in import ADMIN, PASSWORD, by_password

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STUDY = "1.2.3"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tokens")
    users = "".join(
        f'[[http.users]]\nname = "{name}"\npassword = "{ADMIN.password}"\nroles = ["{role}"]\n'
        for name, role in (("ann", "admin"), ("rob", "view"))
    )
    (folder / "gateway.toml").write_text(users)
    with Gateway(folder / "data", "--config", str(folder / "gateway.toml")) as started:
        status, _ = sent(started, "POST", "/instances", by_password("ann"), file_of(numbered(1)))
        assert status == 200
        yield started


def sent(
    gateway: Gateway, method: str, path: str, headers: dict[str, str], data: bytes | None = None
) -> tuple[int, bytes]:
    request = urllib.request.Request(gateway.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def run(gateway: Gateway, *arguments: str, user: str = "ann") -> Result:
    return CliRunner().invoke(app, [*arguments, "--url", gateway.url, "--user", f"{user}:{PASSWORD}"])


def listed(gateway: Gateway, user: str = "ann") -> list[dict[str, Any]]:
    result = run(gateway, "token", "list", "--json", user=user)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_from_its_making_to_its_end(gateway: Gateway) -> None:
    made = run(gateway, "token", "make", "nightly", "--role", "view", "--days", "2")
    assert made.exit_code == 0, made.output
    bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert sent(gateway, "GET", "/studies", bearer)[0] == 200
    assert sent(gateway, "DELETE", f"/studies/{public_id('P1', STUDY)}", bearer)[0] == 403
    (token,) = listed(gateway)
    assert (token["Kind"], token["Name"], token["User"], token["Roles"]) == ("token", "nightly", "ann", ["view"])
    assert f"token {token['ID']} with the role view ends {token['ExpirationDate']}" in made.stderr
    assert "nightly of ann: the role view" in run(gateway, "token", "list").stdout
    revoked = run(gateway, "token", "revoke", token["ID"])
    assert (revoked.exit_code, revoked.stdout) == (0, f"revoked: {token['ID']}\n")
    assert sent(gateway, "GET", "/studies", bearer)[0] == 401
    assert run(gateway, "token", "list").stdout == "There are no tokens and no links.\n"


def test_no_more_than_one_has(gateway: Gateway) -> None:
    refused = run(gateway, "token", "make", "all", "--role", "admin", user="rob")
    assert refused.exit_code == 1
    assert "user rob may not do everything that the role 'admin' may" in str(refused.exception)
    assert listed(gateway, "rob") == []


def test_of_somebody_else(gateway: Gateway) -> None:
    made = json.loads(run(gateway, "token", "make", "ours", "--json").stdout)
    assert listed(gateway, "rob") == []
    refused = run(gateway, "token", "revoke", made["ID"], user="rob")
    assert (refused.exit_code, "there is no token or link" in str(refused.exception)) == (1, True)
    some = run(gateway, "token", "revoke", "nothing", made["ID"], "--json")
    assert (some.exit_code, json.loads(some.stdout)) == (1, {"revoked": [made["ID"]], "missing": ["nothing"]})


@pytest.mark.parametrize("study", [STUDY, public_id("P1", STUDY)])
def test_a_link(gateway: Gateway, study: str) -> None:
    made = run(gateway, "link", study, "--name", "Dr. Who", "--uses", "2", "--days", "1")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip().rpartition("token=")[2]
    (one,) = json.loads(sent(gateway, "GET", f"/studies?token={secret}", {})[1])
    assert one == public_id("P1", STUDY)
    (link,) = listed(gateway)
    assert (link["Kind"], link["Name"], link["Count"], link["ResourcesDicomIds"]) == ("link", "Dr. Who", 1, [STUDY])
    assert "1 study, ends" in run(gateway, "token", "list").stdout
    assert run(gateway, "token", "revoke", link["ID"]).exit_code == 0
    assert sent(gateway, "GET", f"/studies?token={secret}", {})[0] == 401


def test_wrong_use(gateway: Gateway) -> None:
    assert run(gateway, "link", "1.2.3.4").exit_code == 1
    assert run(gateway, "token", "make").exit_code == 2
    assert run(gateway, "token", "make", "x", "--days", "0").exit_code == 2
    wrong = CliRunner().invoke(app, ["token", "list", "--url", gateway.url, "--user", "ann:wrong"])
    assert (wrong.exit_code, "answered 401" in str(wrong.exception)) == (1, True)
