"""A DICOM node as a system to send to, query and fetch from: a modality of the settings, looked up at each use.

`scu/` has the messages. Retries and the use of answers are the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from gateway.config import Settings
from gateway.dicom.encode import DataSet
from gateway.dicom.levels import Level
from gateway.scu import echo, find, get, move, store
from gateway.scu.get import Sink
from gateway.scu.move import Progress
from gateway.scu.node import Node, find_node
from gateway.scu.transfer import Instance, Sent


class DimseNode:
    """One node by the name of its modality, or by `AET@HOST:PORT`.

    Every method raises ConfigurationError when the node is not configured, or no longer; every method except `send`
    also AssociationLost, AssociationRefused.
    """

    def __init__(self, settings: Callable[[], Settings], name: str) -> None:
        """`settings` gives the current snapshot; an operation keeps the snapshot that it began with."""
        self._settings = settings
        self.name = name

    async def node(self) -> Node:
        """The node under the current settings."""
        return await asyncio.to_thread(find_node, self._settings(), self.name)

    async def echo(self) -> int:
        """Send a C-ECHO; returns the status."""
        return await echo.echo(await self.node())

    async def send(
        self,
        instances: Iterable[Instance],
        *,
        associations: int = 1,
        report: Callable[[Sent], None] = lambda sent: None,
    ) -> list[Sent]:
        """Store all instances; returns the outcome of each, in the order of their ends. See `scu.store.send`."""
        return await store.send(await self.node(), instances, associations=associations, report=report)

    async def query(
        self, level: Level, keys: DataSet, *, patient_root: bool = False
    ) -> AsyncGenerator[find.Match, None]:
        """Yield the matches of a C-FIND at a level. Raises RequestFailed too."""
        model = find.PATIENT_ROOT if patient_root or level == "patient" else find.STUDY_ROOT
        identifier = find.identifier(level, keys)
        async with aclosing(find.find(await self.node(), identifier, model=model)) as matches:
            async for match in matches:
                yield match

    async def fetch(self, level: Level, keys: DataSet, sink: Sink) -> AsyncGenerator[Progress, None]:
        """Fetch by C-GET into a sink; yields progress, the final one last. `keys`: unique keys down to `level` (PS3.4
        C.4.3).

        See `scu.get.fetch`.
        """
        async with aclosing(get.fetch(await self.node(), level, keys, sink)) as responses:
            async for progress in responses:
                yield progress

    async def move(self, level: Level, keys: DataSet, destination: str) -> AsyncGenerator[Progress, None]:
        """Move to the AE title `destination` by C-MOVE; yields progress, the final one last."""
        model = move.PATIENT_ROOT if level == "patient" else move.STUDY_ROOT
        identifier = find.identifier(level, keys)
        async with aclosing(move.move(await self.node(), identifier, destination, model=model)) as responses:
            async for progress in responses:
                yield progress
