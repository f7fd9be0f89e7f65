"""The sources of instances that a scenario names: presets, sizes, files, and several of them in turn."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from loadtest.data import ENDLESS, Instance, Preset, Source, Synthetic, parse_size
from loadtest.files import Files
from loadtest.scenario import Data, Scenario


def source_of(scenario: Scenario, names: str | Sequence[str]) -> Source:
    """An endless source of instances, by the names in a scenario. Raises DataSetError when a file cannot be sent."""
    sources = [_source(scenario, name) for name in ([names] if isinstance(names, str) else names)]
    return sources[0] if len(sources) == 1 else InTurn(sources)


def studies(feed: Iterator[Instance]) -> Iterator[Iterator[Instance]]:
    """Group instances by study; unread instances of a study are skipped. A study that is repeated is a new group."""
    upcoming = next(feed, None)

    def study() -> Iterator[Instance]:
        nonlocal upcoming
        first = upcoming
        while upcoming is not None and first is not None:
            yield upcoming
            upcoming = next(feed, None)
            if upcoming is None or upcoming.study_instance_uid != first.study_instance_uid:
                return
            if upcoming.sop_instance_uid == first.sop_instance_uid:
                return

    while upcoming is not None:
        yield (group := study())
        for _ in group:
            pass


def study_size(scenario: Scenario, name: str) -> int:
    """The number of instances in a study of these data; for files, all files in the folder."""
    data = scenario.data.get(name, Data(size=name))
    if data.files:
        return len(Files([scenario.folder / path for path in data.files]).files)
    preset = _preset(data)
    return preset.series * preset.instances


class InTurn:
    """A `Source` that alternates between the studies of several sources."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.contexts: Sequence[tuple[str, Sequence[str]]] = list(
            {(uid, *syntaxes): (uid, syntaxes) for source in sources for uid, syntaxes in source.contexts}.values()
        )

    def total(self, associations: int) -> int:
        return sum(source.total(associations) for source in self._sources)

    def feed(self, association: int, associations: int) -> Iterator[Instance]:
        feeds = [studies(source.feed(association, associations)) for source in self._sources]
        # Each association begins with another source, or all would send the same kind at the same time.
        first = association % len(feeds)
        for feed in itertools.cycle(feeds[first:] + feeds[:first]):
            try:
                study = next(feed)
            except StopIteration:
                return
            yield from study


def _source(scenario: Scenario, name: str) -> Source:
    data = scenario.data.get(name, Data(size=name))
    if data.files:
        return Files([scenario.folder / path for path in data.files], ENDLESS, new_uids=True)
    return Synthetic(_preset(data), ENDLESS, data.distinct)


def _preset(data: Data) -> Preset:
    preset = parse_size(data.size)
    return dataclasses.replace(
        preset, series=data.series or preset.series, instances=data.instances or preset.instances
    )
