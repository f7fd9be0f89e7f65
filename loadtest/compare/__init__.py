"""Servers side by side on this machine, given the same work in turn.

`rows.py` says what is measured and what is hoped for, `measures.py` and `memory.py` how, `rounds.py` in which order,
`table.py` what it comes to. The servers are `peers/`'s.
"""
