"""Configurations as Orthanc reads them: comments, commas, variables, folders; and whatever else a file may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.migration.orthanc_json import parse_configuration, read_configuration
from gateway.migration.orthanc_settings import translate

PIECES = st.sampled_from(
    [
        *(
            '{"a":1}',
            '"a"',
            "//",
            "/*",
            "*/",
            "\n",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"',
            "\\",
            "${A}",
            "${A:-",
            "}",
            "1e9",
        ),
        *("null", "true", "NaN", "\x00", "\ud800", "é", '{"DicomPort":', '"DicomModalities"', '{"x":[]}', "-1", " "),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("DicomAet", "DicomPort", "HttpPort", "DicomModalities", "OrthancPeers", "RegisteredUsers", "UserMetadata"),
        *("DicomWeb", "Worklists", "AcceptedTransferSyntaxes", "OverwriteInstances", "HttpBindAddresses", "SslEnabled"),
        *("RemoteAccessAllowed", "DicomTlsEnabled", "SslCertificate", "HttpTimeout", "Plugins", "DicomScpTimeout"),
    ]
)


def parsed(text: str, **environment: str) -> dict[str, object]:
    return parse_configuration(text, environment, "orthanc.json")


def test_comments_and_commas() -> None:
    text = """// a comment with "quotes"
    { /* another,
         over two lines */ "a" : "no // comment, no /* either */ ,]", // end
      "b" : [ 1, 2, /* x */ ], "c\\"" : { "d" : 1, }, }"""
    assert parsed(text) == {"a": "no // comment, no /* either */ ,]", "b": [1, 2], 'c"': {"d": 1}}


def test_variables_are_those_of_orthanc() -> None:
    """As a live Orthanc 1.10.1 has filled in this name."""
    text = """{"Name": "[${NOPE}][${NOPE:-def}][${NOPE:-'q'}][${NO:-"dq"}][${HOME}][${SP:-a b}][http://x]"}"""
    assert parsed(text, HOME="/root") == {"Name": "[][def][q][dq][/root][a b][http://x]"}
    assert parsed('{"HttpPort": ${PORT:-8042}}', PORT="81") == {"HttpPort": 81}


def test_lines_of_errors_are_those_of_the_file() -> None:
    with pytest.raises(ConfigurationError, match=r"orthanc\.json: line 4: not valid JSON"):
        parsed('{\n/* a\n b */\n"a": }')


def test_a_number_that_is_not_set() -> None:
    with pytest.raises(ConfigurationError, match=r"line 1: not valid JSON: .*; \$\{PORT\} is not set"):
        parsed('{"HttpPort": ${PORT}}')


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "[" * 200000, '{"a": ' + "9" * 5000 + "}", "{'a': 1}"])
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parsed(text)


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    (tmp_path / "b.json").write_text('{"b": 2}')
    (tmp_path / "c.txt").write_text("not read")
    assert read_configuration(tmp_path, {}) == {"a": 1, "b": 2}
    (tmp_path / "c.json").write_text('{"b": 3}')
    with pytest.raises(ConfigurationError, match=r"c\.json: b stands in b\.json too"):
        read_configuration(tmp_path, {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_configuration(tmp_path / "gone.json", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="no file"):
        read_configuration(tmp_path / "empty", {})


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(parsed(text, A='"'), dict)
    except ConfigurationError:
        pass


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=6))
def test_any_settings_are_translated_and_accounted_for(tree: dict[str, object]) -> None:
    read = parsed(json.dumps(tree))
    translation = translate(read, "/etc/orthanc", hashed=lambda password: "hash")
    said = {fate.setting for fate in translation.fates}
    assert [name for name in read if name not in said and not any(each.startswith(f"{name}.") for each in said)] == []
