"""Instances as files or objects, under keys that are ours. `layout.py` is the one place where a key becomes a path."""
