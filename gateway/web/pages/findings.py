"""The findings of the doctor in words, for pages and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gateway.remote.diagnosis import Finding, Grade
from gateway.web.pages.filters import stamp
from gateway.web.pages.wording import Words


@dataclass(frozen=True, slots=True)
class FindingWords:
    """A finding in the language of its reader."""

    step: Markup
    grade: Grade
    grade_name: Markup
    text: Markup
    remedy: Markup
    """What to do about it; empty for what is good."""
    number: str
    """The association that it is about; empty for none."""


def in_words(t: Words, finding: Finding) -> FindingWords:
    """A finding in words."""
    values: dict[str, Any] = dict(finding.values)
    if isinstance(at := values.get("at"), float):
        values["at"] = stamp(at)
    if "services" in values:
        values["services"] = ", ".join(t("doctor.service." + name) for name in str(values["services"]).split())
    if values.get("our_host") == "":  # Nobody knows it before we have reached the other side.
        values["our_host"] = t("modalities.our_host_unknown")
    remedy = t("doctor.remedy." + finding.code, **values) if finding.grade != "good" else Markup()
    return FindingWords(
        step=t("doctor.step." + finding.step),
        grade=finding.grade,
        grade_name=t("doctor.grade." + finding.grade),
        text=t("doctor.found." + finding.code, **values),
        remedy=remedy,
        number=str(values.get("number", "")),
    )
