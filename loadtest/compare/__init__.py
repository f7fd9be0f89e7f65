"""Comparison of servers on this machine, given the same work in turn.

`rows.py` has the rows and goals, `measures.py` and `memory.py` the measurements, `rounds.py` the order, `table.py` the
result. `peers/` has the servers.
"""
