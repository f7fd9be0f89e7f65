"""Scenarios: which work is done, with which data, how much of it, and when. They are read from TOML and checked.

This module has the structures, their checks, and the built-in scenarios (`scenarios/*.toml`). `sources.py` makes the
data, `engine.py` does the work. loadtest/README.md explains every key: change it together with this file.
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

Kind = Literal[
    "echo", "store", "find", "move", "get", "stow", "qido", "study", "metadata", "frames", "rendered", "rest"
]
WRITES: tuple[Kind, ...] = ("store", "stow")
READS: tuple[Kind, ...] = ("move", "get", "study", "metadata", "frames", "rendered")
"""Kinds of work that read instances in the server."""
DIMSE: tuple[Kind, ...] = ("echo", "store", "find", "move", "get")

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_FOLDER = Path(__file__).with_name("scenarios")
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
_BITS = re.compile(r"(\d+(?:\.\d+)?) ?([KMG]?)BIT/S\Z")
_SPANS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|)\Z")


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that is stored: generated after a preset, or read from files."""

    size: str = ""
    """A preset (`ct`, `mr`, …), or a size of pixels such as `512KB`."""
    files: tuple[str, ...] = ()
    """Files and folders instead, relative to the folder of the scenario; sent repeatedly, with new UIDs."""
    series: int | None = None
    """Series in a study; without it, the number of the preset."""
    instances: int | None = None
    """Instances in a series; without it, the number of the preset."""
    distinct: int | None = None
    """Number of different instances; after them they are sent again, byte for byte, as duplicates."""


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One piece of work. It ends after `count` operations, or with the scenario's `duration`."""

    do: Kind
    name: str = ""
    """Name in reports; without it, the kind."""
    data: str | tuple[str, ...] = ()
    """For store and stow: names under `[data]`, or sizes. With several, their studies alternate."""
    each: Literal["instance", "study"] = "instance"
    """Unit of one operation of `store`: an instance, or an association with a whole study."""
    batch: int = 10
    """Instances in one request of `stow`."""
    at_once: int = 1
    """Associations or connections."""
    window: int = 1
    """Operations at once on one association, if the peer agrees (PS3.7 D.3.3.3)."""
    count: int | None = None
    """Operations of all connections together."""
    rate: float | None = None
    """Operations begun per second, independent of earlier ones: an open loop. Without it, the loop is closed."""
    arrivals: Literal["even", "random"] = "even"
    """Distribution of the operations of an open loop: even, or as patients come (a Poisson process)."""
    profile: tuple[float, ...] = (1.0,)
    """Factors of `rate`, each for an equal part of the duration."""
    start: float | str = 0.0
    """Time from the beginning of the scenario to the beginning of the work."""
    pause: float | str = 0.0
    """Time from an answer to the next operation on its connection, in a closed loop: how long a person looks."""
    keys: dict[str, str] = {}
    """For find and qido: values by keyword (for qido, also by tag). `{study}` is a study in the server."""
    level: Literal["study", "series", "instance"] = "study"
    """Level of the query, for find and qido."""
    limit: int = 25
    """Matches at most, for qido; 0 for no limit."""
    anew: bool = False
    """For rendered: use another window each time, so that no rendered image is in a cache."""
    paths: tuple[str, ...] = ()
    """For rest: paths below the URL of the service, asked for in turn; that of an Orthanc is its root."""
    body: str = ""
    """For rest: the JSON of a question, which is then a POST."""

    @property
    def title(self) -> str:
        return self.name or self.do


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network between generator and server, applied to every connection separately, in both directions alike."""

    bandwidth: str = ""
    """Bandwidth, such as `10 Mbit/s`; empty for unlimited."""
    latency: float | str = 0.0
    """Delay in one direction."""
    jitter: float | str = 0.0
    """Greatest random addition to the latency."""


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Data that is stored before the clock starts, to be read later."""

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
    """Seed of the random numbers: when patients come, which studies viewers open."""
    folder: Path = Path()
    """Folder of the scenario's file: relative paths begin there."""

    @property
    def seconds(self) -> float | None:
        return None if self.duration is None else span(self.duration)


def span(text: float | str) -> float:
    """The seconds of a time such as `90`, `20ms`, `15min` or `4h`. Raises ValueError."""
    if not isinstance(text, str):
        return float(text)
    match = _SPAN.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 90, 20ms, 15min or 4h")
    return float(match[1]) * _SPANS[match[2]]


def bits(text: str) -> float | None:
    """The bits per second of a bandwidth such as `10 Mbit/s`; None if empty. Raises ValueError."""
    if not text:
        return None
    match = _BITS.match(text.strip().upper())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is not a bandwidth such as 10 Mbit/s")
    return float(match[1]) * _UNITS[match[2]]


def shipped() -> Iterator[tuple[str, Scenario]]:
    """The built-in scenarios, by name."""
    for file in sorted(_FOLDER.glob("*.toml")):
        yield file.stem, read(file)


def find(name: str) -> Scenario:
    """Read a built-in scenario, or that of a file. Raises ConfigurationError, OSError."""
    if "/" in name or name.endswith(".toml"):
        return read(Path(name))
    file = _FOLDER / f"{name}.toml"
    names = [each.stem for each in sorted(_FOLDER.glob("*.toml"))]
    if name not in names:
        raise ConfigurationError(f"there is no scenario {name!r}: use one of {', '.join(names)}, or a file, mine.toml")
    return read(file)


def text_of(name: str) -> str:
    """The TOML text of a built-in scenario. Raises ConfigurationError."""
    find(name)
    return (_FOLDER / f"{name}.toml").read_text("utf-8")


def scaled(scenario: Scenario, scale: float, seconds: float | None) -> Scenario:
    """The scenario with counts, connections and rates multiplied by `scale`, and the duration `seconds` if given."""

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
    """Read a scenario from a file, and check it. Raises ConfigurationError, which names the place; OSError."""
    return parse(file.read_text("utf-8"), str(file), file.parent)


def parse(text: str, where: str, folder: Path) -> Scenario:
    """Parse and check the scenario of a TOML document; errors name `where`. Raises ConfigurationError."""
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
    """The errors that types cannot express, each with its place."""
    if not scenario.work:
        yield "`work` is empty: there is nothing to do"
    yield from _times("duration", scenario.duration)
    if scenario.duration is not None and not span(scenario.duration):
        yield "`duration` must be more than 0"
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
    if bool(work.paths) is not (work.do == "rest") or any(not path.startswith("/") for path in work.paths):
        yield f"`{place}.paths` is for rest, which needs it: paths that begin with /"
    if work.body and work.do != "rest":
        yield f"`{place}.body` is for rest"
    if work.keys and work.do not in ("find", "qido"):
        yield f"`{place}.keys` is for find and qido"
    for key in work.keys:
        if key not in KEYWORDS and not (work.do == "qido" and _TAG.fullmatch(key)):
            yield f"`{place}.keys`: {key!r} is not a keyword of the data dictionary, such as PatientName"
    if work.each == "study" and work.do != "store":
        yield f"`{place}.each` is for store"
    for key in ("at_once", "batch", "window", "count"):
        if (value := getattr(work, key)) is not None and value < 1:
            yield f"`{place}.{key}` must be at least 1"
    if work.rate is not None and work.rate <= 0:
        yield f"`{place}.rate` must be more than 0"
    if not work.profile or min(work.profile) < 0 or not max(work.profile):
        yield f"`{place}.profile` must be numbers of 0 or more, not all of them 0"
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
