"""gateway/access/tokens.py: what a JSON Web Token proves, and where keys come from."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from gateway import config
from gateway.access.bearer import BearerAuthenticator
from gateway.access.issued_tokens import IssuedTokens
from gateway.access.tokens import TokenRefused, TokenVerifier, check_tokens, fetch, read_keys
from gateway.database.sqlite import SQLite
from gateway.errors import ConfigurationError

NOW = 1_800_000_000
ISSUER, AUDIENCE = "https://login.example", "gateway"
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": NOW + 300}
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
STRANGER = RSAKey.generate_key(2048, {"kid": "stranger"})


def key_set(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def made(key: Key = RSA, algorithm: str = "RS256", header: dict[str, str] | None = None, **claims: Any) -> bytes:
    chosen = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, chosen, key, [algorithm]).encode()


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> bytes:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    return b".".join((*parts, b""))


@pytest.fixture
def tokens(tmp_path: Path) -> config.Tokens:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(RSA, EC))
    return config.Tokens(issuer=ISSUER, audience=AUDIENCE, keys=str(file))


def verifier() -> TokenVerifier:
    return TokenVerifier(clock=lambda: NOW)


async def user(token: bytes, tokens: config.Tokens) -> str:
    return (await verifier().verify(token, tokens)).name


class TestTaken:
    @pytest.mark.parametrize(
        "token",
        [
            pytest.param(made(), id="RS256"),
            pytest.param(made(algorithm="PS384"), id="PS384"),
            pytest.param(made(EC, "ES256"), id="ES256"),
            pytest.param(made(aud=["other", AUDIENCE]), id="one of several audiences"),
            pytest.param(made(exp=NOW - 30), id="within the leeway"),
            pytest.param(made(header={"typ": "at+jwt"}), id="another type"),
            pytest.param(jwt.encode({"alg": "RS256"}, CLAIMS, RSA).encode(), id="without a key id"),
        ],
    )
    async def test_its_user(self, tokens: config.Tokens, token: bytes) -> None:
        assert await user(token, tokens) == "ann"

    async def test_by_another_claim(self, tokens: config.Tokens) -> None:
        tokens = msgspec.structs.replace(tokens, user_claim="email", users=("ann@example",))
        assert await user(made(email="ann@example"), tokens) == "ann@example"

    async def test_a_key_in_pem(self, tmp_path: Path) -> None:
        file = tmp_path / "key.pem"
        file.write_bytes(RSA.as_pem(private=False))
        assert await user(made(), config.Tokens(issuer=ISSUER, audience=AUDIENCE, keys=str(file))) == "ann"


class TestRefused:
    @pytest.mark.parametrize(
        ("token", "why"),
        [
            (made(exp=NOW - 61), "has expired"),
            (made(exp=None), "exp"),
            (made(exp="tomorrow"), "exp"),
            (made(nbf=NOW + 100), "not yet valid"),
            (made(iat=NOW + 100), "in the future"),
            (made(aud="other"), "aud"),
            (made(aud=None), "aud"),
            (made(iss="https://evil.example"), "iss"),
            (made(iss=None), "iss"),
            (made(sub=None), "names no user"),
            (made(sub="ann\nroot"), "names no user"),
            (made(sub="bob"), "'bob', a user that is not in tokens.users"),
            (made(STRANGER), "'stranger' that is not in tokens.keys"),
            (made(STRANGER, header={"kid": "rsa"}), "'rsa' that is not in tokens.keys"),
            (made(RSA, header={"kid": "ec"}), "'ec' that is not in tokens.keys"),
            (unsigned({"alg": "none"}, CLAIMS), "signed with 'none'"),
            (unsigned({"alg": "RS256", "kid": "rsa"}, CLAIMS), "not in tokens.keys"),
            (unsigned({}, CLAIMS), "not a signed|signed with 'None'"),
            (unsigned({"alg": ["RS256"]}, CLAIMS), "not a signed|signed with"),
            (unsigned({"alg": "RS256", "kid": {"a": 1}}, CLAIMS), "not in tokens.keys|not a signed"),
            (b"", "not a signed"),
            (b"a.b.c", "not a signed"),
            (b"\xff.\xfe.\x00", "not a signed"),
            (b"x" * 20_000, "more than 16384"),
            (made() + b"x", "not in tokens.keys|not a signed"),
            (jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, b'{"\x80":1}', RSA).encode(), "is not valid"),
            (jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, b"[" * 9000, RSA).encode(), "is not valid"),
        ],
    )
    async def test_with_the_reason(self, tokens: config.Tokens, token: bytes, why: str) -> None:
        tokens = msgspec.structs.replace(tokens, users=("ann",))
        with pytest.raises(TokenRefused, match=why) as caught:
            await verifier().verify(token, tokens)
        assert len(token) < 10 or token[-8:].decode("latin-1") not in str(caught.value)

    async def test_a_public_key_as_the_secret_of_a_mac(self, tokens: config.Tokens) -> None:
        """RFC 8725 §2.1: whoever has the public key could make such a token."""
        signed = unsigned({"alg": "HS256", "kid": "rsa"}, CLAIMS)[:-1]
        mac = hmac.digest(RSA.as_pem(private=False), signed, hashlib.sha256)
        with pytest.raises(TokenRefused, match="'HS256'"):
            await verifier().verify(signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"="), tokens)


class TestKeys:
    def test_what_is_none_is_left_out(self) -> None:
        others = [
            OctKey.generate_key(256).as_dict(private=True),
            {**RSA.as_dict(private=False), "use": "enc"},
            {"kty": "RSA", "n": "!", "e": "AQAB"},
            "x",
        ]
        data = json.dumps({"keys": [*others, EC.as_dict(private=False)]}).encode()
        assert [key.kid for key in read_keys(data)] == ["ec"]

    @pytest.mark.parametrize(
        "data", [b"", b"{}", b'{"keys": []}', b"[]", b"-----BEGIN PUBLIC KEY-----\nx\n", b"\xff", key_set()]
    )
    def test_none_at_all(self, data: bytes) -> None:
        with pytest.raises(ValueError, match=r"key|JWK"):
            read_keys(data)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"tokens\.keys .*No such file"):
            check_tokens(config.Tokens(keys=str(tmp_path / "none")))

    async def test_a_file_that_changes(self, tokens: config.Tokens) -> None:
        ours, file = verifier(), Path(tokens.keys)
        assert (await ours.verify(made(), tokens)).name == "ann"
        file.write_bytes(b"half of i")
        assert (await ours.verify(made(), tokens)).name == "ann"
        file.write_bytes(key_set(STRANGER))
        assert (await ours.verify(made(STRANGER), tokens)).name == "ann"
        with pytest.raises(TokenRefused):
            await ours.verify(made(), tokens)


class Issuer:
    """Hands out keys, and time that we make go by."""

    def __init__(self, *keys: Key) -> None:
        self.now = float(NOW)
        self.body: bytes | None = key_set(*keys)
        self.asked = 0
        self.verifier = TokenVerifier(fetch=self.fetch, clock=lambda: self.now)
        self.tokens = config.Tokens(issuer=ISSUER, audience=AUDIENCE, keys="https://login.example/keys")

    async def fetch(self, url: str) -> bytes:
        self.asked += 1
        if self.body is None:
            raise OSError("down")
        return self.body

    async def takes(self, key: Key) -> bool:
        try:
            return (await self.verifier.verify(made(key, exp=int(self.now) + 300), self.tokens)).name == "ann"
        except TokenRefused:
            return False


class TestFetched:
    async def test_once_for_many(self) -> None:
        issuer = Issuer(RSA)
        assert all(await asyncio.gather(*(issuer.takes(RSA) for _ in range(10))))
        assert issuer.asked == 1

    async def test_again_for_a_key_that_is_new(self) -> None:
        issuer = Issuer(RSA)
        assert await issuer.takes(RSA)
        issuer.body = key_set(RSA, STRANGER)
        issuer.now += 31
        assert await issuer.takes(STRANGER)
        assert issuer.asked == 2

    async def test_not_for_every_token_that_somebody_makes_up(self) -> None:
        issuer = Issuer(RSA)
        for _ in range(20):
            assert not await issuer.takes(STRANGER)
            issuer.now += 1
        assert issuer.asked == 1
        assert await issuer.takes(RSA)

    @pytest.mark.parametrize("seconds", [60.0, 5.0, 900.0])
    async def test_a_key_that_is_withdrawn(self, seconds: float) -> None:
        issuer = Issuer(RSA)
        issuer.tokens = msgspec.structs.replace(issuer.tokens, keys_seconds=seconds)
        assert await issuer.takes(RSA)
        issuer.body = key_set(STRANGER)
        issuer.now += seconds - 1
        assert await issuer.takes(RSA)
        issuer.now += 1
        assert not await issuer.takes(RSA)

    async def test_what_was_proved_by_a_key_that_is_withdrawn(self, tmp_path: Path) -> None:
        """It is remembered for as long as the keys are, and no longer."""
        issuer, bearer_token = Issuer(RSA), made(exp=NOW + 300).decode()
        settings = config.Settings(tokens=msgspec.structs.replace(issuer.tokens, roles=("view",)))
        database = await SQLite.open(tmp_path / "index.db")
        try:
            bearer = BearerAuthenticator(issuer.verifier, IssuedTokens(database), lambda: issuer.now)
            assert (await bearer.authenticate(bearer_token, settings)).name == "ann"
            issuer.now += 40
            assert await issuer.takes(RSA)
            issuer.body = key_set(STRANGER)
            issuer.now += 19
            assert (await bearer.authenticate(bearer_token, settings)).name == "ann"
            issuer.now += 1
            with pytest.raises(TokenRefused, match=r"not in tokens\.keys"):
                await bearer.authenticate(bearer_token, settings)
        finally:
            await database.close()

    async def test_an_issuer_that_is_down_for_an_hour_and_for_two_days(self) -> None:
        issuer = Issuer(RSA)
        assert await issuer.takes(RSA)
        issuer.body = None
        issuer.now += 7200
        assert await issuer.takes(RSA)
        issuer.now += 86400
        assert not await issuer.takes(RSA)
        issuer.body = key_set(RSA)
        issuer.now += 31
        assert await issuer.takes(RSA)

    async def test_over_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def answer(request: web.Request) -> web.Response:
            match request.path:
                case "/keys":
                    return web.Response(body=key_set(RSA))
                case "/large":
                    return web.Response(body=b" " * 300_000)
                case "/elsewhere":
                    raise web.HTTPFound("/keys")
            raise web.HTTPNotFound

        app = web.Application()
        app.router.add_get("/{any}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with asyncio.timeout(10):
                assert [key.kid for key in read_keys(await fetch(f"{base}/keys"))] == ["rsa"]
                for path in ("large", "elsewhere", "none"):
                    with pytest.raises(OSError, match="it answers"):
                        await fetch(f"{base}/{path}")
        finally:
            await runner.cleanup()
        with pytest.raises(OSError, match="onnect"):
            await fetch(f"{base}/keys")
