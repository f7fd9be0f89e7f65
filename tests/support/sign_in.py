"""Users, keys and an issuer for tests of signing in."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse
from joserfc import jwt
from joserfc.jwk import Key, RSAKey

from gateway.access.passwords import hash_password
from gateway.config import Tokens, User
from gateway.remote.credentials import basic
from tests.support.web import House

ISSUER, AUDIENCE = "https://login.example", "gateway"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "two"})
_HASH = hash_password("a long password")
ADMIN = User(name="ann", password=_HASH)
READER = User(name="rob", password=_HASH, roles=("view",))
PASSWORD = "a long password"


def key_set(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def web_token(key: Key = KEY, algorithm: str = "RS256", **claims: Any) -> str:
    """A token of the issuer that is valid now, but for the claims that are given; None leaves one out."""
    now = int(time.time())
    all_claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eva", "exp": now + 300, **claims}
    chosen = {name: value for name, value in all_claims.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid}, chosen, key, [algorithm])


def issuer_tokens(folder: Path, *keys: Key, **fields: Any) -> Tokens:
    """The section [tokens] with the keys in a file."""
    file = folder / "keys.json"
    file.write_bytes(key_set(*(keys or (KEY,))))
    return Tokens(issuer=ISSUER, audience=AUDIENCE, keys=str(file), **fields)


def by_password(name: str) -> dict[str, str]:
    """The header with a name and `PASSWORD`."""
    return {"Authorization": basic(name, PASSWORD)}


def origin(house: House) -> dict[str, str]:
    """The header with which a browser says that a page of ours makes a request."""
    return {"Origin": str(house.client.make_url("/")).rstrip("/")}


async def signed_in(house: House, name: str = "ann", password: str = PASSWORD, **fields: str) -> ClientResponse:
    """The answer to the form of the sign-in page; the client then has the cookie."""
    form = {"name": name, "password": password, **fields}
    return await house.client.post("/ui/sign-in", data=form, headers=origin(house), allow_redirects=False)
