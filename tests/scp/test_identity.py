"""gateway/access/identity.py: user identity negotiation (PS3.7 D.3.3.7) against the configured users."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.access.passwords import hash_password
from gateway.dimse import status
from gateway.errors import AssociationRefused
from gateway.net.requestor import associate
from gateway.ul.items import UserIdentity
from tests.support.intake import Intake, intake

REFUSED = (1, 1, 1)
USERS = {"users": [{"name": "ann", "password": hash_password("secret")}]}


async def answer(gateway: Intake, identity: UserIdentity | None) -> tuple[int, int, int] | bytes | None:
    """The refusal, or the server's response to an identity that was accepted."""
    try:
        async with associate(gateway.call(identity=identity)) as association:
            assert await association.echo() == status.SUCCESS
            accepted = association.association.accepted
            assert accepted is not None
            return accepted.user_information.identity_response
    except AssociationRefused as error:
        return error.result, error.source, error.reason


def password(text: bytes, name: bytes = b"ann", *, asks: bool = True) -> UserIdentity:
    return UserIdentity(2, name, text, asks)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong passwords are slowed down by seconds."""

    async def at_once(*_: object) -> None: ...

    monkeypatch.setattr("gateway.access.users.Authenticator._slow_down", at_once)


@pytest.mark.parametrize(
    ("how", "identity", "outcome"),
    [
        ("required", password(b"secret"), b""),
        ("required", password(b"secret", asks=False), None),
        ("required", password(b"wrong"), REFUSED),
        ("required", password(b"secret", b"bob"), REFUSED),
        ("required", password(b"\xff\xfe", b"\xff"), REFUSED),
        ("required", None, REFUSED),
        ("required", UserIdentity(1, b"ann", b"", True), REFUSED),
        ("required", UserIdentity(3, b"ticket", b"", True), REFUSED),
        ("optional", password(b"secret"), b""),
        ("optional", password(b"wrong"), REFUSED),
        ("optional", None, None),
        ("ignored", password(b"wrong"), None),
    ],
)
async def test_answers(
    tmp_path: Path, how: str, identity: UserIdentity | None, outcome: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A positive response is sent when it was asked for, and only for what was checked."""
    async with asyncio.timeout(20), intake(tmp_path, dicom={"user_identity": how}, http=USERS) as gateway:
        assert await answer(gateway, identity) == outcome
    assert "secret" not in caplog.text


async def test_a_name_alone_where_that_is_taken(tmp_path: Path) -> None:
    dicom = {"user_identity": "required", "user_identity_types": ["name"]}
    async with asyncio.timeout(20), intake(tmp_path, dicom=dicom, http=USERS) as gateway:
        assert await answer(gateway, UserIdentity(1, b"ann", b"", True)) == b""
        assert await answer(gateway, UserIdentity(1, b"bob", b"", True)) == REFUSED
        assert await answer(gateway, password(b"secret")) == REFUSED


async def test_required_of_one_modality_only(tmp_path: Path) -> None:
    modalities = {"a": {"aet": "TEST", "user_identity": "required"}, "b": {"aet": "OTHER"}}
    async with asyncio.timeout(20), intake(tmp_path, modalities=modalities, http=USERS) as gateway:
        assert await answer(gateway, None) == REFUSED
        async with associate(gateway.call(calling_aet="OTHER")) as association:
            assert await association.echo() == status.SUCCESS


async def test_hashing_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An association that needs no password is answered while another's is being hashed."""
    hashing, go = asyncio.Event(), asyncio.Event()

    async def slowly(*_: Any) -> bool:
        hashing.set()
        await go.wait()
        return True

    monkeypatch.setattr("gateway.access.users.Authenticator._verify", slowly)
    modalities = {"a": {"aet": "TEST", "user_identity": "required"}, "b": {"aet": "OTHER"}}
    async with asyncio.timeout(20), intake(tmp_path, modalities=modalities, http=USERS) as gateway:
        waiting = asyncio.create_task(answer(gateway, password(b"secret")))
        await hashing.wait()
        async with associate(gateway.call(calling_aet="OTHER")) as association:
            assert await association.echo() == status.SUCCESS
        go.set()
        assert await waiting == b""


async def test_the_log_names_the_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with asyncio.timeout(20), intake(tmp_path, dicom={"user_identity": "optional"}, http=USERS) as gateway:
        await answer(gateway, password(b"secret"))
        await answer(gateway, password(b"wrong"))
    assert "accepted, 2 contexts, user ann" in caplog.text
    assert "rejected: wrong user name or password for 'ann'" in caplog.text


async def test_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Type 5: what a token proves is tests/access/test_tokens.py's."""
    caplog.set_level("INFO")
    key = ECKey.generate_key("P-256")
    file = tmp_path / "key.pem"
    file.write_bytes(key.as_pem(private=False))
    claims = {"iss": "us", "aud": "gateway", "sub": "ann", "exp": int(time.time()) + 60}

    def token(**changes: Any) -> UserIdentity:
        return UserIdentity(5, jwt.encode({"alg": "ES256"}, {**claims, **changes}, key).encode(), b"", True)

    sections: dict[str, Any] = {
        "dicom": {"user_identity": "required", "user_identity_types": ["token"]},
        "tokens": {"issuer": "us", "audience": "gateway", "keys": str(file)},
    }
    async with asyncio.timeout(20), intake(tmp_path / "data", **sections) as gateway:
        assert await answer(gateway, token()) == b""
        assert await answer(gateway, token(exp=int(time.time()) - 120)) == REFUSED
        assert await answer(gateway, password(b"secret")) == REFUSED
        gateway.configure(dicom={"user_identity_types": ["password"]})
        assert await answer(gateway, token()) == REFUSED
    assert "accepted, 2 contexts, user ann" in caplog.text
    assert "rejected: its token has expired" in caplog.text
    assert "of type 5; dicom.user_identity_types allows password" in caplog.text
