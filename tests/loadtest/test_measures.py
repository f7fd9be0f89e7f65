"""What single rows measure: forwarding to its end, processor time, a reader that is not the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest import peers
from loadtest.compare import forwarding, measures, rounds
from loadtest.compare.drain import drain
from loadtest.compare.measures import Stand
from loadtest.compare.rows import ROWS
from loadtest.compare.table import Measured
from loadtest.peers import PEERS
from loadtest.scenario import Kind
from loadtest.sink import PARTS, Sink

NEW = ("cpu", "cpu-small", "forward", "forward-share", "thumbnails", "move-own", "get-own", "frame-labels")
MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Peer]:
    with peers.sink(tmp_path_factory.mktemp("sink")) as peer:
        yield peer


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_rows_of_a_build_against_the_gateway(tmp_path: Path) -> None:
    rows = [ROWS[name] for name in NEW]
    result = rounds.compare(rows, {name: PEERS[name] for name in ("gateway", "sink")}, 1, 0.05, tmp_path)
    assert [row.name for row in result.rows] == list(NEW)
    for row in result.rows:
        (run,) = next(entry for entry in row.entries if entry.peer == "gateway").runs
        assert run.trouble == "", row.name
        assert run.value > 0, row.name
    assert {path.name for path in tmp_path.iterdir()} <= {"gateway", "sink", "forwarding-sink"}


class TestForwarding:
    def stand(self, folder: Path) -> Stand:
        def start(name: str, place: str, wiring: peers.Wiring | None = None) -> object:
            return PEERS[name](folder / place, wiring or peers.ALONE)

        return Stand(folder, start)  # type: ignore[arg-type]

    def test_what_is_not_delivered_is_no_rate(
        self, sink: peers.Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The sink takes everything and sends nothing on."""
        monkeypatch.setattr(forwarding, "_PATIENCE_S", 0.2)
        measured = forwarding.deliveries("8KB", 2)(self.stand(tmp_path), sink, 10)
        assert measured.value == 0
        assert measured.trouble == "nothing is delivered"


def theirs(sink: peers.Peer) -> peers.Peer:
    """The sink under another name, which has nothing of what it has taken."""
    return peers.Peer("theirs", sink.aet, sink.port, sink.pid, None, sink.url)


def test_a_study_that_comes_without_some_instances_is_no_figure(sink: peers.Peer, tmp_path: Path) -> None:
    stand = TestForwarding().stand(tmp_path)
    assert measures.drained(PARTS)(stand, theirs(sink), 1).trouble == ""
    assert measures.drained(PARTS + 1)(stand, theirs(sink), 1) == Measured(0.0, "instances of the study are missing")


@pytest.mark.parametrize("do", ["move", "get"])
def test_a_retrieval_that_ends_well_without_instances_is_no_figure(do: Kind, sink: peers.Peer, tmp_path: Path) -> None:
    measured = measures.retrieved(do)(TestForwarding().stand(tmp_path), theirs(sink), 3)
    assert measured.trouble == "0 of 3 instances arrived"


class TestSink:
    async def test_whoever_waits_for_instances_is_told_at_once(self) -> None:
        sink = Sink()
        waiting = asyncio.create_task(sink.have(2, 3600))
        await asyncio.sleep(0)
        sink.acknowledged()
        await asyncio.sleep(0)
        assert not waiting.done()
        sink.acknowledged()
        async with asyncio.timeout(5):
            assert await waiting == 2
        assert await sink.have(3, 0.01) == 2


class TestDrain:
    def test_every_byte_is_counted(self, sink: peers.Peer) -> None:
        found = drain(f"{sink.dicomweb}/studies/1.2", MULTIPART, 10)
        assert found.trouble == ""
        assert PARTS * (512 << 10) < found.bytes < PARTS * (513 << 10)
        assert found.seconds > 0

    def test_an_answer_that_is_no_study_is_said(self, sink: peers.Peer) -> None:
        found = drain(f"{sink.url}/nothing", MULTIPART, 10)
        assert found.trouble == "HTTP/1.1 404 Not Found"
        assert found.bytes == 0
