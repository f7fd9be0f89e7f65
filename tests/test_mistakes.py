"""Every mistake of a configuration, each with its line and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.config.lines import line_of
from gateway.config.mistakes import find_mistakes
from gateway.edit.change_set import ChangeSet
from gateway.routing.router import Router

GOOD = """
[modalities.pacs]
aet = "PACS"
host = "10.0.0.9"
port = 104

[destinations.pacs]
kind = "dicom"
modality = "pacs"

[rules.ct]
destinations = ["pacs"]
"""


def mistakes(folder: Path, text: str) -> list[tuple[int, str]]:
    file = folder / "gateway.toml"
    file.write_text(text)
    return [(each.line, each.text) for each in find_mistakes(file, Router, ChangeSet.build, {})]


def test_none(tmp_path: Path) -> None:
    assert mistakes(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("added", "line", "words"),
    [
        ('[dicom]\nport = 99999', 14, "dicom.port: 99999 is not a port"),
        ('[modalities.x]\naet = "A NAME THAT IS TOO LONG"', 14, "is not an AE title"),
        ('[modalities.x]\naett = "A"', 14, "did you mean 'aet'?"),
        ('[destinations.x]\nkind = "dicom"\nmodality = "pac"', 15, "no [modalities.pac]; did you mean 'pacs'?"),
        ('[destinations.x]\nkind = "pigeon"', 14, "Invalid value 'pigeon'"),
        ('[destinations.x]\nkind = "dicom"\nmodality = "pacs"\nattempts = 0', 16, "must be more than 0"),
        ('[destinations.x]\nkind = "dicom"\nmodality = "pacs"\nattempts = "3"', 16, "Expected `int`"),
        ('[rules.x]\ndestinations = ["pac"]', 14, "no [destinations.pac]; did you mean 'pacs'?"),
        ('[rules.x]\ndestinations = ["pacs"]\nhours = ["7-19"]', 15, "write it like 07:00-19:00"),
        ('[rules.x]\ndestinations = ["pacs"]\npeers = ["a/b"]', 15, "no network such as"),
        ('[rules.x]\ndestinations = ["pacs"]\neach = "week"', 15, "Invalid enum value 'week'"),
        ('[rules.x]\ndestinations = ["pacs"]\nchanges = "none"', 15, "there is no [changes.none]"),
        ('[changes.x]\nkey_file = "/none"\n[changes.x.deidentify]', 14, "/none cannot be read"),
        ('[changes.x]\nsteps = [{do = "paint"}]', 14, "Invalid value 'paint'"),
        ('[rules.x]', 13, "it does nothing"),
        (
            '[rules.x]\ndestinations = ["pacs"]\n[[rules.x.attributes]]\nattribute = "Modality"\npresent = true\n'
            '[[rules.x.attributes]]\nattribute = "Modalty"\nequals = "CT"',
            19,
            "'Modalty' in 'Modalty' is no keyword",
        ),
        (
            '[rules.x]\ndestinations = ["pacs"]\nattributes = [\n{attribute = "Modality", matches = "("},\n]',
            15,
            "no regular expression",
        ),
        ('[rules.x]\n= 3', 14, "not valid TOML"),
    ],
)  # fmt: skip
def test_each_with_its_line(tmp_path: Path, added: str, line: int, words: str) -> None:
    ((where, what),) = mistakes(tmp_path, GOOD + added)
    assert words in what
    assert where == line


def test_all_of_them_at_once_and_none_that_only_follows(tmp_path: Path) -> None:
    """The broken destination is said; that a rule names it is not."""
    text = GOOD + '[destinations.x]\nkind = "pigeon"\n[rules.x]\ndestinations = ["x"]\nhours = ["x"]\npeers = ["y"]\n'
    assert [line for line, _ in mistakes(tmp_path, text)] == [14, 17, 18]


def test_lines() -> None:
    text = 'a = 1\n[b.c]\n"d" = 2\n[[b.e]]\nf = 3\n[[b.e]]\nf = 4\n'
    places = ("a", "b.c", "b.c.d", "b.e[0].f", "b.e[1].f", "b.e[1].g", "b.c.d[3]", "x.y")
    assert [line_of(text, place) for place in places] == [1, 2, 3, 5, 7, 6, 3, 0]


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(GOOD)
    result = CliRunner().invoke(app, ["routes", "check", str(file)])
    assert (result.exit_code, result.output) == (0, f"{file}: valid\n")
    file.write_text(GOOD + "[rules.x]\n")
    result = CliRunner().invoke(app, ["routes", "check", str(file)])
    assert result.exit_code == 1
    assert result.output.startswith(f"{file}:13: rules.x: it does nothing")
