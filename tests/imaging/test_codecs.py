"""deploy/TRANSFER-SYNTAXES.md says which transfer syntaxes can be had."""

from __future__ import annotations

from tests.support import codecs


def test_the_table_is_what_the_code_says() -> None:
    """Written anew by `python -m tests.support.codecs`."""
    text = codecs.DOCUMENT.read_text()
    assert codecs.BEGIN + codecs.table() + codecs.END in text
