"""What a retrieval's URL names (PS3.18 §10.4.1): a study, series or instance, and the stored instances that it has.

Shared by everything under `/studies/{study}`. What they are sent as is in the files beside this one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from aiohttp import web

from gateway.archive.pictures import Pictures
from gateway.archive.retrieve import Retrieval
from gateway.errors import BadRequest, NotFound
from gateway.index.locate import Located

RETRIEVAL: web.AppKey[Retrieval] = web.AppKey("retrieval", Retrieval)
PICTURES: web.AppKey[Pictures] = web.AppKey("pictures", Pictures)


class Target(NamedTuple):
    """The study, or the series or instance in it, that a path names."""

    study: str
    series: str | None = None
    instance: str | None = None

    @classmethod
    def of(cls, request: web.Request) -> Target:
        parts = request.match_info
        return cls(parts["study"], parts.get("series"), parts.get("instance"))

    def missing(self) -> NotFound:
        kind = "instance" if self.instance is not None else "series" if self.series is not None else "study"
        return NotFound(f"there is no {kind} {self.instance or self.series or self.study}")


async def first_page(retrieval: Retrieval, target: Target) -> list[Located]:
    """The first instances of it. Raises NotFound that names what does not exist."""
    async with aclosing(retrieval.pages(*target)) as pages:
        async for page in pages:
            return page
    raise target.missing()


async def each(retrieval: Retrieval, first: list[Located], target: Target) -> AsyncGenerator[Located, None]:
    """All of them, page by page; `first` is what `first_page` gave."""
    for located in first:
        yield located
    async with aclosing(retrieval.pages(*target, after=first[-1])) as pages:
        async for page in pages:
            for located in page:
                yield located


async def one_instance(retrieval: Retrieval, target: Target) -> Located:
    """The instance. Raises NotFound."""
    return (await first_page(retrieval, target))[0]


def frame_numbers(text: str, most: int) -> list[int]:
    """A list of frames as a path has it, `1,2,7`, in its order. BadRequest, for more than `most` of them too."""
    numbers = [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else 0 for part in text.split(",")]
    if not all(numbers):
        raise BadRequest(f"frames: {text[:80]!r} is not a list of frame numbers, which begin with 1")
    if len(numbers) > most:
        raise BadRequest(f"frames: {len(numbers)} are too many for one request; the most is {most}")
    return numbers
