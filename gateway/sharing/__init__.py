"""What the processes of one gateway have in common, and what its workers must know of each other.

Starting workers is in `gateway/workers/`.
"""
