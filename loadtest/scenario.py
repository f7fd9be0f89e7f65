"""Scenarios: which work is done, with which data, how much of it, and when. Read from TOML and checked as a whole.

Here: the structures, what may stand in them, and the scenarios that come along (`scenarios/*.toml`). Making data is
`sources.py`'s, doing the work `engine.py`'s. README.md explains every key; it and this file are changed together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from gateway.dicom.dictionary import KEYWORDS
from gateway.errors import ConfigurationError
from loadtest.data import parse_size

Kind = Literal["echo", "store", "find", "move", "get", "stow", "qido", "study", "metadata", "frames", "rendered"]
WRITES: tuple[Kind, ...] = ("store", "stow")
READS: tuple[Kind, ...] = ("move", "get", "study", "metadata", "frames", "rendered")
"""What needs something that is there."""
DIMSE: tuple[Kind, ...] = ("echo", "store", "find", "move", "get")

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_FOLDER = Path(__file__).with_name("scenarios")
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
_BITS = re.compile(r"(\d+(?:\.\d+)?) ?([KMG]?)BIT/S\Z")
_SPANS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|)\Z")


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored: made up after a preset, or out of real files."""

    size: str = ""
    """`ct`, `mr`, … or a size of pixels such as `512KB`."""
    files: tuple[str, ...] = ()
    """Files and folders instead, relative to the scenario's own; sent with new UIDs, over and over."""
    series: int | None = None
    """Series in a study; otherwise what is usual for the modality."""
    instances: int | None = None
    """Instances in a series."""
    distinct: int | None = None
    """After so many instances the same ones come again, byte for byte, as duplicates."""


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of work. It ends after `count` operations, or with the scenario's `duration`."""

    do: Kind
    name: str = ""
    """What it is called in reports; its kind otherwise."""
    data: str | tuple[str, ...] = ()
    """For store and stow: names under `[data]`, or sizes; of several, studies come in turn."""
    each: Literal["instance", "study"] = "instance"
    """What one operation of `store` is: an instance, or an association with a whole study."""
    batch: int = 10
    """Instances in one request of `stow`."""
    at_once: int = 1
    """Associations or connections."""
    window: int = 1
    """Operations at once on one association, where the peer agrees (PS3.7 D.3.3.3)."""
    count: int | None = None
    """Operations, of all connections together."""
    rate: float | None = None
    """Operations that are to begin in a second, whatever becomes of those before: an open loop. Otherwise closed."""
    arrivals: Literal["even", "random"] = "even"
    """How those are spread: evenly, or as patients come (a Poisson process)."""
    profile: tuple[float, ...] = (1.0,)
    """How `rate` changes: over as many equal parts of the duration it is multiplied by these."""
    start: float | str = 0.0
    """When it begins, after the scenario."""
    pause: float | str = 0.0
    """In a closed loop, from an answer to the next operation on the same connection: how long a person looks."""
    keys: dict[str, str] = {}
    """For find and qido: keyword (for qido, or tag) to value. `{study}` is a study that is there."""
    level: Literal["study", "series", "instance"] = "study"
    """For find and qido."""
    limit: int = 25
    """For qido; 0 for none."""
    anew: bool = False
    """For rendered: with another window each time, so that no picture lies ready."""

    @property
    def title(self) -> str:
        return self.name or self.do


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies between us and the server, for every connection on its own; in both directions alike."""

    bandwidth: str = ""
    """`10 Mbit/s`; empty for all there is."""
    latency: float | str = 0.0
    """One way."""
    jitter: float | str = 0.0
    """Up to so much is added to the latency, at random."""


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored before the clock starts, so that there is something to be read."""

    data: str
    studies: int = 1


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    about: str
    """One sentence."""
    work: tuple[Work, ...]
    data: dict[str, Data] = {}
    duration: float | str | None = None
    prepare: tuple[Prepare, ...] = ()
    network: Network | None = None
    seed: int = 1
    """Of all that is random: when patients come, what viewers look at."""
    folder: Path = Path()
    """Where relative paths begin; of the file that it was read from."""

    @property
    def seconds(self) -> float | None:
        return None if self.duration is None else span(self.duration)


def span(text: float | str) -> float:
    """Seconds of `90`, `20ms`, `15min`, `4h`. Raises ValueError."""
    if not isinstance(text, str):
        return float(text)
    match = _SPAN.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time such as 90, 20ms, 15min or 4h")
    return float(match[1]) * _SPANS[match[2]]


def bits(text: str) -> float | None:
    """Bits a second of `10 Mbit/s`, None of nothing. Raises ValueError."""
    if not text:
        return None
    match = _BITS.match(text.strip().upper())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is no bandwidth such as 10 Mbit/s")
    return float(match[1]) * _UNITS[match[2]]


def shipped() -> Iterator[tuple[str, Scenario]]:
    """The scenarios that come along, by name."""
    for file in sorted(_FOLDER.glob("*.toml")):
        yield file.stem, read(file)


def find(name: str) -> Scenario:
    """One that comes along, or that of a file. Raises ConfigurationError, OSError."""
    if "/" in name or name.endswith(".toml"):
        return read(Path(name))
    file = _FOLDER / f"{name}.toml"
    names = [each.stem for each in sorted(_FOLDER.glob("*.toml"))]
    if name not in names:
        raise ConfigurationError(f"there is no scenario {name!r}, but {', '.join(names)}; or name a file, yours.toml")
    return read(file)


def text_of(name: str) -> str:
    """The TOML of one that comes along. Raises ConfigurationError."""
    find(name)
    return (_FOLDER / f"{name}.toml").read_text("utf-8")


def scaled(scenario: Scenario, scale: float, seconds: float | None) -> Scenario:
    """The same with more or less of everything, and with another duration where one is given."""

    def number(value: int | None) -> int | None:
        return None if value is None else max(1, round(value * scale))

    works = [
        msgspec.structs.replace(
            work,
            count=number(work.count),
            at_once=number(work.at_once),
            rate=None if work.rate is None else work.rate * scale,
        )
        for work in scenario.work
    ]
    duration = scenario.duration if seconds is None else seconds
    return msgspec.structs.replace(scenario, work=tuple(works), duration=duration)


def read(file: Path) -> Scenario:
    """The scenario of a file, checked. Raises ConfigurationError, which names the place, OSError."""
    return parse(file.read_text("utf-8"), str(file), file.parent)


def parse(text: str, where: str, folder: Path) -> Scenario:
    """The scenario of a TOML document; `where` is what errors call it."""
    try:
        found = msgspec.convert(tomllib.loads(text) | {"folder": str(folder)}, Scenario, dec_hook=_path)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {str(error).replace('`$.', '`')}") from None
    if wrong := next(_wrong(found), None):
        raise ConfigurationError(f"{where}: {wrong}")
    return found


def _path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError


def _wrong(scenario: Scenario) -> Iterator[str]:
    """What the types do not say, each with its place."""
    if not scenario.work:
        yield "`work`: there is nothing to do"
    yield from _times("duration", scenario.duration)
    if scenario.duration is not None and not span(scenario.duration):
        yield "`duration` must be more than nothing"
    if (network := scenario.network) is not None:
        yield from _times("network.latency", network.latency)
        yield from _times("network.jitter", network.jitter)
        try:
            bits(network.bandwidth)
        except ValueError as error:
            yield f"`network.bandwidth`: {error}"
    for name, data in scenario.data.items():
        if bool(data.size) == bool(data.files):
            yield f"`data.{name}` needs either `size` or `files`"
        for key in ("series", "instances", "distinct"):
            if (value := getattr(data, key)) is not None and value < 1:
                yield f"`data.{name}.{key}` must be at least 1"
        yield from _size(f"data.{name}.size", data.size)
    for at, prepare in enumerate(scenario.prepare):
        yield from _names(f"prepare[{at}].data", scenario, [prepare.data])
    for at, work in enumerate(scenario.work):
        yield from _wrong_work(f"work[{at}]", work, scenario)


def _wrong_work(place: str, work: Work, scenario: Scenario) -> Iterator[str]:
    names = [work.data] if isinstance(work.data, str) else list(work.data)
    if work.do in WRITES:
        if not names:
            yield f"`{place}.data` is missing: what to {work.do}"
        yield from _names(f"{place}.data", scenario, names)
    elif names:
        yield f"`{place}.data` is for store and stow"
    if work.keys and work.do not in ("find", "qido"):
        yield f"`{place}.keys` is for find and qido"
    for key in work.keys:
        if key not in KEYWORDS and not (work.do == "qido" and _TAG.fullmatch(key)):
            yield f"`{place}.keys`: {key!r} is no keyword of the data dictionary, such as PatientName"
    if work.each == "study" and work.do != "store":
        yield f"`{place}.each` is for store"
    for key in ("at_once", "batch", "window", "count"):
        if (value := getattr(work, key)) is not None and value < 1:
            yield f"`{place}.{key}` must be at least 1"
    if work.rate is not None and work.rate <= 0:
        yield f"`{place}.rate` must be more than 0"
    if not work.profile or min(work.profile) < 0 or not max(work.profile):
        yield f"`{place}.profile` must have numbers from 0, not all of them 0"
    if work.count is None and scenario.duration is None:
        yield f"`{place}` never ends: give it a `count`, or the scenario a `duration`"
    if work.rate is not None and len(work.profile) > 1 and scenario.duration is None:
        yield f"`{place}.profile` needs a `duration` of the scenario to be spread over"
    yield from _times(f"{place}.start", work.start)
    yield from _times(f"{place}.pause", work.pause)


def _times(place: str, value: float | str | None) -> Iterator[str]:
    try:
        if value is not None and span(value) < 0:
            yield f"`{place}` must not be negative"
    except ValueError as error:
        yield f"`{place}`: {error}"


def _names(place: str, scenario: Scenario, names: list[str]) -> Iterator[str]:
    for name in names:
        if name not in scenario.data:
            yield from _size(place, name)


def _size(place: str, text: str) -> Iterator[str]:
    try:
        if text:
            parse_size(text)
    except ValueError as error:
        yield f"`{place}`: {error}"
