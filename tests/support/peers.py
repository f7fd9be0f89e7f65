"""The real peers that tests talk to: found here or missing, never silently.

A test asks with `need("storescu")`. On a developer's machine a missing peer skips the test and is listed at the end of
the run with the way to install it; where `CI` is set it fails the test. Starting peers is in `processes.py`.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import pytest

from loadtest.peers import NotInstalled
from loadtest.peers.orthanc import find_orthanc_dicomweb, find_orthanc_postgresql
from loadtest.peers.postgres import find_postgresql
from loadtest.peers.process import PATH as SBIN

missing: dict[str, set[str]] = {}
"""What was asked for and not found in this run: name to the ids of the tests that wanted it."""


@dataclass(frozen=True)
class Peer:
    """Something outside of Python that tests need. `find` gives its path (or any text), or None."""

    find: Callable[[], str | None]
    install: str


def _program(*names: str) -> Callable[[], str | None]:
    return lambda: next((path for name in names if (path := shutil.which(name, path=SBIN))), None)


def _module(name: str) -> Callable[[], str | None]:
    return lambda: name if importlib.util.find_spec(name) else None


def _installed(find: Callable[[], str]) -> Callable[[], str | None]:
    """What the load generator finds, or None."""

    def look() -> str | None:
        try:
            return find()
        except NotInstalled:
            return None

    return look


def _loop_devices() -> str | None:
    """A loop device can be had and ext4 can be made: root, the module, the tools."""
    if os.geteuid() != 0 or not all(shutil.which(name, path=SBIN) for name in ("losetup", "mkfs.ext4", "mount")):
        return None
    answer = subprocess.run(["losetup", "--find"], capture_output=True, text=True, env={**os.environ, "PATH": SBIN})
    return answer.stdout.strip() or None


def _preload() -> str | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    return compiler if compiler and ctypes.util.find_library("dl") and os.uname().sysname == "Linux" else None


_DCMTK = "apt-get install dcmtk"
PEERS: dict[str, Peer] = {
    **{
        name: Peer(_program(name), _DCMTK)
        for name in (
            *(
                "storescu",
                "storescp",
                "dcmqrscp",
                "dcmsend",
                "echoscu",
                "dcmdump",
                "dcmmkdir",
                "findscu",
                "movescu",
                "getscu",
                "termscu",
            ),
            *("dcmdjpeg", "dcmdjpls", "dcmdrle", "dcm2json", "dcm2xml", "dcmj2pnm"),
        )
    },
    "dciodvfy": Peer(_program("dciodvfy"), "apt-get install dicom3tools"),
    "gdcmscu": Peer(_program("gdcmscu"), "apt-get install libgdcm-tools"),
    "orthanc": Peer(_program("Orthanc", "orthanc"), "apt-get install orthanc"),
    "orthanc-dicomweb": Peer(_installed(find_orthanc_dicomweb), "apt-get install orthanc-dicomweb"),
    "orthanc-postgresql": Peer(_installed(find_orthanc_postgresql), "apt-get install orthanc-postgresql"),
    "chromium": Peer(_program("chromium", "chromium-browser", "google-chrome"), "apt-get install chromium"),
    "playwright": Peer(_module("playwright"), "pip install playwright (part of the dev extra)"),
    "kubernetes-validate": Peer(
        _module("kubernetes_validate"), "pip install kubernetes-validate (part of the dev extra)"
    ),
    "sqlalchemy": Peer(_module("sqlalchemy"), "pip install sqlalchemy (part of the dev extra)"),
    "postgresql": Peer(_installed(find_postgresql), "apt-get install postgresql"),
    "atheris": Peer(_module("atheris"), "pip install -e '.[fuzz]' (Python 3.11 to 3.13)"),
    "npm": Peer(_program("npm"), "apt-get install npm"),
    "npm-registry": Peer(lambda: None, "let npm reach its registry: `npm ping` tells"),  # seen when it is asked
    "promtool": Peer(_program("promtool"), "apt-get install --no-install-recommends prometheus"),
    "curl": Peer(_program("curl"), "apt-get install curl"),
    "jq": Peer(_program("jq"), "apt-get install jq"),
    "make": Peer(_program("make"), "apt-get install make"),
    "openssl": Peer(_program("openssl"), "apt-get install openssl"),
    "strace": Peer(_program("strace"), "apt-get install strace"),
    "cc": Peer(_preload, "apt-get install gcc libc6-dev"),
    "loop-devices": Peer(_loop_devices, "run as root on a machine with loop devices; apt-get install e2fsprogs mount"),
    "root": Peer(lambda: "root" if os.geteuid() == 0 else None, "run as root"),
}


def find(name: str) -> str | None:
    """Where a peer is, or None. Raises KeyError for a name that is not in PEERS."""
    return PEERS[name].find()


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def need(name: str) -> str:
    """Where the peer is. Without it: skip the test, loudly; in CI: fail it."""
    where = find(name)
    return where if where is not None else lack(name)


def lack(name: str) -> NoReturn:
    """Say that a peer is not here, which some only show when they are tried, and end the test."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
    missing.setdefault(name, set()).add(test)
    text = f"{name} is not here: {PEERS[name].install}"
    if in_ci():
        pytest.fail(f"{text} (CI is set, so that is a failure)")
    pytest.skip(text)


def report() -> list[str]:
    """Lines for the end of a run: every peer that was missed, how to get it, how many tests want it."""
    return [
        f"{name:<18} {len(missing[name]):>3} test{'s' if len(missing[name]) != 1 else ' '}   {PEERS[name].install}"
        for name in sorted(missing)
    ]
