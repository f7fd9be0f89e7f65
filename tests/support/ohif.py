"""Small packages that are laid out as npm publishes OHIF, good ones and bad ones."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

INDEX = b"""<!doctype html><head><script>window.PUBLIC_URL="/"</script><link rel="manifest" href="/manifest.json">
<script rel="preload" src="/app-config.js"></script><script src="/init-service-worker.js"></script>
<script defer src="/app.bundle.0f61.js"></script><link href="/app.bundle.css" rel="stylesheet"></head>"""

BUILD: dict[str, bytes] = {
    "package/package.json": b'{"name": "@ohif/app", "version": "9.9.9"}',
    "package/LICENSE": b"MIT",
    "package/README.md": b"about",
    "package/dist/index.html": INDEX,
    "package/dist/app-config.js": b"window.config = {};",
    "package/dist/app.bundle.0f61.js": b'__webpack_require__.p = "/";\n' + b"// much that repeats\n" * 200,
    "package/dist/app.bundle.css": b"@font-face { src: url(/a34f.woff2) url('/b.woff2') url(//elsewhere) }",
    "package/dist/a34f.woff2": b"font",
    "package/dist/136.bundle.b948.js": b"importScripts(1)",
    "package/dist/136.bundle.b948.js.map": b"{}",
    "package/dist/37fa.wasm": b"\0asm" + bytes(4096),
    "package/dist/esm/module.mjs": b"export {}",
    "package/dist/assets/favicon.ico": b"icon",
    "package/dist/ort/model.wasm": bytes(100),
    "package/dist/sw.js": b"importScripts(2)",
}
"""The files of a small package that is laid out like OHIF's."""


def package(path: Path, files: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """A package as `npm pack` makes it; a TarInfo instead of content is put in as it is."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content, io.BytesIO(bytes(content.size)))
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
