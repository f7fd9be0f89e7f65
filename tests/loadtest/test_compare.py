"""What rounds come to, and the comparison as a whole with what is always there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest import peers
from loadtest.compare import rounds
from loadtest.compare.row import Row
from loadtest.compare.rows import GROUPS, ROWS
from loadtest.compare.table import Comparison, Entry, Goal, Measured, RowResult, Spread, entries, outcomes
from loadtest.peers import PEERS, process
from loadtest.report import summary, text
from tests.support.peers import need


def run(*values: float) -> list[Measured]:
    return [Measured(value) for value in values]


def named(*names: str) -> dict[str, peers.Start]:
    return {name: PEERS[name] for name in names}


def failed(*values: float) -> list[Measured]:
    return [Measured(value, "A700H out of resources") for value in values]


def found(less_is_better: bool = False, **runs: list[Measured]) -> dict[str, Entry]:
    return {entry.peer: entry for entry in entries(runs, less_is_better=less_is_better)}


def test_ratios_are_taken_round_by_round() -> None:
    table = found(gateway=run(100, 300), orthanc=run(10, 20))
    assert table["orthanc"].gateway_is == Spread(12.5, 10, 15)
    assert table["orthanc"].value == Spread(15, 10, 20)
    assert table["gateway"].gateway_is is None


def test_another_build_of_the_gateway_does_what_the_gateway_does() -> None:
    assert ROWS["qido"].is_for("other-build")
    assert not ROWS["qido"].is_for("storescp")


def test_a_server_by_address_does_what_it_has_services_for() -> None:
    name, start = peers.by_address("theirs=[::1]:4242,THEIRS,http://10.0.0.1/dicom-web")
    assert name == "theirs"
    with start(Path(), peers.ALONE) as peer:
        assert (peer.aet, peer.host, peer.port) == ("THEIRS", "::1", 4242)
        assert peer.dicomweb == "http://10.0.0.1/dicom-web"
        assert [row for row in ("store-1", "qido", "swarm", "move") if ROWS[row].is_for_peer(peer)] == [
            "store-1",
            "qido",
        ]
    with peers.by_address("theirs=127.0.0.1:104,THEIRS")[1](Path(), peers.ALONE) as peer:
        assert [row for row in ("store-1", "qido", "find") if ROWS[row].is_for_peer(peer)] == ["store-1", "find"]


@pytest.mark.parametrize("text", ["", "a=b", "a=b:1", "a=b:x,C", "Upper=b:1,C", "=b:1,C", "a=b:1,C,ftp://d"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        peers.by_address(text)


def test_of_times_less_is_better() -> None:
    assert found(True, gateway=run(0.5, 1), orthanc=run(5, 20))["orthanc"].gateway_is == Spread(15, 10, 20)


def test_a_run_with_failures_counts_for_nothing_but_is_said() -> None:
    table = found(gateway=run(100) + failed(900), orthanc=run(10, 20), storescp=failed(5, 5))
    assert table["gateway"].value == Spread(100, 100, 100)
    assert table["gateway"].notes == ["1 of 2 runs failed (A700H out of resources)"]
    assert table["orthanc"].gateway_is == Spread(10, 10, 10)
    assert table["storescp"].value is None
    assert table["storescp"].gateway_is is None


def test_a_result_near_the_ceiling_of_the_sender_is_marked() -> None:
    table = found(gateway=run(850), storescp=run(700), sink=run(1000))
    assert "85%" in table["gateway"].notes[0]
    assert table["storescp"].notes == []
    assert table["sink"].notes == []
    assert "90%" in found(True, gateway=run(1), sink=run(0.9))["gateway"].notes[0]


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal(10, "orthanc"), "held"),
        (Goal(10.1, "orthanc"), "missed"),
        (Goal(2, "storescp"), "not measured"),
        (Goal(2, "dcmqrscp"), "not measured"),
        (Goal(100), "held"),
        (Goal(101), "missed"),
        (Goal(100, at_least=False), "held"),
        (Goal(99, at_least=False), "missed"),
    ],
)
def test_goals_are_held_or_missed_by_the_median(goal: Goal, verdict: str) -> None:
    table = found(gateway=run(100), orthanc=run(10), storescp=failed(1))
    (outcome,) = outcomes([goal], list(table.values()))
    assert outcome.verdict == verdict


def test_rows_name_servers_that_there_are_and_goals_that_can_be_met() -> None:
    for row in ROWS.values():
        assert set(row.servers) <= set(PEERS), row.name
        assert all(row.is_for(goal.peer) for goal in row.goals if goal.peer), row.name
        assert "gateway" in row.servers
    assert all(set(names) <= set(ROWS) for names in GROUPS.values())
    assert set(GROUPS["all"]) == set(ROWS)


def comparison(entries_of: list[Entry], row: Row) -> Comparison:
    result = RowResult(
        name=row.name,
        title=row.title,
        unit=row.unit,
        less_is_better=row.less_is_better,
        entries=entries_of,
        outcomes=outcomes(row.goals, entries_of),
    )
    return Comparison(began="now", rounds=1, scale=1, cpus=2, remarks=["left out: <orthanc>"], rows=[result])


def test_the_table_has_every_row_uncut() -> None:
    table = found(gateway=run(850), **{"orthanc-tuned": run(100), "storescp-tuned": failed(1)})
    shown = text.comparison_text(comparison(list(table.values()), ROWS["store-64"]))
    assert "64 associations, 512 KB" in shown
    assert "8.50 x" in shown
    assert "held" in shown
    assert "storescp-tuned: 1 of 1 runs failed" in shown
    assert "left out: <orthanc>" in shown


def test_with_what_always_is_there(tmp_path: Path) -> None:
    """Rounds alternate, what is not installed is said, and nothing is left behind."""
    rows = [ROWS["store-1"], ROWS["small-8"], ROWS["qido"]]
    steps: list[str] = []
    result = rounds.compare(
        rows,
        named("gateway", "sink"),
        2,
        0.005,
        tmp_path,
        lambda done, total, what: steps.append(f"{done}/{total} {what}"),
    )
    assert [row.name for row in result.rows] == ["store-1", "small-8", "qido"]
    for row in result.rows:
        assert {entry.peer for entry in row.entries} <= {"gateway", "sink"}
        for entry in row.entries:
            assert [run.trouble for run in entry.runs] == ["", ""], row.name
            assert entry.value is not None
            assert entry.value.median > 0
    order = [step.rpartition(" ")[2] for step in steps if "store-1: round" in step]
    assert order == ["gateway", "sink", "sink", "gateway"]
    assert result.complete
    assert result.scale == 0.005


def test_what_is_not_installed_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATH", str(tmp_path))
    result = rounds.compare([ROWS["storescu"], ROWS["store-1"]], named("storescp", "sink"), 1, 0.01, tmp_path)
    assert "left out: storescp is not installed: apt-get install dcmtk" in result.remarks
    assert any("storescu is not installed" in remark for remark in result.remarks)
    assert [row.name for row in result.rows] == ["store-1"]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_row_of_the_table_against_the_peers(tmp_path: Path) -> None:
    """Orthanc does all of it; the others their part."""
    for name in ("storescu", "findscu", "movescu", "getscu", "storescp", "dcmqrscp", "orthanc", "orthanc-dicomweb"):
        need(name)
    heavy = ("giants", "swarm", "study", "study-drained", "metadata-cold", "metadata-warm", "qido")
    rows = [ROWS[name] for name in GROUPS["table"] if name not in heavy]
    rows += [dataclasses.replace(ROWS[name], count=2000) for name in GROUPS["rest"]]
    result = rounds.compare(rows, named("orthanc-tuned", "storescp-tuned", "dcmqrscp-tuned"), 1, 0.02, tmp_path)
    for row in result.rows:
        assert row.entries, row.name
        for entry in row.entries:
            assert entry.runs[0].trouble == "", f"{row.name} {entry.peer}"


def test_a_peer_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(peers.NotStarted, match="No such option"), peers.gateway(tmp_path, "--no-such"):
        pass


def test_goals_for_a_document() -> None:
    """A Markdown table and a plot that stands alone have every goal, measured or not."""
    table = found(gateway=run(850), **{"orthanc-tuned": run(100), "storescp-tuned": failed(1)})
    shown = comparison(list(table.values()), ROWS["store-64"])
    written = summary.markdown(shown)
    assert "| 64 associations, 512 KB | 850 instances/s | orthanc-tuned 100 instances/s | 8.50 \u00d7 |" in written
    assert written.count("not measured") == 1
    assert "Left out: <orthanc>." in written
    root = ElementTree.fromstring(summary.svg(shown))
    said = " ".join(root.itertext())
    assert "8.50 \u00d7 held" in said
    assert "storescp-tuned" in said
