"""Adaptation of OHIF's published build to any path: which files are installed, and the changes in them.

The build expects the root of a host. Its own option, `window.PUBLIC_URL`, has no effect on scripts loaded later: those
come from `__webpack_require__.p`, a literal "/", which is replaced by the location of the running script, correct in
pages and in workers, below any path. Names and bytes in, bytes out; `install.py` has the files, `viewer.py` the page.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath

import msgspec

from gateway.errors import GatewayError


class NotAdaptable(GatewayError):
    """The archive is not a build of OHIF, or one with another layout than expected."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files that the viewer's page loads, as paths within the build, in order."""

    scripts: tuple[str, ...]
    styles: tuple[str, ...]


INDEX = "index.html"
"""Read for the files that it loads; not installed."""
_LEFT_OUT = frozenset(
    {
        *("app-config.js", "index.html", "manifest.json"),  # replaced, or unused
        *("sw.js", "init-service-worker.js"),  # would load a script from another host
        *("google.js", "oidc-client.min.js", "silent-refresh.html"),  # sign-in elsewhere
        *("_headers", "_redirects", "serve.json"),  # for other servers
    }
)
_LEFT_OUT_FOLDERS = frozenset({"ort", "customizations"})
"""`ort`: 136 MB for models that a tool would fetch from another host, which the page's policy forbids."""

_BASE = b'__webpack_require__.p = "/";'
_NEW_BASE = (
    b'__webpack_require__.p = new URL(".", self.document ? document.currentScript.src : self.location.href).pathname;'
)
_URL = re.compile(rb"url\(([\"']?)/(?!/)")
_MICROSCOPY = b"'/dicom-microscopy-viewer/"
_NEW_MICROSCOPY = b"__webpack_require__.p + 'dicom-microscopy-viewer/"

_MODALITIES = b"i < ModalitiesInStudy.Value.length;"
_NEW_MODALITIES = b"i < (ModalitiesInStudy.Value ?? []).length;"
"""An empty attribute has no Value (PS3.18 F.2.5); one study without modalities broke the whole list."""

_CONCEPT = b"    CodeValue,\n    CodeMeaning\n  } = ConceptNameCodeSequence;"
_NEW_CONCEPT = b"    CodeValue,\n    CodeMeaning\n  } = ConceptNameCodeSequence ?? {};"
"""Content items may have no concept name (PS3.3 C.17.3.2.1); one such item in a report broke the whole page."""

_CHANGES = (
    (_BASE, _NEW_BASE),
    (_MICROSCOPY, _NEW_MICROSCOPY),
    (_MODALITIES, _NEW_MODALITIES),
    (_CONCEPT, _NEW_CONCEPT),
)


def is_kept(name: str) -> bool:
    """Whether a file of the build is installed."""
    path = PurePosixPath(name)
    return name not in _LEFT_OUT and path.parts[0] not in _LEFT_OUT_FOLDERS and path.suffix != ".map"


def adapt(name: str, data: bytes) -> bytes:
    """The content of a file as served."""
    if name.endswith(".css"):
        return _URL.sub(rb"url(\1", data)
    if not name.endswith(".js"):
        return data
    for old, new in _CHANGES:
        data = data.replace(old, new)
    return data


def is_adapted(data: bytes) -> bool:
    """Whether a script locates the others by its own URL."""
    return _NEW_BASE in data


def read_entry(index: bytes) -> Entry:
    """The files that OHIF's own page loads, without those that are replaced. Raises NotAdaptable."""
    parser = _Page()
    try:
        parser.feed(index.decode())
    except UnicodeDecodeError:
        raise NotAdaptable(f"{INDEX} is not text") from None
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
