"""What is modified together, by UIDs: in a few bytes each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admin.anonymization import UidSet
from gateway.index.locate import Located

UIDS = st.text("0123456789.", min_size=1, max_size=64)


def located(*uids: str) -> Located:
    made: Any = SimpleNamespace(study_uid=uids[0], series_uid=uids[1], sop_uid=uids[2])
    return cast(Located, made)


@settings(deadline=None)
@given(st.lists(st.tuples(UIDS, UIDS, UIDS), max_size=20), UIDS)
def test_it_has_what_was_added_and_nothing_else(added: list[tuple[str, str, str]], other: str) -> None:
    found = UidSet()
    found.add([located(*each) for each in added])
    found.sort()
    for study, series, instance in added:
        assert found.has("study", study)
        assert found.has("series", series)
        assert found.has("instance", instance)
    for at, level in enumerate(("study", "series", "instance")):
        assert found.has(level, other) == (other in {each[at] for each in added})  # type: ignore[arg-type]
    assert not found.has("patient", other)
