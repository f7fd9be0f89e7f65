"""What access rules cost a request: the same work asked of one gateway by two users, in turn.

Both sign in by password and are in the audit log; the role of one has a condition on labels, which every study meets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from loadtest import peers, watch
from loadtest.compare.measures import Measure, Stand, run_work, store_study, target_of, trouble_of
from loadtest.compare.table import Measured
from loadtest.scenario import Kind, Scenario, Work
from loadtest.target import Web

_TURNS = 8
"""Even, so that neither user comes second more often: what is still being written then counts for that one."""
_CONDITION = 'without_labels = ["hidden", "research"]'
_CONDITIONS = {"everything": "", "part": _CONDITION}
"""The users, which are also the names of their roles, with the conditions of these."""


def kept(do: Kind, *, instances: int, at_once: int, studies: int = 1) -> Measure:
    """Reading of the last of some studies, or searching for all of them, `count` times by each user in a turn. The
    processor time of the gateway for the user without a condition over that for the other: the median of the turns."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        with _gateway(stand.folder / f"{peer.name}-access") as own:
            places = [store_study(own, "512KB", instances) for _ in range(studies)][-1]

            def spent(user: str) -> float:
                target = dataclasses.replace(target_of(own), web=Web(own.dicomweb, user, user))
                before = watch.cpu_seconds(own.pid)
                work = Work(do=do, count=count, at_once=at_once)
                summary = run_work(Scenario(title=do, about="", work=(work,)), target, places=places)
                troubles.append(trouble_of(summary))
                return watch.cpu_seconds(own.pid) - before

            troubles: list[str] = []
            for user in _CONDITIONS:
                spent(user)
            ratios = []
            for turn in range(_TURNS):
                order = sorted(_CONDITIONS, reverse=bool(turn % 2))
                used = {user: spent(user) for user in order}
                ratios.append(used["everything"] / max(used["part"], 0.01))
        return Measured(statistics.median(ratios), next(filter(None, troubles), ""))

    return measure


def _hash(password: str) -> str:
    """The hash of a password, as who configures a gateway gets it."""
    command = [sys.executable, "-m", "gateway", "hash-password", "--stdin"]
    return subprocess.run(command, input=password, text=True, check=True, capture_output=True).stdout.strip()


@contextlib.contextmanager
def _gateway(folder: Path) -> Iterator[peers.Peer]:
    folder.mkdir(parents=True)
    file = folder / "users.toml"
    lines = ["[dicom]", "allow_any_caller = true"]
    for name, condition in _CONDITIONS.items():
        lines += [f"[roles.{name}]", 'permissions = ["view", "download"]', condition]
        lines += ["[[http.users]]", f'name = "{name}"', f'password = "{_hash(name)}"', f'roles = ["{name}"]']
    file.write_text("\n".join(lines) + "\n")
    try:
        with peers.gateway(folder, "--config", str(file)) as peer:
            yield peer
    finally:
        shutil.rmtree(folder, ignore_errors=True)
