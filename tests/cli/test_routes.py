"""`routes explain` and `routes replay` over files and a data folder; `deliveries`, `destinations` and `trace`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.config import Storage, load
from gateway.database.sqlite import SQLite
from gateway.dicom.part10 import file_header
from gateway.forwarding.page_rules import PageRules
from gateway.ingest.file_import import import_paths
from tests.support.datasets import CT, ct_header, encode
from tests.test_problems import GOOD

RULES = GOOD + 'attributes = [{attribute = "Modality", equals = "CT"}]\n'


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A data folder with three instances in two studies, their files, and a configuration."""
    for number, modality in enumerate(("CT", "CT", "MR")):
        header = ct_header(
            SOPInstanceUID=f"7.{number}", StudyInstanceUID=f"1.{modality[0] == 'M':d}", Modality=modality
        )
        head = file_header(sop_class_uid=CT, sop_instance_uid=f"7.{number}", transfer_syntax_uid="1.2.840.10008.1.2.1")
        (tmp_path / f"{number}.dcm").write_bytes(head + encode(header))
    asyncio.run(import_paths(Storage(path=str(tmp_path / "data"), min_free=0), sorted(tmp_path.glob("*.dcm"))))
    (tmp_path / "a.toml").write_text(RULES)
    (tmp_path / "b.toml").write_text(RULES.replace('"CT"', '"MR"'))
    return tmp_path


def test_files(house: Path) -> None:
    told = run("routes", "explain", "-c", house / "a.toml", *[house / f"{number}.dcm" for number in range(3)])
    assert told.splitlines() == [
        f"{house}/0.dcm and 1 more",
        "  yes  ct: to pacs",
        f"{house}/2.dcm",
        "  no   ct: Modality is 'MR', and must be 'CT'",
    ]


def test_who_sends_it_counts(house: Path) -> None:
    told = run("routes", "explain", "-c", house / "a.toml", "--calling-aet", "PACS", house / "0.dcm")
    assert "not to pacs: it came from there" in told


def test_what_is_stored_by_uid(house: Path) -> None:
    (one, two) = json.loads(run("routes", "explain", "-c", house / "a.toml", "-d", house / "data", "1.0", "--json"))
    assert sorted(each["sop_instance_uid"] for each in (one, two)) == ["7.0", "7.1"]
    assert one["deliveries"] == [{"destination": "pacs", "changes": "", "rule": "ct"}]


def test_nothing_of_that_name(house: Path) -> None:
    result = CliRunner().invoke(app, ["routes", "explain", "-d", str(house / "data"), "nothing"])
    assert result.exit_code != 0
    assert "nothing here is called" in str(result.exception)


def test_what_other_rules_would_do(house: Path) -> None:
    asked = ("routes", "replay", "-c", house / "a.toml", "-d", house / "data", "--new")
    told: Any = json.loads(run(*asked, house / "b.toml", "--json"))
    assert told["instances"] == 3
    assert sorted((each["study"], each["sign"], each["count"]) for each in told["differences"]) == [
        ("1.0", "-", 2),
        ("1.1", "+", 1),
    ]
    assert run(*asked, house / "a.toml") == "3 instances examined; none would be delivered differently\n"
    assert run(*asked, house / "b.toml", "--since", "0m").startswith("0 instances")


def test_changes_are_shown_and_compared(house: Path) -> None:
    changed = RULES + 'changes = "c"\n[changes.c]\nsteps = [{do = "set", attribute = "PatientID", value = "X"}]\n'
    (house / "c.toml").write_text(changed)
    (house / "d.toml").write_text(changed.replace('"X"', '"Y"'))
    for what in ([house / "0.dcm"], ["7.0", "-d", house / "data"]):
        told = run("routes", "explain", "-c", house / "c.toml", *what)
        assert "yes  ct: to pacs, with c" in told
        assert "c makes 1 change" in told
        assert "PatientID: '1CT1' -> 'X'" in told
    replayed = run("routes", "replay", "-c", house / "c.toml", "-d", house / "data", "--new", house / "d.toml")
    assert replayed.count("to pacs with c ") == 2
    assert "1 study would be delivered differently" in replayed


class TestRulesOfThePage:
    @pytest.fixture
    def paged(self, house: Path) -> Path:
        """Two versions: the second, which is in force, sends MR behind the rule of the file for CT."""

        async def apply() -> None:
            database = await SQLite.open(house / "data" / "database.sqlite")
            settings = load(house / "a.toml")
            for modality in ("US", "MR"):
                text = '[rules.page]\ndestinations = ["pacs"]\n'
                text += f'attributes = [{{ attribute = "Modality", equals = "{modality}" }}]\n'
                await PageRules(database, lambda: settings).apply(text, "ann")
            await database.close()

        asyncio.run(apply())
        return house

    def test_are_explained_with_those_of_the_file(self, paged: Path) -> None:
        asked = ("routes", "explain", "-c", paged / "a.toml", "-d", paged / "data")
        for name in (paged / "2.dcm", "7.2"):
            told = run(*asked, name)
            assert "no   ct: Modality is 'MR'" in told
            assert "yes  page: to pacs" in told
            assert "no   page: Modality is 'MR', and must be 'US'" in run(*asked, name, "--version", 1)

    def test_are_in_force_on_both_sides_of_a_replay(self, paged: Path) -> None:
        asked = ("routes", "replay", "-c", paged / "a.toml", "-d", paged / "data", "--json")
        told: Any = json.loads(run(*asked, "--new", paged / "b.toml"))
        assert [(each["study"], each["sign"]) for each in told["differences"]] == [("1.0", "-")], "MR goes either way"
        told = json.loads(run(*asked, "--version", 1))
        assert [(each["study"], each["sign"]) for each in told["differences"]] == [("1.1", "-")]

    def test_versions_that_are_not_there(self, paged: Path) -> None:
        asked = [str(each) for each in ("routes", "explain", "-d", paged / "data", paged / "2.dcm", "--version", 9)]
        result = CliRunner().invoke(app, asked)
        assert "no version 9" in str(result.exception)
        assert CliRunner().invoke(app, ["routes", "replay", "-d", str(paged / "data")]).exit_code == 2

    def test_one_that_does_not_fit_is_left_out_and_said(self, paged: Path) -> None:
        (paged / "none.toml").write_text("")
        asked = [str(each) for each in ("routes", "explain", "-c", paged / "none.toml", "-d", paged / "data", "7.2")]
        result = CliRunner().invoke(app, asked)
        assert "There are no rules" in result.stdout
        assert "a rule of the page is left out" in result.stderr

    def test_files_are_explained_without_a_data_folder_that_can_be_used(self, paged: Path) -> None:
        (paged / "data" / "database.sqlite").write_bytes(b"")
        asked = [str(each) for each in ("routes", "explain", "-c", paged / "a.toml", "-d", paged / "data")]
        result = CliRunner().invoke(app, [*asked, str(paged / "0.dcm")])
        assert "yes  ct: to pacs" in result.stdout
        assert "the rules of the page are not known" in result.stderr
