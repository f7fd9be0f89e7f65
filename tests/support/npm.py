"""Packages that tests fetch from npm: once a run, and never silently missing."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from gateway.cli.install_ohif import fetch
from gateway.web.viewer.install import InstallFailed
from tests.support import peers


def packed(name: str, version: str, folder: Path) -> Path:
    """The archive of a package as npm fetches it into `folder`; skips or fails where it cannot."""
    peers.need("npm")
    try:
        archive, _integrity = fetch(name, version, folder)
    except InstallFailed:
        peers.lack("npm-registry")
    return archive


def member(archive: Path, name: str) -> str:
    """One file of a package, as text."""
    with tarfile.open(archive) as tar:
        content = tar.extractfile(f"package/{name}")
        assert content is not None, name
        return content.read().decode()


def installed(name: str, version: str, folder: Path) -> Path:
    """`folder` with a package and all that it needs in `node_modules`; skips or fails where it cannot be had."""
    npm = peers.need("npm")
    command = [
        npm,
        "install",
        f"{name}@{version}",
        *("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
    ]
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        peers.lack("npm-registry")
    return folder
