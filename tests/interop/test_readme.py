"""The README and the pages behind it, done as they say: every command, in order, on a machine that has nothing yet.

Each block is given to bash as it stands, but for the ports, which others may have taken. What installs is not tried:
`make run` finds the environment of the tests.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.processes import ROOT, free_port, http_get
from tests.support.waiting import wait_until

PAGES = ("README.md", "deploy/USING.md", "deploy/DEIDENTIFICATION.md", "deploy/ACCESS.md", "deploy/ROUTING.md")
TEXT = "".join((ROOT / page).read_text() for page in PAGES)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVING = ("make run", "dicom-gateway serve")


class Reader:
    """Somebody who types what the README says, and has it all in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"4242": str(free_port()), "8042": str(free_port())}
        # A reader has a shell of his own: `make test ARGS=…` hands its ARGS down to every make below it, by MAKEFLAGS.
        others = ("GATEWAY_", "MAKE", "MFLAGS", "ARGS")
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith(others)} | {
            "GATEWAY_DICOM__PORT": self.ports["4242"],
            "GATEWAY_HTTP__PORT": self.ports["8042"],
            "GATEWAY_URL": f"http://127.0.0.1:{self.ports['8042']}",
            "TERM": "dumb",
            "HOME": str(folder),
        }
        self.serving: subprocess.Popen[str] | None = None
        self.said = ""
        """The preamble of every command: what the ones before it have set."""
        for name in ("Makefile", "pyproject.toml"):
            (folder / name).symlink_to(ROOT / name)
        venv = folder / ".venv"
        (venv / "lib").mkdir(parents=True)
        (venv / "bin").symlink_to(Path(sys.executable).parent)
        (venv / "pyvenv.cfg").symlink_to(Path(sys.prefix) / "pyvenv.cfg")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (venv / "lib" / version).symlink_to(Path(sys.prefix) / "lib" / version)
        for name in (".pip", ".installed"):  # newer than pyproject.toml: make has nothing to do
            (venv / name).touch()

    def type(self, command: str) -> str:
        """What a command prints. It must end well."""
        for usual, free in self.ports.items():
            command = re.sub(rf"(?<=[ :]){usual}\b", free, command)
        if command.startswith(SERVING):
            self._serve(command)
            return ""
        script = 'curl() { command curl --silent --fail-with-body "$@"; }\n' + self.said + command
        done = self._bash(script)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        if re.match(r"(export )?[A-Z]+=", command):
            self.said += command + "\n"
        return done.stdout

    def _bash(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60,
            errors="replace",
        )  # fmt: skip

    def _serve(self, command: str) -> None:
        self.stop()
        with (self.folder / "log").open("a") as log:
            self.serving = subprocess.Popen(
                ["bash", "-c", self.said + "exec " + command], cwd=self.folder, env=self.environment, stderr=log,
                stdout=log, text=True, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: http_get(self.environment["GATEWAY_URL"] + "/readyz")[0] == 200, 40, command)
        except BaseException:
            print((self.folder / "log").read_text())
            raise

    def stop(self) -> None:
        if self.serving is not None:
            os.killpg(self.serving.pid, signal.SIGTERM)
            self.serving.wait(30)
            self.serving = None


def commands(block: str) -> list[tuple[str, str]]:
    """Commands with what they print, where a prompt tells them apart; else each line is one."""
    if not block.startswith("$ "):
        return [(line, "") for line in block.splitlines() if line.strip()]
    return [(each.partition("\n")[0], each.partition("\n")[2].strip()) for each in block.split("$ ")[1:]]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.case("every command of the README works as written, in order, on a fresh machine")
def test_every_command_works_in_order(tmp_path: Path) -> None:
    for name in ("storescu", "curl", "jq", "openssl", "make"):
        peers.need(name)
    reader = Reader(tmp_path)
    shown: dict[str, str] = {}
    try:
        for language, block in BLOCK.findall(TEXT):
            if language == "toml":
                name = re.match(r"# (\w+\.toml)", block)
                if name is not None:
                    (tmp_path / name[1]).write_text(block)
            elif language == "python":
                (tmp_path / "example.py").write_text(block.replace(":8042", f":{reader.ports['8042']}"))
                assert "CompressedSamples^CT1 CT" in reader.type("python3 example.py")
            else:
                for command, expected in commands(block):
                    printed = reader.type(command)
                    if expected and not command.startswith(SERVING):
                        shown[command] = printed
                        assert loosely(printed) == loosely(expected)
    finally:
        reader.stop()
    assert len(shown) == 2
    assert (tmp_path / "clean").is_dir()
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def loosely(text: str) -> list[str]:
    """The lines without ports and sizes."""
    return [re.sub(r":[0-9]+\b|[0-9.]+ [kM]?B", "", line.strip()) for line in text.splitlines() if line.strip()]
