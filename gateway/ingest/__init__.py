"""The one way in: instances are written, scanned for the index, and committed; and remains of a crash are recovered.

From `ingest.py`, which holds the contract of durability, to `commit_script.py`, which ends in the only commit point.
"""
