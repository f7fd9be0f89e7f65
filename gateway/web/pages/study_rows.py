"""The rows of lists of studies as HTML, which are cached.

Pages are read again and again, by each reader and at each change, with mostly the same studies in them; making the row
of a study takes longer than all else that a page does for it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import jinja2
from markupsafe import Markup

from gateway.index.study_list import ListedStudy
from gateway.web.pages.reports import MODALITIES
from gateway.web.pages.wording import words_of
from gateway.web.urls import ObjectUrl

_KEPT: Final = 4096
"""Rows that are cached, of some 2 KB each."""
_REPORTS: Final = frozenset(MODALITIES)


class RowLook(NamedTuple):
    """The things that a row depends on besides its study."""

    language: str
    columns: tuple[str, ...]
    can_choose: bool
    """Whether the row has a box to choose it by."""
    study_page: str
    reports_url: str
    viewer_url: ObjectUrl | None


@lru_cache(_KEPT)
def study_row(environment: jinja2.Environment, study: ListedStudy, look: RowLook) -> Markup:
    """The row of a study."""
    values = {**look._asdict(), "report_modalities": _REPORTS, "study": study, "t": words_of(look.language)}
    return Markup(environment.get_template("study_row.html").render(values))
