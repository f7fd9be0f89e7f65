"""C-STORE: one instance after the other on an association that stays open, or an association for each study."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.dimse.status import Category, category, describe
from gateway.errors import AssociationRefused
from gateway.net.requestor import Requestor, associate
from loadtest.data import Instance, Source
from loadtest.sources import studies
from loadtest.stats import Stats
from loadtest.work.base import Exhausted, Failed, Ground


class Store:
    """One association, with up to `window` instances on their way at once if the peer agrees."""

    def __init__(self, ground: Ground, source: Source, feed: Iterator[Instance], window: int) -> None:
        self._ground = ground
        self._feed = feed
        self._window = window
        self._call = ground.target.call(source.contexts, operations=window)
        self._association: Requestor | None = None

    async def open(self) -> int:
        self._association = await Requestor.open(self._call, self._ground.blocks)
        return min(self._association.max_operations or self._window, self._window)

    async def do(self, stats: Stats, since: float) -> None:
        assert self._association is not None
        instance = next(self._feed, None)
        if instance is None:
            raise Exhausted
        await store(self._association, instance, self._ground, stats)
        stats.done(since, 1, instance.size)

    async def close(self, broken: bool) -> None:
        association, self._association = self._association, None
        if association is not None:
            await (association.abort() if broken else association.release())


class StoreStudies:
    """Whole studies: each operation is an association with one study, as modalities send after an examination."""

    def __init__(self, ground: Ground, source: Source, feed: Iterator[Instance]) -> None:
        self._ground = ground
        self._studies = studies(feed)
        self._call = ground.target.call(source.contexts)

    async def open(self) -> int:
        return 1

    async def do(self, stats: Stats, since: float) -> None:
        study = next(self._studies, None)
        if study is None:
            raise Exhausted
        failed: Failed | None = None
        async with associate(self._call, self._ground.blocks) as association:
            for instance in study:
                try:
                    await store(association, instance, self._ground, stats)
                except Failed as error:
                    failed = error  # A modality continues with the next instance, and shows the study as incomplete.
                else:
                    stats.moved(1, instance.size)
        if failed is not None:
            raise failed
        stats.done(since)

    async def close(self, broken: bool) -> None:
        pass


async def store(association: Requestor, instance: Instance, ground: Ground, stats: Stats) -> None:
    """Send one instance by C-STORE, for as long as the server continues to receive it. Raises Failed."""
    try:
        context = association.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
    except AssociationRefused:
        raise Failed("presentation context not accepted") from None
    response = await association.store(context, instance.sop_instance_uid, instance.chunks)
    meaning = category(response.status)
    if meaning not in (Category.SUCCESS, Category.WARNING):
        raise Failed(describe(response.status))
    if meaning is Category.WARNING:
        stats.warning(describe(response.status))
    ground.acknowledged(instance)
