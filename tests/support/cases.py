"""What `make cases` prints: a line for each reported case, right or wrong. A plugin of pytest, loaded by `-p`.

A case is something that a real client, file or report has shown to be wrong once. Tests that hold it carry
`@pytest.mark.case("what is right")`; those of one name make one line.
"""

from __future__ import annotations

from typing import Any

import pytest

_WRONG, _NOT_RUN, _RIGHT = "wrong", "not run", "right"

_CASES = pytest.StashKey[dict[str, str]]()
"""Each case that was looked at, and the worst that became of its tests."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CASES] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    cases = item.config.stash[_CASES]
    for marker in item.iter_markers("case"):
        outcomes = {cases.get(marker.args[0], _RIGHT), _outcome(report)}
        cases[marker.args[0]] = next(outcome for outcome in (_WRONG, _NOT_RUN, _RIGHT) if outcome in outcomes)
    return report


def _outcome(report: pytest.TestReport) -> str:
    if report.failed:
        return _WRONG
    return _NOT_RUN if report.skipped else _RIGHT


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    cases = config.stash[_CASES]
    terminalreporter.section("cases")
    for name in sorted(cases):
        terminalreporter.line(f"{cases[name]:8} {name}", red=cases[name] == _WRONG)
