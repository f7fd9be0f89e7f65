"""gateway/audit/chain.py: whatever is done to the entries but adding to them shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import ChainLink, break_in, linked
from gateway.audit.entry import AuditEntry, AuditSubject, entry
from gateway.database.actor import Actor

TEXTS = st.text(max_size=20)
NEW = st.builds(
    lambda action, actor, subject, at, number, detail: entry(
        action, Actor(*actor), AuditSubject(*subject), at=at, number=number, detail=detail
    ),
    TEXTS,
    st.tuples(TEXTS, TEXTS, TEXTS),
    st.tuples(TEXTS, TEXTS, TEXTS, TEXTS),
    st.floats(0, 1e11),
    st.integers(1, 1000),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
)


def chained(new: list[AuditEntry]) -> list[AuditEntry]:
    link, made = ChainLink(), []
    for each in new:
        made.append(linked(link, each))
        link = ChainLink(made[-1].seq, made[-1].hash)
    return made


THREE = chained([entry("view", Actor(name), at=1.0) for name in "abc"])


@given(st.lists(NEW, max_size=6))
def test_what_was_added_is_whole(new: list[AuditEntry]) -> None:
    made = chained(new)
    place, problem = break_in(ChainLink(), made)
    assert (place.seq, problem) == (len(new), "")


@given(st.lists(NEW, min_size=2, max_size=6), st.data())
def test_any_change_shows(new: list[AuditEntry], data: st.DataObject) -> None:
    made = chained(new)
    at = data.draw(st.integers(0, len(made) - 1))
    field = data.draw(st.sampled_from([name for name in AuditEntry._fields if name != "hash"]))
    other = data.draw(NEW.map(lambda each: getattr(each, field)) if field != "seq" else st.integers(-9, 99))
    changed = made[at]._replace(**{field: other})
    if changed != made[at]:
        place, problem = break_in(ChainLink(), [*made[:at], changed, *made[at + 1 :]])
        assert problem
        assert place.seq == at


@pytest.mark.parametrize(
    ("entries", "last"),
    [
        ([THREE[0], THREE[2]], 1),
        ([THREE[1], THREE[2]], 0),
        ([THREE[1], THREE[0], THREE[2]], 0),
        ([THREE[0], THREE[0]._replace(seq=2), THREE[2]], 1),
        ([THREE[0], THREE[2]._replace(seq=2), THREE[1]._replace(seq=3)], 1),
        ([THREE[0], THREE[1]._replace(hash=bytes(32)), THREE[2]], 1),
    ],
    ids=["a hole", "no beginning", "two in another order", "one twice", "two swapped", "another hash"],
)
def test_what_is_done_to_it(entries: list[AuditEntry], last: int) -> None:
    place, problem = break_in(ChainLink(), entries)
    assert problem
    assert place.seq == last


def test_it_goes_on_behind_what_was_removed() -> None:
    place, problem = break_in(ChainLink(1, THREE[0].hash), THREE[1:])
    assert (place.seq, problem) == (3, "")


def test_texts_are_cut_off_and_can_be_stored() -> None:
    made = entry("view", Actor("x" * 1000, "\ud800", "a\0b"), at=1.0)
    assert len(made.user) == 256
    assert (made.token, made.origin) == ("?", "a\ufffdb")
