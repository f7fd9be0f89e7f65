"""A DICOM node as a system that we send to, query and fetch from: a modality of the settings, looked up at each use.

What goes over the wire is `scu/`'s. When to try again, and what to do with an answer, is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from gateway.config import Settings
from gateway.dicom.encode import DataSet
from gateway.scu import echo, find, get, move, store
from gateway.scu.get import Sink
from gateway.scu.move import Progress
from gateway.scu.node import Node, find_node
from gateway.scu.sending import Instance, Sent


class DimseNode:
    """One node by the name of its modality, or by `AET@HOST:PORT`.

    Every method raises ConfigurationError where it is not, or no longer, a node that we can call; `send` apart,
    AssociationLost and AssociationRefused too.
    """

    def __init__(self, settings: Callable[[], Settings], name: str) -> None:
        """`settings` gives the snapshot of now: an operation keeps the one it began with."""
        self._settings = settings
        self.name = name

    async def node(self) -> Node:
        """How it is called now."""
        return await asyncio.to_thread(find_node, self._settings(), self.name)

    async def echo(self) -> int:
        """The status of a C-ECHO."""
        return await echo.echo(await self.node())

    async def send(
        self,
        instances: Iterable[Instance],
        *,
        associations: int = 1,
        report: Callable[[Sent], None] = lambda sent: None,
    ) -> list[Sent]:
        """Store everything; what became of each, in the order of their ends. See `scu.store.send`."""
        return await store.send(await self.node(), instances, associations=associations, report=report)

    async def query(self, level: str, keys: DataSet, *, patient_root: bool = False) -> AsyncGenerator[find.Match, None]:
        """Matches of a C-FIND at one of `scu.find.LEVELS`. Raises RequestFailed too."""
        model = find.PATIENT_ROOT if patient_root or level == "patient" else find.STUDY_ROOT
        asked = find.identifier(level, keys)
        async with aclosing(find.find(await self.node(), asked, model=model)) as matches:
            async for match in matches:
                yield match

    async def fetch(self, level: str, keys: DataSet, sink: Sink) -> AsyncGenerator[Progress, None]:
        """C-GET into a sink: its progress, the final one last. `keys` hold unique keys down to `level` (PS3.4 C.4.3).

        See `scu.get.fetch`.
        """
        async with aclosing(get.fetch(await self.node(), level, keys, sink)) as responses:
            async for progress in responses:
                yield progress

    async def move(self, level: str, keys: DataSet, destination: str) -> AsyncGenerator[Progress, None]:
        """C-MOVE to the AE title `destination`: its progress, the final one last."""
        model = move.PATIENT_ROOT if level == "patient" else move.STUDY_ROOT
        asked = find.identifier(level, keys)
        async with aclosing(move.move(await self.node(), asked, destination, model=model)) as responses:
            async for progress in responses:
                yield progress
