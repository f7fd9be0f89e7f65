"""Asking a running gateway over its HTTP interface, for the commands that do. No command stands here."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Annotated, Any, Final

import typer

from gateway.errors import GatewayError

LOCAL: Final = "http://127.0.0.1:8042"
UrlOption = Annotated[str, typer.Option(envvar="GATEWAY_URL", help="Where the gateway's pages are.")]
UserOption = Annotated[
    str | None,
    typer.Option(metavar="NAME[:PASSWORD]", help="Who asks. The password may stand in GATEWAY_PASSWORD instead."),
]


class Asked:
    """A gateway at a URL. Everything raises GatewayError where nobody answers, or the answer is that we may not ask."""

    def __init__(self, url: str, user: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            sys.stderr.write(f"dicom-gateway: --url: {url!r} begins with neither http:// nor https://\n")
            raise typer.Exit(2)
        self.base = url.rstrip("/").removesuffix("/ui")
        self._headers = _authorization(user)

    def ask(self, path: str, body: object = None) -> tuple[int, str]:
        """Status and text: of a GET, or of a POST of `body` as JSON."""
        import urllib.error
        import urllib.request

        url = self.base + path
        # A proxy of the environment has no business between an operator and the gateway.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {**self._headers, "Content-Type": "application/json"})
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (401, 403):
                    raise GatewayError(f"{url}: answered {error.code}: give the right --user NAME[:PASSWORD]") from None
                return error.code, error.read().decode(errors="replace")
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise GatewayError(f"{url}: no answer: {reason}. Is the gateway running there?") from None

    def json(self, path: str, body: object = None) -> Any:
        """The answer, which is JSON. GatewayError, with what it says, where it is not 200."""
        code, text = self.ask(path, body)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if code != 200:
            said = answer.get("Details") or answer.get("Message") if isinstance(answer, dict) else text[:200].strip()
            raise GatewayError(f"{self.base}{path}: answered {code}: {said}")
        if answer is None:
            raise GatewayError(f"{self.base}{path}: the answer is not JSON; is that a DICOM gateway?")
        return answer


def _authorization(user: str | None) -> dict[str, str]:
    if user is None:
        return {}
    name, colon, password = user.partition(":")
    if not colon:
        password = os.environ.get("GATEWAY_PASSWORD") or ""
        if not password:
            if not sys.stdin.isatty():
                sys.stderr.write("dicom-gateway: no password: give --user NAME:PASSWORD, or set GATEWAY_PASSWORD\n")
                raise typer.Exit(2)
            password = typer.prompt(f"Password of {name}", hide_input=True, err=True)
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
