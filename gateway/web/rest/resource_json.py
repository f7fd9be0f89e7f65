"""Patients, studies, series and instances in the JSON of Orthanc."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.index import main_tags
from gateway.index.attributes import PATIENT_ID
from gateway.index.resources import Resource
from gateway.index.stability import is_stable, series_status
from gateway.index.values import NO_NUMBER
from gateway.web.rest.answers import timestamp
from gateway.web.rest.names import MAIN_TAGS, Format, formatted

_IMAGE_ORIENTATION: Final = 0x00200037
_IN_ORDER: Final = {level: sorted(tags) for level, tags in MAIN_TAGS.items()}


def resource_json(
    resource: Resource, form: Format = "simplified", requested: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One resource; `requested` are further attributes that were asked for."""
    level, now = resource.level, time.time()
    made: dict[str, Any] = {
        "ID": resource.public_id,
        "Labels": resource.labels,
        "MainDicomTags": formatted(_main(resource), form),
        "Type": level.capitalize(),
        **resource.made_from,
    }
    if level != "instance":
        below = LEVELS[LEVELS.index(level) + 1]
        made["IsStable"] = is_stable(resource, now)
        made["LastUpdate"] = timestamp(resource.last_received)
        made[COLLECTIONS[below].capitalize()] = resource.children
    if level == "patient":
        made["IsProtected"] = resource.protected
    if level != "patient":
        made[f"Parent{LEVELS[LEVELS.index(level) - 1].capitalize()}"] = resource.parent
    if level == "study":
        made["PatientMainDicomTags"] = formatted(_chosen(resource.attributes, "patient"), form)
    elif level == "series":
        made["ExpectedNumberOfInstances"] = resource.expected_instances
        made["Status"] = series_status(resource)
    elif level == "instance":
        made["FileSize"] = resource.size
        made["FileUuid"] = resource.key
        made["IndexInSeries"] = None if resource.number == NO_NUMBER else resource.number
    if requested is not None:
        made["RequestedTags"] = requested
    return dict(sorted(made.items()))


def _main(resource: Resource) -> list[tuple[int, str]]:
    found = _chosen(resource.attributes, resource.level)
    if resource.level == "series" and _IMAGE_ORIENTATION in resource.of_first:
        found = sorted([*found, (_IMAGE_ORIENTATION, resource.of_first[_IMAGE_ORIENTATION])])
    if resource.level == "patient" and PATIENT_ID not in resource.attributes:
        found = sorted([*found, (PATIENT_ID, "")])
    return found


def _chosen(attributes: Mapping[int, str], level: Level) -> list[tuple[int, str]]:
    found = [(tag, attributes[tag]) for tag in _IN_ORDER[level] if tag in attributes]
    if not (named := main_tags.current().named[level]):
        return found
    return sorted([*found, *[(tag, text) for tag in named - MAIN_TAGS[level] if (text := attributes.get(tag))]])


_PARENTS: Final = frozenset({"ParentPatient", "ParentStudy", "ParentSeries"})
_CHILDREN: Final = frozenset({"Studies", "Series", "Instances"})
_PARTS: Final[Mapping[str, frozenset[str]]] = {
    "Attachments": frozenset({"Attachments"}),
    "Children": _CHILDREN,
    "IsProtected": frozenset({"IsProtected"}),
    "IsStable": frozenset({"IsStable"}),
    "Labels": frozenset({"Labels"}),
    "MainDicomTags": frozenset({"MainDicomTags", "PatientMainDicomTags"}),
    "Metadata": frozenset({"Metadata"}),
    "Parent": _PARENTS,
    "RequestedTags": frozenset({"RequestedTags"}),
    "Status": frozenset({"Status", "ExpectedNumberOfInstances"}),
}
CONTENTS: Final = frozenset(_PARTS)
"""What of a resource a search may ask for."""


def part_of(made: Mapping[str, Any], contents: frozenset[str]) -> dict[str, Any]:
    """The members of a resource that a search asked for, and always its id and type."""
    names = {"ID", "Type", "RequestedTags"}.union(*[_PARTS[name] for name in contents])
    return {name: value for name, value in made.items() if name in names}
