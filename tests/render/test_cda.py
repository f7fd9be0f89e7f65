"""render/cda.py: the narrative of a CDA document, and what is refused."""

from __future__ import annotations

import pytest

from gateway.errors import DataSetError
from gateway.render import cda
from gateway.render.cda import read_cda

DOCUMENT = """<?xml version="1.0"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <title>Discharge summary</title><code displayName="not shown"/>
  <component><structuredBody><component><section>
    <title>Findings</title>
    <text>Before <paragraph>A <content styleCode="Bold">small</content>
      lesion.</paragraph><list><item>one</item><item>two</item></list>
      <table><thead><tr><th>Name</th><th>Value</th></tr></thead><tbody>
        <tr><td>A</td><td>1 &lt; 2</td></tr></tbody></table>
      first<br/>second</text>
    <entry><observation><text>not shown</text></observation></entry>
    <component><section><title>Inner</title><text>deep</text></section></component>
  </section></component></structuredBody></component>
</ClinicalDocument>"""


def test_titles_and_text_of_sections():
    assert [tuple(line) for line in read_cda(DOCUMENT.encode() + b"\0")] == [
        ("title", 0, "Discharge summary"),
        ("title", 1, "Findings"),
        ("text", 1, "Before"),
        ("text", 1, "A small lesion."),
        ("text", 1, "one"),
        ("text", 1, "two"),
        ("text", 1, "Name \N{MIDDLE DOT} Value"),
        ("text", 1, "A \N{MIDDLE DOT} 1 < 2"),
        ("text", 1, "first"),
        ("text", 1, "second"),
        ("title", 2, "Inner"),
        ("text", 2, "deep"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DOCTYPE"),
        ("<a><b></a>", "no XML"),
        ("%PDF", "no XML"),
        ("<a>" * 300, "nested"),
        (f"<section><text>{'<item>x</item>' * 5001}</text></section>", "5000 lines"),
    ],
)
def test_refused(text: str, reason: str):
    with pytest.raises(DataSetError, match=reason):
        read_cda(text.encode())


def test_too_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cda, "MAX_CDA_BYTES", 10)
    with pytest.raises(DataSetError, match="too long"):
        read_cda(DOCUMENT.encode())
