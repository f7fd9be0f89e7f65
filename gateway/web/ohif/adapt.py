"""What becomes of OHIF's published build so that it runs below any path: which files stay, and what changes in them.

The build wants to stand at the root of a host. Its own way out is `window.PUBLIC_URL`, which decides nothing about the
scripts that it loads later: those come from `__webpack_require__.p`, a literal "/". Here that becomes the place that
the running script itself came from, which holds in pages and in workers, under any path. Names and bytes in, bytes
out; files are in `install.py`, the page that loads it is made by `viewer.py`.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath

import msgspec

from gateway.errors import GatewayError


class NotAdaptable(GatewayError):
    """This is no build of OHIF, or one that is not laid out as we know it."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the viewer's page loads, as paths within the build, in order."""

    scripts: tuple[str, ...]
    styles: tuple[str, ...]


INDEX = "index.html"
"""Read for what it loads; not kept."""
_LEFT_OUT = frozenset(
    {
        *("app-config.js", "index.html", "manifest.json"),  # ours instead, or none
        *("sw.js", "init-service-worker.js"),  # would load a script from another host
        *("google.js", "oidc-client.min.js", "silent-refresh.html"),  # sign-in elsewhere
        *("_headers", "_redirects", "serve.json"),  # for other servers
    }
)
_LEFT_OUT_FOLDERS = frozenset({"ort", "customizations"})
"""`ort`: 136 MB to run models that a tool would fetch from another host, which the page's policy forbids."""

_BASE = b'__webpack_require__.p = "/";'
_NEW_BASE = (
    b'__webpack_require__.p = new URL(".", self.document ? document.currentScript.src : self.location.href).pathname;'
)
_URL = re.compile(rb"url\(([\"']?)/(?!/)")
_MICROSCOPY = b"'/dicom-microscopy-viewer/"
_NEW_MICROSCOPY = b"__webpack_require__.p + 'dicom-microscopy-viewer/"

_MODALITIES = b"i < ModalitiesInStudy.Value.length;"
_NEW_MODALITIES = b"i < (ModalitiesInStudy.Value ?? []).length;"
"""An empty attribute has no Value (PS3.18 F.2.5); one study without modalities took the whole list away."""


def is_kept(name: str) -> bool:
    """Whether the file `name` of the build is of use here."""
    path = PurePosixPath(name)
    return name not in _LEFT_OUT and path.parts[0] not in _LEFT_OUT_FOLDERS and path.suffix != ".map"


def adapt(name: str, data: bytes) -> bytes:
    """The file as it is served."""
    if name.endswith(".css"):
        return _URL.sub(rb"url(\1", data)
    if not name.endswith(".js"):
        return data
    for old, new in ((_BASE, _NEW_BASE), (_MICROSCOPY, _NEW_MICROSCOPY), (_MODALITIES, _NEW_MODALITIES)):
        data = data.replace(old, new)
    return data


def is_adapted(data: bytes) -> bool:
    """Whether a script finds the others by where it came from itself."""
    return _NEW_BASE in data


def read_entry(index: bytes) -> Entry:
    """What OHIF's own page loads, without what is ours to give. Raises NotAdaptable."""
    parser = _Page()
    try:
        parser.feed(index.decode())
    except UnicodeDecodeError:
        raise NotAdaptable(f"{INDEX} is no text") from None
    scripts = tuple(name for name in parser.scripts if is_kept(name))
    if not scripts or not parser.styles:
        raise NotAdaptable(f"{INDEX} does not load the scripts and styles of a viewer")
    return Entry(scripts, tuple(parser.styles))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script" and (source := values.get("src")):
            self.scripts.append(source.removeprefix("/"))
        elif tag == "link" and values.get("rel") == "stylesheet" and (source := values.get("href")):
            self.styles.append(source.removeprefix("/"))
