"""The measures of Orthanc's REST API: calls asked again and again of a server with a stock of small instances.

Both servers speak it, so that each call is the same text; identifiers are asked for first, since they are made of
Patient IDs that differ between servers.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.request import urlopen

from loadtest import engine, peers
from loadtest.compare.disk import forget_all
from loadtest.compare.measures import Measure, Stand, run_work, target_of, trouble_of
from loadtest.compare.table import Measured
from loadtest.scenario import Data, Scenario, Work
from loadtest.target import Target, Web

FIND = {"Level": "Study", "Expand": True, "Query": {"PatientID": "LT-*-0001*"}}
"""Of a stock of 4000 studies about a hundred match; on more associations than one, as many on each."""
_TIMEOUT_S = 600.0
_STUDY = Data(size="64B", series=2, instances=25)


def root_of(peer: peers.Peer) -> Target:
    return dataclasses.replace(target_of(peer), web=Web.parse(peer.url), timeout=_TIMEOUT_S)


def fill(stand: Stand, peer: peers.Peer, stock: int) -> None:
    """Store small instances, 50 a study, until the server has got `stock` by this. Raises Unprepared."""
    missing = stock - stand.stocks.get(peer.pid, 0)
    if missing <= 0:
        return
    work = Work(do="store", data="study", count=missing, at_once=4)
    summary = run_work(Scenario(title="stock", about="", data={"study": _STUDY}, work=(work,)), target_of(peer))
    if not summary.complete:
        raise engine.Unprepared(f"{peer.name} did not store its stock: {trouble_of(summary)}")
    stand.stocks[peer.pid] = stock


def calls(path: str, *, operations: int, body: Any = None, at_once: int = 4) -> Measure:
    """One call, over and over, of a server with `count` instances. Answers a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        fill(stand, peer, count)
        return _answers((path,), peer, operations, at_once, json.dumps(body) if body is not None else "")

    return measure


def page(ours: str, theirs: str, *, operations: int, at_once: int = 1) -> Measure:
    """A page of ours as a browser gets it, beside the call of their REST that gives a page of theirs its content, of a
    server with `count` instances. Answers a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        fill(stand, peer, count)
        return _answers((ours if peer.is_gateway else theirs,), peer, operations, at_once)

    return measure


def tags(*, operations: int, at_once: int = 4) -> Measure:
    """All attributes of one instance after the other, of a server with `count` instances; each is asked for once in a
    round, so that no server has it at hand. Answers a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        fill(stand, peer, count)
        found = _ask(f"{peer.url}/instances?since=0&limit={operations}")
        return _answers(tuple(f"/instances/{each}/tags" for each in found), peer, operations, at_once)

    return measure


def previews(*, at_once: int) -> Measure:
    """What a page asks for while one scrolls through a CT of `count` slices, each once: of the gateway the pixels that
    the browser windows by itself, of Orthanc its `preview`. Answers a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        study = stand.study(peer, "512KB", count)[0].study
        (found,) = _ask(f"{peer.url}/tools/lookup", study.encode())
        path = "/instances/{}/preview"
        if peer.is_gateway:
            path = "/ui/instances/{}/frames/0/pixels"
        instances = _ask(f"{peer.url}/studies/{found['ID']}/instances?expand=false")
        paths = tuple(path.format(each["ID"] if isinstance(each, dict) else each) for each in instances)
        return _answers(paths, peer, len(paths), at_once)

    return measure


def thumbnails(*, at_once: int) -> Measure:
    """A thumbnail of each instance of a study of `count`, none asked for before and nothing in the page cache: the
    gateway's thumbnail, and of Orthanc the rendered instance in the same size. Answers a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        places = stand.study(peer, "512KB", count, new=True)
        forget_all(peer.folder)
        what = "thumbnail?viewport=128,128" if peer.is_gateway else "rendered?viewport=128,128"
        paths = tuple(
            f"/dicom-web/studies/{at.study}/series/{at.series}/instances/{at.instance}/{what}" for at in places
        )
        return _answers(paths, peer, len(paths), at_once)

    return measure


def archive(size: str) -> Measure:
    """The zip of a study of `count` instances. Megabytes a second."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        study = stand.study(peer, size, count)[0].study
        (found,) = _ask(f"{peer.url}/tools/lookup", study.encode())
        work = Work(do="rest", paths=(f"/studies/{found['ID']}/archive",), count=1)
        summary = run_work(Scenario(title="archive", about="", work=(work,)), root_of(peer))
        return Measured(summary.megabytes_per_second, trouble_of(summary))

    return measure


def _answers(paths: tuple[str, ...], peer: peers.Peer, operations: int, at_once: int, body: str = "") -> Measured:
    work = Work(do="rest", paths=paths, body=body, count=operations, at_once=at_once)
    summary = run_work(Scenario(title="rest", about="", work=(work,)), root_of(peer))
    return Measured(summary.operations_per_second, trouble_of(summary))


def _ask(url: str, body: bytes | None = None) -> Any:
    with urlopen(url, body, _TIMEOUT_S) as answer:
        return json.load(answer)
