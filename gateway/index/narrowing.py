"""Conditions of a search that are about resources and not about attributes: what they belong to, labels, metadata.

Each is made for one level and given to `search.Search.narrowings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from gateway.dicom.levels import Level
from gateway.index import matching
from gateway.index.queries.columns import OF_ONE_PATIENT
from gateway.index.queries.resources import ALIAS
from gateway.index.queries.search import LABELLED, WITH_METADATA
from gateway.index.search import Narrowing

Constraint = Literal["All", "Any", "None"]
OWN_METADATA: Final[dict[Level, dict[str, str]]] = {
    "patient": {},
    "study": {},
    "series": {},
    "instance": {
        "CalledAET": "i.called_aet",
        "RemoteAET": "i.calling_aet",
        "RemoteIP": "i.peer",
        "SopClassUid": "i.sop_class_uid",
        "TransferSyntax": "i.transfer_syntax_uid",
    },
}
"""Metadata that a resource has by itself and that a column holds as text."""


def of_rows(level: Level, rows: Sequence[int]) -> Narrowing:
    """Only these row numbers."""

    def condition(parameters: matching.Parameters) -> str:
        return f"{ALIAS[level]}.id IN ({', '.join([parameters.add(row) for row in rows])})"

    return condition


def below(above: Level, public_id: str) -> Narrowing:
    """Only what belongs to a patient, study or series."""

    def condition(parameters: matching.Parameters) -> str:
        value = parameters.add(public_id)
        if above == "patient":
            return OF_ONE_PATIENT.format(patient=value)
        return f"{ALIAS[above]}.public_id = {value}"

    return condition


def labelled(level: Level, labels: Sequence[str], constraint: Constraint) -> Narrowing:
    """Only what has all, any or none of the labels; without labels, what has none at all or anything."""

    def condition(parameters: matching.Parameters) -> str:
        public_id = f"{ALIAS[level]}.public_id"
        among = f" AND l.label IN ({', '.join([parameters.add(label) for label in labels])})" if labels else ""
        have = LABELLED.format(level=level, among=among)
        if constraint == "None":
            return f"{public_id} NOT IN ({have})"
        if not labels:
            return "true"
        if constraint == "All":
            have += f" GROUP BY l.public_id HAVING COUNT(*) = {parameters.add(len(set(labels)))}"
        return f"{public_id} IN ({have})"

    return condition


def with_metadata(level: Level, name: str, value: str, *, any_case: bool) -> Narrowing:
    """Only what has metadata of this name that matches the value: wild cards, and a list with backslashes."""

    def condition(parameters: matching.Parameters) -> str:
        match = matching.any_case(matching.text) if any_case else matching.text
        column = OWN_METADATA[level].get(name)
        if column is not None:
            return match(column, value, parameters) or "true"
        named = parameters.add(name)
        found = match("m.value", value, parameters) or "true"
        return WITH_METADATA.format(public_id=f"{ALIAS[level]}.public_id", level=level, name=named, condition=found)

    return condition
