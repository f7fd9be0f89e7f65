"""PS3.8 Table 9-10, held against the grid as the standard prints it and against pynetdicom's transcription."""

from __future__ import annotations

from pynetdicom.fsm import TRANSITION_TABLE

from gateway.ul import machine
from gateway.ul.states import DELIVERING, TABLE, Action, State

# Columns Sta1 to Sta13; 1-8 are AA-1 to AA-8, a dot is an empty cell, x another action.
GRID = {
    1: "x............",
    2: "...x.........",
    3: ".18.x88888886",
    4: ".18.x88888886",
    5: "x............",
    6: ".x8.888888887",
    7: "..x..........",
    8: "..x..........",
    9: ".....x.x.....",
    10: ".18.8xx888886",
    11: ".....x.......",
    12: ".18.8xx888886",
    13: ".18.88x88xx86",
    14: ".......xx..x.",
    15: "..1211111111.",
    16: ".23.333333332",
    17: ".54444444444x",
    18: ".2..........2",
    19: ".18.888888887",
}


def test_the_grid() -> None:
    for event, row in GRID.items():
        for state, cell in enumerate(row, 1):
            found = [a for (e, s), (a, _) in TABLE.items() if (e.name, s.name) == (f"Evt{event}", f"Sta{state}")]
            names = [action.name for action in found]
            if cell == ".":
                assert not names, (event, state)
            elif cell == "x":
                assert len(names) == 1, (event, state)
                assert not names[0].startswith("AA"), (event, state)
            else:
                assert names == [f"AA_{cell}"], (event, state)


def test_pynetdicom_has_the_same_table() -> None:
    ours = {(event.name, state.name): action.name.replace("_", "-") for (event, state), (action, _) in TABLE.items()}
    assert ours == TRANSITION_TABLE


def test_an_action_leads_to_one_place() -> None:
    leads: dict[Action, set[object]] = {}
    for action, following in TABLE.values():
        leads.setdefault(action, set()).add(following)
    assert all(len(places) == 1 for places in leads.values())


def test_every_action_is_implemented() -> None:
    assert set(machine._ACTIONS) == set(Action) == {action for action, _ in TABLE.values()}


def test_data_are_handed_on_in_two_states() -> None:
    assert frozenset((State.Sta6, State.Sta7)) == DELIVERING
