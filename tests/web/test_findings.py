"""gateway/web/pages/findings: the words of what the doctor finds."""

from __future__ import annotations

import pytest

from gateway.remote.diagnosis import Finding
from gateway.web.pages.findings import in_words
from gateway.web.pages.wording import LANGUAGES, words_of


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_host_that_is_not_known_is_said_to_be(language: str) -> None:
    """The address under which the other side reaches us is known once we have reached it."""
    values = {"aet": "PACS", "our_aet": "GATEWAY", "our_host": "", "our_port": "4242"}
    shown = in_words(words_of(language), Finding("incoming", "warning", "in-none", values))
    assert words_of(language)("modalities.our_host_unknown") in shown.remedy
