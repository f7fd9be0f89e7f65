"""`dicom-gateway install-ohif`: the OHIF viewer for `/ohif/`. `web/viewer/install.py` unpacks it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, DataOption, JsonOption, load_settings, print_json, print_line, progress_bar

_PATIENCE = 600.0
"""Seconds for npm to download 50 MB."""


def install_ohif(
    config_file: ConfigOption = None,
    data: DataOption = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="The package as saved by `npm pack`, instead of a download."),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Another version than the one that this gateway is tested with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Install the OHIF viewer, or replace the installed one. A running gateway serves it at once.

    npm downloads it, from its configured registry. Without a network, download it elsewhere with `npm pack
    @ohif/app@VERSION` and name the file with --from. OHIF is under the MIT license, which is installed with it.
    """
    if source is not None and version is not None:
        raise typer.BadParameter("the file of --from has its own version")
    settings = load_settings(config_file, data)

    from gateway.web.viewer.install import PACKAGE, VERSION, install
    from gateway.web.viewer.release import viewer_folder

    folder = viewer_folder(settings)
    with tempfile.TemporaryDirectory(prefix="dicom-gateway-") as scratch:
        integrity = None
        if source is None:
            with progress_bar("fetching", quiet=as_json):
                source, integrity = fetch(PACKAGE, version or VERSION, Path(scratch))
        with progress_bar("unpacking", quiet=as_json) as progress:
            installed = install(source, folder, integrity=integrity, progress=progress)
    if as_json:
        print_json({"version": installed, "folder": str(folder)})
        return
    print_line(f"{folder}: OHIF {installed}")
    if installed != VERSION:
        print_line(f"This gateway is tested with {VERSION}: check that this version works.")


def fetch(package: str, version: str, scratch: Path) -> tuple[Path, str]:
    """Have npm save a package in `scratch`; returns the file, and the integrity stated by the registry.

    Raises InstallFailed with the error of npm.
    """
    import msgspec

    from gateway.web.viewer.install import InstallFailed

    offline = "download the package on another machine and name the file with --from"
    command = ["npm", "pack", f"{package}@{version}", "--json", "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE
        )
    except FileNotFoundError:
        raise InstallFailed(f"npm is not installed: install it, or {offline}") from None
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"npm did not download {package} in {_PATIENCE:.0f} s; try again, or {offline}") from None
    if done.returncode != 0:
        raise InstallFailed(f"npm could not download {package} {version}: {_reason(done.stderr)}; or {offline}")
    try:
        ((answer),) = msgspec.json.decode(done.stdout, type=list[dict[str, msgspec.Raw]])
        integrity = msgspec.json.decode(answer["integrity"], type=str)
        (archive,) = scratch.glob("*.tgz")
    except (msgspec.MsgspecError, KeyError, ValueError):
        raise InstallFailed(f"npm gave an unexpected answer: {done.stdout[:200]!r}") from None
    return archive, integrity


def _reason(text: str) -> str:
    """The lines of npm's output that state the problem."""
    lines = [re.sub(r"npm (error|ERR!)|code E\w+", "", line).strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line and "complete log" not in line)[:500] or "it does not say why"
