"""The machine on which something was measured: what a reader of figures asks first, and nothing that names it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpu: str
    """Model of the processor."""
    cpus: int
    virtual: bool
    """Whether it is a virtual machine, whose disk and processors others may share."""
    memory: int
    """Bytes."""
    system: str
    """Name and version of the distribution."""
    kernel: str
    python: str
    file_system: str
    """Type of the file system below the servers' folders; empty if unknown."""
    load: float
    """Processes that wanted to run in the minute before the run began: more than a fraction of one disturbed it."""

    @property
    def sentence(self) -> str:
        """The machine in one line, without the load."""
        return (
            f"{self.cpus} cores of {self.cpu}{', virtual' if self.virtual else ''}, {self.memory / 2**30:,.0f} GiB, "
            f"{self.file_system or 'a file system of unknown type'}; {self.system}, Linux {self.kernel}, "
            f"Python {self.python}"
        )


def describe(folder: Path) -> Machine:
    """Describe this machine, with the file system of a folder."""
    lines = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", lines, re.MULTILINE)
    return Machine(
        cpu=model[1].strip() if model else platform.machine(),
        cpus=os.cpu_count() or 1,
        virtual=re.search(r"^flags\s*:.*\bhypervisor\b", lines, re.MULTILINE) is not None,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        system=_system(),
        kernel=platform.release(),
        python=platform.python_version(),
        file_system=file_system(folder),
        load=round(os.getloadavg()[0], 2),
    )


def file_system(folder: Path) -> str:
    """The type of the file system of a folder; empty if unknown."""
    mounts = [line.split()[1:3] for line in _read("/proc/self/mounts").splitlines()]
    path = folder.resolve()
    return max(((len(mount), kind) for mount, kind in mounts if path.is_relative_to(mount)), default=(0, ""))[1]


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
