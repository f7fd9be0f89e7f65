"""Every mistake of a configuration, each with its line and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway import config
from gateway.cli.main import app
from gateway.config import Settings
from gateway.config.lines import line_of
from gateway.config.sources import fields_of
from gateway.examination import read, unusable_folders

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


def problems(folder: Path, text: str) -> list[tuple[int, str]]:
    file = folder / "gateway.toml"
    file.write_text(text)
    found = sorted(read(file, {}).problems, key=lambda each: each.line)
    return [(each.line, each.text) for each in found]


def _known_words() -> list[str]:
    """Names that sections and tables of several kinds have, and one that none has."""
    sections = [field for field in fields_of(Settings).values() if isinstance(field, type)]
    words = {name for section in sections for name in fields_of(section)}
    return sorted(words | {"aet", "kind", "destinations", "attributes", "steps", "do", "nothing"})


def test_none(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("added", "line", "words"),
    [
        ('[dicom]\nport = 99999', 14, "dicom.port: 99999 is not a port"),
        ('[modalities.x]\naet = "A NAME THAT IS TOO LONG"', 14, "is not an AE title"),
        ('[modalities.x]\naett = "A"', 14, "did you mean 'aet'?"),
        ('[destinations.x]\nkind = "dicom"\nmodality = "pac"', 15, "no [modalities.pac]; did you mean 'pacs'?"),
        ('[destinations.x]\nkind = "pigeon"', 14, "Invalid value 'pigeon'"),
        ('[destinations.x]\nkind = "dicom"\nmodality = "pacs"\nattempts = 0', 16, "must be more than 0"),
        ('[destinations.x]\nkind = "dicom"\nmodality = "pacs"\nattempts = "3"', 16, "it must be a whole number, and"),
        ('[rules.x]\ndestinations = ["pac"]', 14, "no [destinations.pac]; did you mean 'pacs'?"),
        ('[rules.x]\ndestinations = ["pacs"]\nhours = ["7-19"]', 15, "write it like 07:00-19:00"),
        ('[rules.x]\ndestinations = ["pacs"]\npeers = ["a/b"]', 15, "nor a network such as"),
        ('[rules.x]\ndestinations = ["pacs"]\neach = "week"', 15, "'week' is not known here; write "),
        ('[rules.x]\ndestinations = ["pacs"]\nchanges = "none"', 15, "there is no [changes.none]"),
        ('[changes.x]\nkey_file = "/none"\n[changes.x.deidentify]', 14, "/none cannot be read"),
        ('[changes.x]\nsteps = [{do = "paint"}]', 14, "Invalid value 'paint'"),
        ('[rules.x]', 13, "the rule does nothing"),
        (
            '[rules.x]\ndestinations = ["pacs"]\n[[rules.x.attributes]]\nattribute = "Modality"\npresent = true\n'
            '[[rules.x.attributes]]\nattribute = "Modalty"\nequals = "CT"',
            19,
            "'Modalty' is no keyword",
        ),
        (
            '[rules.x]\ndestinations = ["pacs"]\nattributes = [\n{attribute = "Modality", matches = "("},\n]',
            15,
            "not a regular expression",
        ),
        ('[rules.x]\n= 3', 14, "not valid TOML"),
    ],
)  # fmt: skip
def test_each_with_its_line(tmp_path: Path, added: str, line: int, words: str) -> None:
    ((where, what),) = problems(tmp_path, GOOD + added)
    assert words in what
    assert where == line


def test_all_of_them_at_once_and_none_that_only_follows(tmp_path: Path) -> None:
    """The broken destination is said; that a rule names it is not."""
    text = GOOD + '[destinations.x]\nkind = "pigeon"\n[rules.x]\ndestinations = ["x"]\nhours = ["x"]\npeers = ["y"]\n'
    assert [line for line, _ in problems(tmp_path, text)] == [14, 17, 18]


CASE_21 = "every mistake of a configuration is said at once, with its line or variable and the nearest name"


@pytest.mark.case(CASE_21)
def test_several_in_one_table_and_what_follows_from_none(tmp_path: Path) -> None:
    text = (
        'elswhere = 1\n[dicom]\nprot = 1\nport = 99999\nmax_pdu = "lots"\nartim_timeout = "x"\n'
        '[worklist]\nfolder = ""\n[http]\nhost = "0.0.0.0"\nprefix = "/"\n[[http.users]]\nname = 3\npassword = ""\n'
        '[commitment]\ndestinations = ["x"]\n[modalities.x]\naet = "X"\nport = "y"\nhst = "h"\n'
    )
    found = problems(tmp_path, text)
    assert [line for line, _ in found] == [1, 3, 4, 5, 6, 11, 13, 19, 20]
    assert "did you mean 'port'?" in found[1][1]
    assert "such as 512 MiB" in found[3][1]
    assert "did you mean 'host'?" in found[-1][1]


@pytest.mark.case(CASE_21)
def test_each_where_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[dicom]\nport = 1\n[worklist]\nmax_results = 0\n")
    environment = {"GATEWAY_DICOM__PORT": "70000", "GATEWAY_DICOM__ATRIM_TIMEOUT": "1", "GATEWAY_URL": "not ours"}
    found = [str(each) for each in read(file, environment, {"http.port": 70000}).problems]
    assert found == [
        "GATEWAY_DICOM__ATRIM_TIMEOUT: there is no setting 'dicom.atrim_timeout'; did you mean 'artim_timeout'?",
        "GATEWAY_DICOM__PORT: dicom.port: 70000 is not a port: 0 to 65535",
        "http.port: 70000 is not a port: 0 to 65535",
        f"{file}:4: worklist.max_results: 0 must be more than 0",
    ]


@pytest.mark.case("a configuration is asked about every file that it names")
@pytest.mark.parametrize(
    "section",
    [
        '[dicom]\ntls_port = 0\ntls_certificate = "{0}"\ntls_key = "{0}"',
        '[http]\ncertificate = "{0}"\nkey = "{0}"',
        '[tokens]\nkeys = "{0}"',
        '[modalities.ct]\naet = "CT"\nidentity_token_file = "{0}"',
        '[destinations.x]\nkind = "peer"\nurl = "https://x"\nca = "{0}"',
        '[destinations.x]\nkind = "peer"\nurl = "https://x"\nauth = "bearer"\ntoken_file = "{0}"',
        '[destinations.x]\nkind = "peer"\nurl = "https://x"\nauth = "oauth2"\ntoken_url = "https://x"\nclient_id = "a"'
        '\nclient_secret_file = "{0}"',
        '[destinations.x]\nkind = "dicomweb"\nurl = "https://x"\nauth = "google"\nkey_file = "{0}"',
        '[changes.x]\nkey_file = "{0}"\nsteps = [{{do = "new-uids"}}]',
        '[changes.x]\nkey = "0123456789abcdef"\n[changes.x.deidentify]\npseudonyms = "{0}"',
        '[changes.x]\nkey = "0123456789abcdef"\n[changes.x.deidentify]\nsealed_for = ["{0}"]',
    ],
)
def test_files(tmp_path: Path, section: str) -> None:
    gone = tmp_path / "gone"
    ((line, what),) = problems(tmp_path, section.format(gone))
    assert str(gone) in what
    assert line > 0


@pytest.mark.case("a configuration is asked about every folder that it names")
@pytest.mark.parametrize(
    "section",
    ['[worklist]\nfolder = "{0}"', '[http]\nohif = "{0}"', '[destinations.x]\nkind = "folder"\npath = "{0}"'],
)
def test_folders_are_mistakes_for_who_checks_and_not_for_who_starts(tmp_path: Path, section: str) -> None:
    gone = tmp_path / "gone"
    assert problems(tmp_path, section.format(gone)) == []
    file = tmp_path / "gateway.toml"
    result = CliRunner().invoke(app, ["check-config", str(file)])
    assert (result.exit_code, f"{gone}: No such file" in result.output) == (2, True)
    assert len(list(unusable_folders(read(file, {}).settings))) == 1
    gone.mkdir()
    assert CliRunner().invoke(app, ["check-config", str(file)]).exit_code == 0


@pytest.mark.case("a configuration is asked about every folder that it names")
def test_a_data_folder_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for path, expected in (("new/er", 0), ("file", 1), ("file/below", 1)):
        settings = read(None, {}, {"storage.path": str(tmp_path / path)}).settings
        assert len(list(unusable_folders(settings))) == expected
    monkeypatch.setattr("gateway.database.network.file_system", lambda path, mounts: "nfs4")
    settings = read(None, {}, {"storage.path": str(tmp_path)}).settings
    assert "network file system" in next(unusable_folders(settings))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(_known_words()), below, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(Settings.__struct_fields__)), VALUES, max_size=4))
def test_whatever_is_written_is_right_or_a_mistake(tree: dict[str, Any]) -> None:
    """Never a traceback; and what is left when mistakes are taken out is a whole set of settings."""
    reading = config.read(None, {}, tree)
    assert isinstance(reading.settings, Settings)
    if not reading.problems:
        assert reading.settings == config.load(None, {}, tree)


def test_lines() -> None:
    text = 'a = 1\n[b.c]\n"d" = 2\n[[b.e]]\nf = 3\n[[b.e]]\nf = 4\n'
    places = ("a", "b.c", "b.c.d", "b.e[0].f", "b.e[1].f", "b.e[1].g", "b.c.d[3]", "x.y", "b.e", "b")
    assert [line_of(text, place) for place in places] == [1, 2, 3, 5, 7, 6, 3, 0, 4, 2]


@pytest.mark.case("item 9 A mistake in tables of one name is said with the line of the first of them")
def test_the_line_of_tables_that_there_are_not(tmp_path: Path) -> None:
    text = GOOD + '[[routes]]\nname = "a"\n[[routes]]\nname = "b"\n'
    assert problems(tmp_path, text) == [(13, "routes: there is no such section; did you mean 'rules'?")]


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(GOOD)
    result = CliRunner().invoke(app, ["routes", "check", str(file)])
    assert (result.exit_code, result.output) == (0, f"{file}: valid, 1 rule\n")
    file.write_text(GOOD + "[rules.x]\n")
    result = CliRunner().invoke(app, ["routes", "check", str(file)])
    assert result.exit_code == 2
    assert result.output.startswith(f"dicom-gateway: {file}:13: rules.x: the rule does nothing")
