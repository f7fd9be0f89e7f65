"""Signing in at a real OpenID provider, npm's oidc-provider, as deploy/ACCESS.md shows it for others.

A browser is played by a client that keeps cookies and sends the provider's forms.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urljoin, urlsplit

import aiohttp
import msgspec
import pytest

from gateway.config import Http, Oidc, Tokens
from gateway.remote.credentials import basic
from tests.support import npm, peers
from tests.support.sign_in import ADMIN, origin
from tests.support.web import House, house

pytestmark = [
    pytest.mark.interop,
    pytest.mark.case("OpenID Connect: code with PKCE, groups to roles, sign-out, tokens"),
]

VERSION = "9.13.3"
SECRET = "a secret of the client: 100%"
TEXT = (Path(__file__).parents[2] / "deploy" / "ACCESS.md").read_text()
EXAMPLES = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if "[oidc]" in block]
"""The settings for Keycloak and for Entra."""
SCRIPT = Path(__file__).parents[1] / "support" / "oidc_provider.mjs"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the provider runs."""
    folder = npm.installed("oidc-provider", VERSION, tmp_path_factory.mktemp("oidc"))
    shutil.copy(SCRIPT, folder)
    return folder


@dataclass
class Signing:
    house: House
    issuer: str
    browser: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return str(self.house.client.make_url(path))

    async def begin(self) -> aiohttp.ClientResponse:
        """Follow the link of the sign-in page up to the first page of the provider."""
        answer = await self.browser.get(self.url("/ui/routing"), headers={"Accept": "text/html,*/*;q=0.8"})
        assert answer.status == 401
        (link,) = re.findall(r'href="(/ui/sign-in/begin[^"]*)"', await answer.text())
        return await self.browser.get(self.url(unescape(link)))

    async def through(self, answer: aiohttp.ClientResponse, name: str) -> aiohttp.ClientResponse:
        """Send the provider's forms, sign-in and consent, until it leads back."""
        for _ in range(4):
            text = await answer.text()
            if not str(answer.url).startswith(self.issuer):
                return answer
            action = re.search(r'<form[^>]* action="([^"]+)"', text)
            assert action is not None, text
            fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
            answer = await self.browser.post(
                urljoin(str(answer.url), unescape(action[1])), data={**fields, "login": name, "password": "any"}
            )
        return answer


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
async def signing(package: Path, port: int, tmp_path: Path) -> AsyncIterator[Signing]:
    issuer, secret = f"http://127.0.0.1:{port}", tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    async with house(tmp_path, Http(users=(ADMIN,))) as made:
        made.tokens = Tokens(
            issuer=issuer,
            audience="gateway",
            roles_claim="groups",
            groups={"doctors": ("view",), "machines": ("store",)},
        )
        made.oidc = Oidc(client_id="gateway", client_secret_file=str(secret))
        back, out = made.client.make_url("/ui/sign-in/return"), made.client.make_url("/ui/signed-out")
        groups = ["doctors", *[next(iter(each["tokens"]["groups"])) for each in EXAMPLES]]
        with provider(package, port, back, out, ",".join(groups)):
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as browser:
                yield Signing(made, issuer, browser)


class provider:
    """The provider as a process, until the end of the block."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        peers.need("npm")
        command = ["node", SCRIPT.name, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, ""):
            if line.startswith("listening"):
                return
        raise AssertionError("the provider did not start")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


async def test_in_and_out(signing: Signing) -> None:
    answer = await signing.through(await signing.begin(), "eva")
    assert (answer.status, answer.url.path) == (403, "/ui/routing"), "eva may only look"
    profile = await (await signing.browser.get(signing.url("/auth/user/profile"))).json()
    assert (profile["name"], profile["permissions"]) == ("eva", ["download", "view"])
    page = await (await signing.browser.get(signing.url("/ui/account"))).text()
    assert "eva" in page
    csrf = re.findall(r'name="csrf" value="(\w+)"', page)[0]
    answer = await signing.browser.post(signing.url("/ui/sign-out"), data={"csrf": csrf}, headers=origin(signing.house))
    address = answer.headers["Refresh"].removeprefix("0; url=")
    assert address.startswith(signing.issuer)
    assert (await signing.browser.get(signing.url("/studies"))).status == 401
    # The provider asks once more, ends its own session, and leads back.
    text = await (await signing.browser.get(address)).text()
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', text))
    action = re.findall(r'action="([^"]+)"', text)[0]
    answer = await signing.browser.post(urljoin(address, unescape(action)), data={**fields, "logout": "yes"})
    assert (answer.status, answer.url.path) == (200, "/ui/signed-out")
    answer = await signing.begin()
    assert 'name="login"' in await answer.text(), "a name is asked for again"


@pytest.mark.parametrize("example", EXAMPLES, ids=["Keycloak", "Entra"])
async def test_the_examples(signing: Signing, example: Any) -> None:
    """As in the document, but for who and where the issuer is."""
    made = signing.house
    made.tokens = msgspec.convert(example["tokens"] | {"issuer": signing.issuer}, Tokens)
    assert urlsplit(example["tokens"]["issuer"]).scheme == "https"
    made.oidc = msgspec.convert(
        example["oidc"] | {"client_id": "gateway", "client_secret_file": made.oidc.client_secret_file}, Oidc
    )
    await signing.through(await signing.begin(), "eva")
    profile = await (await signing.browser.get(signing.url("/auth/user/profile"))).json()
    assert (profile["name"], profile["permissions"]) == ("eva@example", ["download", "view"])


async def test_an_answer_counts_once_and_for_its_browser(signing: Signing) -> None:
    seen: list[str] = []

    async def note(_session: object, _context: object, event: aiohttp.TraceRequestRedirectParams) -> None:
        seen.append(event.response.headers["Location"])

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(note)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, trace_configs=[trace]) as browser:
        mine = Signing(signing.house, signing.issuer, browser)
        await mine.through(await mine.begin(), "eva")
        (back,) = [each for each in seen if "/ui/sign-in/return" in each]
        assert (await browser.get(back)).status == 403, "the cookie of the attempt is gone"
    answer = await signing.browser.get(back)
    assert answer.status == 403, "another browser has begun nothing"
    await signing.begin()
    answer = await signing.browser.get(back)
    assert (answer.status, "another attempt" in await answer.text()) == (403, True)
    assert (await signing.browser.get(signing.url("/studies"))).status == 401


async def test_bearer_tokens_of_programs(signing: Signing) -> None:
    form = {"grant_type": "client_credentials", "resource": "urn:gateway"}
    headers = {"Authorization": basic("gateway", quote_plus(SECRET))}
    answer = await (await signing.browser.post(f"{signing.issuer}/token", data=form, headers=headers)).json()
    token = {"Authorization": f"Bearer {answer['access_token']}"}
    profile = await (await signing.browser.get(signing.url("/auth/user/profile"), headers=token)).json()
    assert (profile["name"], profile["permissions"]) == ("gateway", ["upload"])
    assert (await signing.browser.get(signing.url("/studies"), headers=token)).status == 403
    token["Authorization"] = token["Authorization"][:-8] + "AAAAAAAA"
    assert (await signing.browser.get(signing.url("/auth/user/profile"), headers=token)).status == 401


async def test_an_issuer_that_is_away(signing: Signing) -> None:
    signing.house.tokens = Tokens(issuer="http://127.0.0.1:9", audience="gateway")
    answer = await signing.browser.get(signing.url("/ui/sign-in/begin"))
    assert (answer.status, "cannot be had" in await answer.text()) == (503, True)
