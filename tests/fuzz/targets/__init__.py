"""What is fuzzed: for each parser of foreign bytes a function that takes any, and what to begin with.

A target may let pass what its parser says that it raises, and nothing else; where two ways through the same bytes must
agree, it compares them, and no input may take more time or memory than its length is worth. Seeds are made here, small,
and hold nobody's data; what a fuzzer has found beside them is in `corpus/`, see `corpora.py`. Only our own code is run:
no codec, no library that parses in C but JSON's, XML's, SQLite's and zlib.
"""

from __future__ import annotations

from tests.fuzz.targets import edits, http, models, objects, pictures, settings, wire
from tests.fuzz.targets.target import MAX_SIZE, Target

__all__ = ["MAX_SIZE", "TARGETS", "Target"]

TARGETS: dict[str, Target] = {
    **wire.TARGETS,
    **objects.TARGETS,
    **models.TARGETS,
    **http.TARGETS,
    **pictures.TARGETS,
    **edits.TARGETS,
    **settings.TARGETS,
}
