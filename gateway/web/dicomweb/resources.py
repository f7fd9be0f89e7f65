"""Targets of retrieval URLs (PS3.18 §10.4.1): a study, series or instance, and its stored instances.

Shared by everything under `/studies/{study}`. The files beside this one send them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from aiohttp import web

from gateway.errors import BadRequest, NotFound
from gateway.index.locate import Located
from gateway.index.selection import Selection
from gateway.retrieve.renderings import Renderer
from gateway.retrieve.retrieval import Retrieval
from gateway.web.inputs import whole_number

RETRIEVAL: web.AppKey[Retrieval] = web.AppKey("retrieval", Retrieval)
RENDERER: web.AppKey[Renderer] = web.AppKey("renderer", Renderer)


class Target(NamedTuple):
    """The study, series or instance named by a path."""

    study: str
    series: str | None = None
    instance: str | None = None
    patient: str = ""
    """Public id of the patient whose root the path is in; '' for the common root."""

    @classmethod
    def of(cls, request: web.Request) -> Target:
        parts = request.match_info
        return cls(parts["study"], parts.get("series"), parts.get("instance"), parts.get("patient", ""))

    @property
    def selection(self) -> Selection:
        """The target as a selection, for counting its instances."""
        return Selection(
            studies=(self.study,),
            series=(self.series,) if self.series else (),
            instances=(self.instance,) if self.instance else (),
            patient=self.patient,
        )

    def missing(self) -> NotFound:
        kind = "instance" if self.instance is not None else "series" if self.series is not None else "study"
        return NotFound(f"there is no {kind} {self.instance or self.series or self.study}")


async def first_page(retrieval: Retrieval, target: Target) -> list[Located]:
    """The first instances of a target. Raises NotFound for what does not exist, and SeveralPatients."""
    async with aclosing(retrieval.pages(*target)) as pages:
        async for page in pages:
            return page
    raise target.missing()


async def each(retrieval: Retrieval, first: list[Located], target: Target) -> AsyncGenerator[Located, None]:
    """Yield all instances of a target, page by page; `first` is the result of `first_page`."""
    for located in first:
        yield located
    async with aclosing(retrieval.pages(*target, after=first[-1])) as pages:
        async for page in pages:
            for located in page:
                yield located


async def one_instance(retrieval: Retrieval, target: Target) -> Located:
    """The instance of a target. Raises NotFound, SeveralPatients."""
    return (await first_page(retrieval, target))[0]


def frame_numbers(text: str, most: int) -> list[int]:
    """Parse a list of frames in a path, `1,2,7`, in its order. Raises BadRequest, also for more than `most` frames."""
    numbers = [whole_number(part) or 0 for part in text.split(",")]
    if not all(numbers):
        raise BadRequest(f"frames: {text[:80]!r} is not a list of frame numbers from 1")
    if len(numbers) > most:
        raise BadRequest(f"frames: {len(numbers)} are too many for one request; at most {most} are allowed")
    return numbers
