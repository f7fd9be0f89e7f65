"""Who we say to be over HTTP: passwords, tokens from files and from authorization servers, certificates."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from gateway import config
from gateway.errors import ConfigurationError
from gateway.examination import examine
from gateway.remote.credentials import credentials_of
from gateway.remote.destination import Destination, DestinationUnavailable
from gateway.remote.kinds import open_destination
from tests.contracts.destinations import item, settings_of
from tests.support.certificates import Authority, needs_openssl
from tests.support.web_servers import WebServer, basic_of, verified, web_server


@asynccontextmanager
async def peer(server: WebServer, **section: Any) -> AsyncIterator[Destination]:
    settings = settings_of(**{"kind": "peer", "url": server.url, **section})
    destination = open_destination("it", settings.destinations["it"], lambda: settings)
    try:
        yield destination
    finally:
        await destination.close()


async def test_a_password() -> None:
    async with web_server() as server, peer(server, auth="basic", user="us", password="p:w") as destination:
        await destination.send(item("1.2"))
        assert basic_of(server.headers[0]["Authorization"]) == "us:p:w"


async def test_a_token_in_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with web_server() as server, peer(server, auth="bearer", token_file=str(file)) as destination:
        with pytest.raises(DestinationUnavailable, match="token_file"):
            await destination.send(item("1.2"))
        for token in ("one", "two"):
            file.write_text(token + "\n")
            await destination.send(item("1.2"))
        assert [each["Authorization"] for each in server.headers] == ["Bearer one", "Bearer two"]


async def test_client_credentials_are_asked_for_once_and_again_when_they_are_not_taken() -> None:
    """RFC 6749 §2.3.1, §4.4."""
    async with web_server() as server:
        asked: list[tuple[dict[str, str], str]] = []

        def token(form: dict[str, str], header: str) -> web.Response:
            asked.append((form, basic_of(header)))
            return web.json_response({"access_token": f"t{len(asked)}", "expires_in": 600})

        server.token_answer = token
        section = {"token_url": f"{server.url}/token", "client_id": "me+", "client_secret": "s c", "scope": "dicom"}
        async with peer(server, auth="oauth2", **section) as destination:
            await destination.send(item("1.2"))
            await destination.send(item("1.3"))
            assert asked == [({"grant_type": "client_credentials", "scope": "dicom"}, "me%2B:s+c")]
            server.behave = lambda uids: (
                web.Response(status=401) if server.headers[-1]["Authorization"] == "Bearer t1" else None
            )
            assert (await destination.send(item("1.4"))).outcome == "delivered"
            assert len(asked) == 2
            server.behave = lambda uids: web.Response(status=401)
            with pytest.raises(DestinationUnavailable, match="answers 401"):
                await destination.send(item("1.5"))
            assert len(asked) == 3


async def test_a_token_is_replaced_before_its_end() -> None:
    async with web_server() as server:
        now = [1000.0]
        settings = settings_of(
            kind="peer",
            url=server.url,
            auth="oauth2",
            token_url=f"{server.url}/token",
            client_id="a",
            client_secret="b",
        )
        section: Any = settings.destinations["it"]
        credentials = credentials_of("it", section, lambda: now[0])
        import aiohttp

        async with aiohttp.ClientSession() as session:
            for at, expected in ((1000.0, 1), (1539.0, 1), (1540.0, 2)):
                now[0] = at
                context = ssl.create_default_context()
                assert await credentials.header(session, context) == f"Bearer token-{expected}"


async def test_what_an_authorization_server_refuses_is_said_without_the_secret() -> None:
    async with web_server() as server:
        server.token_answer = lambda form, header: web.json_response({"error": "invalid_client"}, status=401)
        section = {"token_url": f"{server.url}/token", "client_id": "me", "client_secret": "geheim"}
        async with peer(server, auth="oauth2", **section) as destination:
            with pytest.raises(DestinationUnavailable, match="answers 401: invalid_client") as caught:
                await destination.send(item("1.2"))
            assert "geheim" not in str(caught.value)
        assert not server.headers


async def test_a_service_account_of_google(tmp_path: Path) -> None:
    """RFC 7523 §2.1, and what Google wants in the assertion."""
    key = RSAKey.generate_key(2048)
    async with web_server() as server:
        file = tmp_path / "account.json"
        account = {
            "client_email": "we@project.example",
            "private_key_id": "k1",
            "private_key": key.as_pem(private=True).decode(),
            "token_uri": f"{server.url}/token",
        }
        file.write_text(json.dumps(account))
        asked: list[dict[str, str]] = []

        def token(form: dict[str, str], _header: str) -> web.Response:
            asked.append(form)
            return web.json_response({"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"})

        server.token_answer = token
        async with peer(server, auth="google", key_file=str(file)) as destination:
            assert (await destination.send(item("1.2"))).outcome == "delivered"
        assert server.headers[0]["Authorization"] == "Bearer ya29.x"
        assert asked[0]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = verified(asked[0]["assertion"], key)
        assert claims["exp"] - claims["iat"] == 3600
        assert {name: claims[name] for name in ("alg", "kid", "iss", "aud", "scope")} == {
            "alg": "RS256",
            "kid": "k1",
            "iss": "we@project.example",
            "aud": f"{server.url}/token",
            "scope": "https://www.googleapis.com/auth/cloud-healthcare",
        }


@needs_openssl
async def test_certificates_of_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    theirs, ours = authority.issue("server", "DNS:localhost"), authority.issue("gateway")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # default ones want keyUsage from Python 3.13 on
    context.load_verify_locations(authority.certificate)
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with web_server(context) as server:
        shown = {"certificate": ours.certificate, "key": ours.key}
        async with peer(server, ca=authority.certificate, **shown) as destination:
            assert (await destination.send(item("1.2"))).outcome == "delivered"
        async with peer(server, **shown) as destination:
            with pytest.raises(DestinationUnavailable, match="its certificate is not accepted"):
                await destination.send(item("1.3"))
        assert list(server.files) == ["1.2"]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"url": "http://pacs.example", "auth": "basic", "user": "a", "password": "b"}, "url: .*use https"),
        ({"url": "https://a:geheim@pacs.example"}, "url: .* must not contain a user or password"),
        ({"url": "ftp://a:geheim@pacs.example"}, "url: is not an address"),
        ({"url": "https://pacs.example", "auth": "bearer"}, "needs either token or token_file"),
        ({"url": "https://pacs.example", "token": "geheim"}, 'token: is for auth = "bearer"'),
        ({"url": "https://pacs.example", "auth": "oauth2", "client_secret": "geheim"}, "token_url"),
        ({"url": "https://pacs.example", "certificate": "c.pem"}, "belong together"),
        ({"url": "https://pacs.example", "timeout": 0}, "timeout: .*more than 0"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, section: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        config.load(None, {}, {"destinations": {"it": {"kind": "dicomweb", **section}}})
    assert "geheim" not in str(caught.value)
    assert "destinations.it" in str(caught.value)


def test_files_are_looked_at_when_the_configuration_is(tmp_path: Path) -> None:
    for section in (
        {"kind": "peer", "url": "https://pacs.example", "ca": str(tmp_path / "none.pem")},
        {"kind": "folder", "path": "/x", "name": "{Nonsense}"},
    ):
        with pytest.raises(ConfigurationError, match=r"destinations\.it\.(ca|name)"):
            examine(settings_of(**section))


def test_secrets_come_from_the_environment_and_are_shown_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[destinations.it]\nkind = "peer"\nurl = "https://pacs.example"\nauth = "basic"\nuser = "us"\n')
    settings = config.load(file, {"GATEWAY_DESTINATIONS__IT__PASSWORD": "geheim"})
    assert getattr(settings.destinations["it"], "password") == "geheim"  # noqa: B009
    assert "geheim" not in str(config.as_builtins(settings))
