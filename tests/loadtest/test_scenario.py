"""Scenarios: those that come along are sound, and what is wrong in one is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from loadtest import scenario
from loadtest.scenario import Scenario, bits, span
from loadtest.sources import source_of, studies, study_size
from tests.support.datasets import sample

HEAD = 'title = "t"\nabout = "a"\nduration = 1\n'


def parse(text: str) -> Scenario:
    return scenario.parse(text, "mine.toml", Path())


def test_those_that_come_along_are_listed_with_a_sentence() -> None:
    found = dict(scenario.shipped())
    assert {"morning", "one-ct", "swarm", "migration", "reading", "small-objects", "giants"} <= set(found)
    assert {"duplicates", "slow-network", "soak", "retrieval", "upload"} <= set(found)
    for name, one in found.items():
        assert one.about.endswith((".", "?")), name
        assert one.work
        assert scenario.text_of(name).count("title = ") == 1
        for work in one.work:
            if work.data:
                source_of(one, work.data)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[[work]]\ndo = "store"\ndata = "ct"\nspeed = 3', r"unknown field `speed` - at `work\[0\]`"),
        ('[[work]]\ndo = "stor"', r"'stor' - at `work\[0\].do`"),
        ('[[work]]\ndo = "store"', r"`work\[0\].data` is missing"),
        ('[[work]]\ndo = "echo"\ndata = "ct"', r"`work\[0\].data` is for store and stow"),
        ('[[work]]\ndo = "store"\ndata = "huge"', r"`work\[0\].data`: 'huge' is neither"),
        ('[[work]]\ndo = "echo"\nat_once = 0', r"`work\[0\].at_once` must be at least 1"),
        ('[[work]]\ndo = "echo"\nrate = 0', r"`work\[0\].rate` must be more than 0"),
        ('[[work]]\ndo = "echo"\npause = "long"', r"`work\[0\].pause`: 'long' is not a time"),
        ('[[work]]\ndo = "echo"\nprofile = [0]', r"`work\[0\].profile`"),
        ('[[work]]\ndo = "qido"\neach = "study"', r"`work\[0\].each` is for store"),
        ('[[work]]\ndo = "echo"\nkeys = {PatientID = ""}', r"`work\[0\].keys` is for find and qido"),
        ('[[work]]\ndo = "find"\nkeys = {Name = "x"}', r"`work\[0\].keys`: 'Name' is not a keyword"),
        ('[data.x]\nseries = 1\n[[work]]\ndo = "echo"', "`data.x` needs either `size` or `files`"),
        ('[data.x]\nsize = "ct"\nseries = 0\n[[work]]\ndo = "echo"', "`data.x.series` must be at least 1"),
        ('[network]\nbandwidth = "fast"\n[[work]]\ndo = "echo"', "`network.bandwidth`: 'fast' is not a bandwidth"),
        ('[[prepare]]\ndata = "nothing"\n[[work]]\ndo = "echo"', r"`prepare\[0\].data`"),
        ("work = []", "`work` is empty: there is nothing to do"),
        ("work = [", "mine.toml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigurationError, match=place) as error:
        parse(HEAD + text)
    assert str(error.value).startswith("mine.toml: ")


def test_work_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"`work\[0\]` never ends"):
        parse('title = "t"\nabout = "a"\n[[work]]\ndo = "echo"')


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ConfigurationError, match="morning"):
        scenario.find("evening")


@pytest.mark.parametrize(("text", "seconds"), [(3, 3), ("90", 90), ("20ms", 0.02), ("1.5 min", 90), ("4h", 14400)])
def test_times(text: float | str, seconds: float) -> None:
    assert span(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "number"), [("", None), ("10 Mbit/s", 1e7), ("64kbit/s", 64e3), ("9600 bit/s", 9600)])
def test_bandwidths(text: str, number: float | None) -> None:
    assert bits(text) == number


def test_scaled_multiplies_how_much_is_done() -> None:
    one = parse(HEAD + '[[work]]\ndo = "echo"\ncount = 100\nat_once = 10\n[[work]]\ndo = "echo"\nrate = 5.0')
    half = scenario.scaled(one, 0.5, 7.0)
    assert (half.work[0].count, half.work[0].at_once, half.work[1].rate) == (50, 5, 2.5)
    assert half.seconds == 7
    assert scenario.scaled(one, 0.001, None).work[0].at_once == 1


class TestSources:
    def test_studies_of_several_kinds_come_in_turn(self) -> None:
        one = parse(
            HEAD
            + '[data.a]\nsize = "64"\ninstances = 2\n[data.b]\nsize = "mr"\nseries = 1\ninstances = 3\n'
            + '[[work]]\ndo = "store"\ndata = ["a", "b"]'
        )
        source = source_of(one, ["a", "b"])
        feed = studies(source.feed(0, 1))
        sizes = [len(list(next(feed))) for _ in range(4)]
        assert sizes == [2, 3, 2, 3]
        assert len(source.contexts) == 2
        assert len(list(next(studies(source.feed(1, 2))))) == 3  # The second begins with the other kind.
        assert (study_size(one, "a"), study_size(one, "mr")) == (2, 240)

    def test_duplicates_are_the_same_to_the_byte(self) -> None:
        one = parse(HEAD + '[data.a]\nsize = "64"\ninstances = 9\ndistinct = 3\n[[work]]\ndo = "store"\ndata = "a"')
        feed = source_of(one, "a").feed(0, 1)
        first = [next(feed) for _ in range(3)]
        again = [next(feed) for _ in range(3)]
        assert [b"".join(each.chunks) for each in first] == [b"".join(each.chunks) for each in again]
        assert len({each.sop_instance_uid for each in first}) == 3
        groups = studies(source_of(one, "a").feed(0, 1))
        assert [len(list(next(groups))) for _ in range(3)] == [3, 3, 3]

    def test_files_of_the_scenarios_folder_come_as_new_studies(self, tmp_path: Path) -> None:
        (tmp_path / "ct.dcm").write_bytes(sample("CT_small.dcm").read_bytes())
        file = tmp_path / "mine.toml"
        file.write_text(HEAD + '[data.real]\nfiles = ["ct.dcm"]\n[[work]]\ndo = "store"\ndata = "real"')
        feed = source_of(scenario.find(str(file)), "real").feed(0, 1)
        assert len({next(feed).study_instance_uid for _ in range(5)}) == 5
