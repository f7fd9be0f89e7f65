"""What a campaign is to do, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

ACKNOWLEDGED = ("stored", "stored again", "stored over STOW-RS", "overwritten", "deleted")
"""What the load counts where a success came back for an instance."""
SHOWN = 20
"""Of everything that is wrong, so many lines are in the report."""


@dataclass(frozen=True)
class Plan:
    """How long, and with what. Without a limit on a figure, it is the hours that end it."""

    seed: int
    hours: float
    workers: int = 1
    keepers: int = 1
    kills: int | None = None
    """Enough when so many there were, of processes or of all of them."""
    power_cuts: int | None = 0
    """The same of these; 0: none, and no disk image is needed."""
    rounds_per_folder: int = 25
    load_s: float = 1.5
    """Seconds of load before something is done to the gateway, at most."""
    faults_per_round: int = 5
    """At most. 0: a round is load alone, ended by a power cut where there are any."""
    kinds: Sequence[str] = ()
    """Faults under load, of `faults.KINDS`; all of them, with kills the most frequent, where none is named."""
    environment: dict[str, str] = field(default_factory=dict)
    """Settings of the gateway beside the campaign's own, as environment variables."""


@dataclass
class Tally:
    """What has been done so far, and what was found."""

    plan: Plan
    began: float = field(default_factory=time.monotonic)
    load: Counter[str] = field(default_factory=Counter)
    """What was acknowledged, and not, by kind of request."""
    faults: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    kills: int = 0
    power_cuts: int = 0
    looked_at: int = 0
    """Instances that the judge has looked at, those of which it has done so twice counted twice."""
    delivered: int = 0
    """Instances that destinations have, counted once for each of these."""
    compactions: int = 0
    """Segments of which what lives was moved together with others."""
    slowest_start_s: float = 0.0
    stopped: bool = False
    """A person wants no more of it."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing is lost and nothing is wrong so far."""
        return not self.lost and not self.wrong

    @property
    def enough(self) -> bool:
        """Whether time is over, or every figure that is limited has been reached."""
        limits = [(self.kills, self.plan.kills), (self.power_cuts, self.plan.power_cuts or None)]
        reached = [count >= limit for count, limit in limits if limit is not None]
        over = time.monotonic() - self.began > self.plan.hours * 3600
        return self.stopped or over or (bool(reached) and all(reached))

    def stop(self) -> None:
        """Begin no further round."""
        self.stopped = True

    @property
    def figures(self) -> dict[str, object]:
        """All of it, ready to be printed as JSON."""
        return {
            "seed": self.plan.seed,
            "workers": self.plan.workers,
            "keepers": self.plan.keepers,
            "minutes": round((time.monotonic() - self.began) / 60, 1),
            "rounds": self.rounds,
            "kills": self.kills,
            "power_cuts": self.power_cuts,
            "faults": dict(sorted(self.faults.items())),
            "load": dict(sorted(self.load.items())),
            "acknowledged": sum(self.load[each] for each in ACKNOWLEDGED),
            "compactions": self.compactions,
            "looked_at": self.looked_at,
            "delivered": self.delivered,
            "slowest_start_s": round(self.slowest_start_s, 1),
            "lost": len(self.lost),
            "torn": sum("bytes" in each for each in self.lost),
            "wrong": len(self.wrong),
            "what": (self.lost + self.wrong)[:SHOWN],
        }
