"""Ways to hurt a running gateway: system calls that fail, and power that goes.

`Shim` preloads tests/faults/shim.c into a process and says which calls fail from now on. `Disk` is an ext4 file system
in an image file on a loop device; `cut` copies the image as it is at one moment, without what had not been written
to the device yet, which is what a power cut leaves.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import peers
from tests.support.waiting import wait_until

SOURCE = Path(__file__).parents[1] / "faults" / "shim.c"


@dataclass(frozen=True)
class Rule:
    """One kind of failure: `call` and `part` are patterns with wildcards, see shim.c.

    `when` is `*` for every time, `N` for the Nth time only, `N+` from the Nth time on.
    """

    call: str
    error: int = errno.EIO
    when: str = "*"
    part: str = "*"


class Shim:
    """Failing system calls below one folder, switched on and off while the program runs."""

    def __init__(self, library: Path, control: Path, below: Path) -> None:
        self._library, self._control, self._below = library, control, below
        self.clear()

    @classmethod
    def build(cls, folder: Path) -> Path:
        """Compile the library into `folder`; skips (fails in CI) without a compiler."""
        library = folder / "shim.so"
        command = [peers.need("cc"), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
        subprocess.run([*command, "-ldl", "-lpthread"], check=True, capture_output=True)
        return library

    @property
    def environment(self) -> Mapping[str, str]:
        """What the program under test needs in its environment."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAULTS_PREFIX": str(self._below.absolute()) + "/",
            "FAULTS_CONTROL": str(self._control),
        }

    def set(self, *rules: Rule) -> None:
        """From the next call on these rules hold and no others; their counts begin at 0."""
        self._fired.unlink(missing_ok=True)
        new = self._control.with_suffix(".new")
        new.write_text("".join(f"{rule.call} {rule.error} {rule.when} {rule.part}\n" for rule in rules))
        new.replace(self._control)

    def clear(self) -> None:
        self.set()

    @property
    def fired(self) -> list[str]:
        """What has failed since `set`: `call path` each."""
        return self._fired.read_text().splitlines() if self._fired.exists() else []

    @property
    def _fired(self) -> Path:
        return self._control.with_name(self._control.name + ".fired")


class Disk:
    """A small ext4 file system in an image file, mounted at `mount`. Needs root and loop devices."""

    def __init__(self, image: Path, mount: Path) -> None:
        self.image, self.mount = image, mount
        self.device = ""

    @classmethod
    def make(cls, folder: Path, megabytes: int = 256) -> Disk:
        """A fresh one, not mounted yet."""
        peers.need("loop-devices")
        folder.mkdir(parents=True, exist_ok=True)
        disk = cls(folder / "disk.img", folder / "disk")
        with disk.image.open("wb") as image:
            image.truncate(megabytes << 20)
        # No lazy initialisation: it would write behind our back for minutes.
        options = "lazy_itable_init=0,lazy_journal_init=0"
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", options, "-J", "size=16", str(disk.image))
        return disk

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Disk]:
        """Mounted until the `with` ends; the journal is replayed on the way in."""
        self.mount.mkdir(exist_ok=True)
        self.device = _run("losetup", "--find", "--show", str(self.image))
        try:
            # commit: the journal is written when somebody syncs, not every five seconds.
            _run("mount", "-t", "ext4", "-o", "commit=300,noatime", self.device, str(self.mount))
            try:
                yield self
            finally:
                _unmount(self.mount)
        finally:
            _run("losetup", "--detach", self.device)
            self.device = ""

    def cut(self, name: str) -> Disk:
        """The disk as a power cut would leave it now. Whoever writes to it must have been stopped (SIGSTOP).

        The kernel may write on its own while we copy; a copy during which it did is thrown away.
        """
        copy = Disk(self.image.with_name(f"{name}.img"), self.mount.with_name(name))
        deadline = time.monotonic() + 30
        while True:
            before = self._sectors_written()
            _run("cp", "--sparse=always", "--reflink=never", str(self.image), str(copy.image))
            if self._sectors_written() == before:
                return copy
            assert time.monotonic() < deadline, "the disk never came to rest"

    def forget(self) -> None:
        """Delete the image; it must not be mounted."""
        self.image.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.mount.rmdir()

    def _sectors_written(self) -> int:
        return int(Path(f"/sys/block/{Path(self.device).name}/stat").read_text().split()[6])


def _unmount(mount: Path) -> None:
    """Unmount, waiting a moment for a process that has just been killed to let go of it."""

    def unmounted() -> bool:
        with contextlib.suppress(RuntimeError):
            _run("umount", str(mount))
            return True
        return False

    try:
        wait_until(unmounted, 10, f"{mount} is in use")
    except AssertionError:
        _run("umount", "--lazy", str(mount))
        raise


def _run(program: str, *arguments: str) -> str:
    path = shutil.which(program, path=peers.SBIN) or program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, env={**os.environ, "PATH": peers.SBIN})
    if done.returncode != 0:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
