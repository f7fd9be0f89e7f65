"""Pages that need no other file: for strangers, who get none, and for errors. The style is in them; nothing runs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from markupsafe import Markup

from gateway.web.pages.environment import ENVIRONMENT
from gateway.web.pages.wording import reader_words
from gateway.web.security import PAGE
from gateway.web.urls import path_template

_STYLE: Final = Path(__file__).with_name("static").joinpath("gateway.css").read_text("utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def standalone_page(
    request: web.Request,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    with_form: bool = False,
) -> web.Response:
    """The answer with such a page; `with_form`: its form may be sent to the gateway."""
    action = "'self'" if with_form else "'none'"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action {action}; base-uri 'none'; frame-ancestors 'none'"
    )
    text = (
        request.app[ENVIRONMENT]
        .get_template(template)
        .render({"home": path_template(request, "home"), "style": Markup(_STYLE), "t": reader_words(request), **values})
    )
    all_headers = {**PAGE, "Content-Security-Policy": policy, **(headers or {})}
    return web.Response(status=status, text=text, content_type="text/html", headers=all_headers)
