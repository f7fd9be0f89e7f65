"""Where a gateway under chaos delivers to: storage SCPs in this process, which remember digests and no bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.support.chaos.ledger import digest
from tests.support.destination import Destination, Message
from tests.support.processes import free_port

NAMES = ("healthy", "failing", "hanging", "dead")
OUT_OF_RESOURCES = 0xA700


class Sink(Destination):
    """Takes everything, unless `temper` says otherwise. `taken` has every content it said yes to, in order."""

    def __init__(self, temper: str, chance: random.Random) -> None:
        super().__init__()
        self.temper, self._chance = temper, chance
        self.taken: dict[str, list[bytes]] = {}
        self.answer = self._answer

    def _answer(self, message: Message) -> None:
        self.messages.clear()
        if self.temper == "hanging":
            return
        if self.temper == "failing" and self._chance.random() < 0.3:
            message.respond(OUT_OF_RESOURCES)
            return
        self.taken.setdefault(message.uid, []).append(digest(bytes(message.data)))
        message.respond()


@dataclass
class Sinks:
    """One of each temper. `dead` does not listen before `mend`."""

    chance: random.Random

    def __post_init__(self) -> None:
        self.by_name = {name: Sink(name, self.chance) for name in NAMES if name != "dead"}
        self._dead_port = free_port()

    @property
    def ports(self) -> dict[str, int]:
        return {name: self.by_name[name].port if name in self.by_name else self._dead_port for name in NAMES}

    def mend(self) -> None:
        """All are healthy from now on; `ports` has changed."""
        self.by_name["dead"] = Sink("healthy", self.chance)
        for sink in self.by_name.values():
            sink.temper = "healthy"

    async def close(self) -> None:
        for sink in self.by_name.values():
            await sink.acceptor.stop(0)

    def configuration(self) -> str:
        """The destinations, and a rule that sends everything to each, in TOML."""
        lines = ["[rules.all]", f"destinations = {list(NAMES)}"]
        for name, port in self.ports.items():
            lines += [f"[modalities.{name}]", f'aet = "{name.upper()}"', 'host = "127.0.0.1"', f"port = {port}"]
            lines += ["association_timeout = 3", "response_timeout = 3"]
            lines += [f"[destinations.{name}]", 'kind = "dicom"', f'modality = "{name}"']
            lines += ["attempts = 100000", "retry_after = 0.1", "retry_longest = 1"]
        return "\n".join(lines) + "\n"
