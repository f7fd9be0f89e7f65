"""What a resource belongs to, from the patient down, as pages name and link it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from aiohttp import web

from gateway.dicom.levels import LEVELS, Level
from gateway.errors import UnknownResource
from gateway.index.resources import Resource, resource, resource_above
from gateway.web.context import CONTEXT
from gateway.web.pages.filters import clock, date, person
from gateway.web.pages.reader import page_of


class Ancestor(NamedTuple):
    """One resource of a line."""

    resource: Resource
    title: str
    """Its name, which may be empty."""
    details: list[str]
    url: str
    """Of its page; empty if there is none."""

    @property
    def level(self) -> Level:
        return self.resource.level


async def lineage(request: web.Request, level: Level, public_id: str) -> list[Ancestor]:
    """The resource and those above it, the patient first. Raises UnknownResource."""
    database = request.app[CONTEXT].database
    above = LEVELS[: LEVELS.index(level)]
    found = [await resource_above(database, level, public_id, each) for each in above]
    found.append(await resource(database, level, public_id))
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        raise UnknownResource(f"there is no {level} {public_id[:64]}")
    return [_ancestor(request, each) for each in known]


def _ancestor(request: web.Request, found: Resource) -> Ancestor:
    title, details = _TEXTS[found.level](found.attributes)
    return Ancestor(
        found, title, [each for each in details if each], page_of(request, f"{found.level}-page", found.public_id)
    )


_Texts = tuple[str, tuple[str, ...]]


def _patient(of: Mapping[int, str]) -> _Texts:
    name, identifier = person(of.get(0x00100010, "")), of.get(0x00100020, "")
    details = date(of.get(0x00100030, "")), of.get(0x00100040, "")
    return (name, (identifier, *details)) if name else (identifier, details)


def _study(of: Mapping[int, str]) -> _Texts:
    when = f"{date(of.get(0x00080020, ''))} {clock(of.get(0x00080030, ''))}".strip()
    description, accession = of.get(0x00081030, ""), of.get(0x00080050, "")
    return (description, (when, accession)) if description else (when, (accession,))


def _series(of: Mapping[int, str]) -> _Texts:
    modality, number, description = (of.get(tag, "") for tag in (0x00080060, 0x00200011, 0x0008103E))
    title = " ".join(filter(None, (modality, number)))
    return (description, (title,)) if description else (title, ())


def _instance(of: Mapping[int, str]) -> _Texts:
    return of.get(0x00200013, ""), ()


_TEXTS: Final[Mapping[Level, Callable[[Mapping[int, str]], _Texts]]] = {
    "patient": _patient,
    "study": _study,
    "series": _series,
    "instance": _instance,
}
