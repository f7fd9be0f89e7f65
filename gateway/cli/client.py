"""A client of a running gateway over HTTP, for the commands that need one. No command is defined here."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.common import complain
from gateway.errors import GatewayError

if TYPE_CHECKING:
    import urllib.request

LOCAL: Final = "http://127.0.0.1:8042"
UrlOption = Annotated[str, typer.Option(envvar="GATEWAY_URL", help="Address of the gateway's web server.")]
UserOption = Annotated[
    str | None,
    typer.Option(metavar="NAME[:PASSWORD]", help="One of [[http.users]]. The password may be in GATEWAY_PASSWORD."),
]


class GatewayClient:
    """A gateway at a URL. Every method raises GatewayError when it does not answer, or refuses access."""

    def __init__(self, url: str, user: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            complain(f"--url: {url!r} must begin with http:// or https://")
            raise typer.Exit(2)
        self.base = url.rstrip("/").removesuffix("/ui")
        self._headers = _authorization(user)

    def ask(self, path: str, body: object = None, method: str = "") -> tuple[int, str]:
        """Send a GET, or a POST of `body` as JSON, or another method; returns status and text."""
        import http.client
        import urllib.error
        import urllib.request

        url = self.base + path
        # A proxy of the environment must not come between an operator and the gateway.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _plain_handler())
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method or None)
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
                if error.code in (401, 403):
                    why = f"{_details(text) or 'no access'}; give the right --user NAME[:PASSWORD]"
                    raise GatewayError(f"{url}: answered {error.code}: {why}") from None
                return error.code, text
        except http.client.HTTPException:
            raise GatewayError(f"{url}: the server there does not speak HTTP; is that the DICOM port?") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise GatewayError(f"{url}: no answer: {reason}. Is the gateway running there?") from None

    def json(self, path: str, body: object = None, method: str = "") -> Any:
        """Send a request; returns the JSON of the answer. Raises GatewayError, with the details, unless the status is
        200."""
        code, text = self.ask(path, body, method)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if code != 200:
            details = _details(text) or text[:200].strip()
            raise GatewayError(f"{self.base}{path}: answered {code}: {details}")
        if answer is None:
            raise GatewayError(f"{self.base}{path}: the answer is not JSON; is that a DICOM gateway?")
        return answer


def _details(text: str) -> str:
    """What an answer about an error says of it; empty for what is no such answer."""
    try:
        answer = json.loads(text)
    except ValueError:
        return ""
    return str(answer.get("Details") or answer.get("Message") or "") if isinstance(answer, dict) else ""


def _plain_handler() -> urllib.request.HTTPHandler:
    """A handler of http:// URLs that recognizes other protocols by the first bytes: a DICOM listener sends ten bytes,
    without a line end, and then waits for half a minute (ARTIM, PS3.8 §9.1.4).
    """
    import http.client
    import urllib.request

    class Response(http.client.HTTPResponse):
        def begin(self) -> None:
            first = self.fp.peek(5)[:5]
            if first and not b"HTTP/".startswith(first):
                raise http.client.BadStatusLine("")
            super().begin()

    class Connection(http.client.HTTPConnection):
        response_class = Response

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Connection, request)

    return Handler()


def _authorization(user: str | None) -> dict[str, str]:
    if user is None:
        return {}
    name, password = name_and_password(user, "GATEWAY_PASSWORD")
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def name_and_password(user: str, variable: str) -> tuple[str, str]:
    """The parts of `NAME[:PASSWORD]`; a password that is not there is in an environment variable, or asked for."""
    name, colon, password = user.partition(":")
    if not colon:
        password = os.environ.get(variable) or ""
        if not password:
            if not sys.stdin.isatty():
                complain(f"no password: give --user NAME:PASSWORD, or set {variable}")
                raise typer.Exit(2)
            password = typer.prompt(f"Password of {name}", hide_input=True, err=True)
    return name, password
