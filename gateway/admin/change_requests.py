"""How resources are to be changed, by what a request says or by a set of the configuration; compiled here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from gateway.config.deidentify import Deidentify
from gateway.config.edits import Changes
from gateway.database.database import Database
from gateway.database.view import tenant_of_task
from gateway.dicom.dictionary import keyword_of
from gateway.dicom.levels import Level
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.edit.change_set import ChangeSet
from gateway.edit.deid.deidentify import Deidentifier
from gateway.edit.deid.keyed import Keyed
from gateway.edit.masks import Region
from gateway.edit.modification import (
    Compiled,
    Members,
    Modification,
    compiled,
    kept_paths,
    with_creators,
)
from gateway.errors import BadRequest, ConfigurationError
from gateway.imaging.encode import ENCODERS
from gateway.imaging.transcode import TARGETS
from gateway.index import resources as index
from gateway.index.attributes import PATIENT_BIRTH_DATE, PATIENT_ID, PATIENT_NAME, PATIENT_SEX
from gateway.index.identity import owned, public_id
from gateway.index.locate import counted_resources

DEFAULT_QUALITY: Final = 90
"""As Orthanc compresses with loss where nothing is said."""
_SOP_INSTANCE, _REFERENCED = 0x00080018, 0x00081155


class ChangeRequest(msgspec.Struct, frozen=True):
    """How resources are to be changed."""

    what: Literal["modify", "anonymize"]
    modification: Modification
    changes: str = ""
    """Name of a set of the configuration, instead of the modification."""
    transcode: str = ""
    quality: int = DEFAULT_QUALITY
    """1 to 100, of a transfer syntax that is made with loss only."""
    regions: tuple[Region, ...] = ()
    """What is masked of the pixels."""

    def regions_of(self, series: str, instance: str) -> tuple[int, ...]:
        """The numbers of the regions that are masked of an instance, by the public ids of its series and of itself."""
        return tuple(number for number, region in enumerate(self.regions) if region.is_for(series, instance))

    def with_regions(self, numbers: tuple[int, ...]) -> ChangeRequest:
        """A copy with some of the regions alone."""
        return msgspec.structs.replace(self, regions=tuple(self.regions[number] for number in numbers))


def compile_request(
    wanted: ChangeRequest, key: bytes, known: Mapping[str, Changes], members: Members | None = None
) -> ChangeSet:
    """Compile a request; everything that is derived is derived from `key`. Blocking.

    `known` are the sets of the configuration. Without `members`, no references follow. Raises BadRequest with what
    cannot be done.
    """
    try:
        target, quality = _target(wanted)
        if wanted.changes:
            return _configured(wanted, known, target, quality)
        if wanted.what == "anonymize":
            made = Compiled(wanted.modification)
            deidentifier = _deidentifier(
                made, key, keep_private=wanted.modification.keep_private, masked=bool(wanted.regions)
            )
            steps = made.value_steps()
        else:
            made, deidentifier = compiled(wanted.modification), None
            steps = [*made.identity_steps(Keyed(key), members), *made.value_steps()]
        return ChangeSet.of_steps(
            "Transcode",
            steps,
            key=key,
            deidentifier=deidentifier,
            transfer_syntax=target,
            quality=quality,
            other_instances="instance" not in made.kept_identifiers,
            regions=wanted.regions,
        )
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None


async def check_patient(database: Database, wanted: ChangeRequest, resources: Sequence[tuple[str, Level]]) -> None:
    """Raise BadRequest where resources would go to a patient who is another person; see `check_new_patient`."""
    if wanted.what != "modify" or wanted.changes:
        return
    made = Compiled(wanted.modification)
    values = {place.tag: "" for place in made.removed if len(place.path.steps) == 1}
    values |= {place.tag: value.text for place, value in made.replaced if len(place.path.steps) == 1}
    await check_new_patient(database, values, [public_id for public_id, _level in resources])


async def check_new_patient(database: Database, values: Mapping[int, str], public_ids: Sequence[str]) -> None:
    """Raise BadRequest where resources would become those of one patient and are of several persons.

    `values` are their new ones, by tag. A patient has one name, one date of birth and one sex, as Orthanc checks from
    1.11.2 on. Whoever has the new Patient ID already counts too, unless all of that patient is among the resources.
    """
    if PATIENT_ID not in values:
        return
    found = await counted_resources(database, public_ids)
    there = await index.resource(database, "patient", public_id(owned(values[PATIENT_ID].strip(), tenant_of_task())))
    if there is not None and (there.public_id in found or found.keys() >= set(there.children)):
        there = None
    expected = _person(there.attributes) if there is not None else None
    around = {each for counted in found.values() for each in counted.above} | found.keys()
    patients = [
        each for each, counted in (await counted_resources(database, sorted(around))).items() if not counted.above
    ]
    for patient in patients:
        own = await index.resource(database, "patient", patient)
        if own is None:
            continue
        person = _person({**own.attributes, **values})
        if expected is None:
            expected = person
        for tag, before in expected.items():
            if person[tag] != before:
                raise BadRequest(
                    f"Replace: the patient is there already, with {before!r} as {keyword_of(tag)}: so it has to be in "
                    "what is modified, or the patient is modified"
                    if there is not None
                    else f"Replace: what is modified is of several patients, with {before!r} and {person[tag]!r} as "
                    f"{keyword_of(tag)}: so it has to be replaced, too"
                )


def _person(attributes: Mapping[int, str]) -> dict[int, str]:
    return {tag: attributes.get(tag, "").strip() for tag in (PATIENT_NAME, PATIENT_BIRTH_DATE, PATIENT_SEX)}


def _configured(wanted: ChangeRequest, known: Mapping[str, Changes], target: str, quality: int | None) -> ChangeSet:
    if wanted.changes not in known:
        raise BadRequest(f"there is no [changes.{wanted.changes}] in the configuration")
    found = ChangeSet.build(wanted.changes, known[wanted.changes])
    if wanted.what == "anonymize" and not found.deidentifies:
        raise BadRequest(f"[changes.{wanted.changes}] does not de-identify; add [changes.{wanted.changes}.deidentify]")
    return found.with_transfer_syntax(target, quality) if target else found


def _deidentifier(made: Compiled, key: bytes, *, keep_private: bool, masked: bool) -> Deidentifier:
    keep = with_creators(made.kept)
    if _SOP_INSTANCE in keep:
        keep.add(_REFERENCED)
    return Deidentifier.build(Deidentify(), key, "the request").adapted(
        keep=keep,
        remove={place.tag for place in made.removed if len(place.path.steps) == 1},
        kept_paths=kept_paths(made.kept),
        keep_private=keep_private,
        masked=masked,
    )


def _target(wanted: ChangeRequest) -> tuple[str, int | None]:
    """The transfer syntax of the results, and the quality where it loses some. Raises BadRequest."""
    uid = wanted.transcode
    if not uid:
        return "", None
    if uid not in TRANSFER_SYNTAXES:
        raise BadRequest(f"Transcode: {uid[:80]!r} is no transfer syntax that is known here")
    if uid in TARGETS:
        return uid, None
    if uid not in ENCODERS or not ENCODERS[uid].method:
        raise BadRequest(f"Transcode: {uid} is not encoded here")
    if not 1 <= wanted.quality <= 100:
        raise BadRequest("LossyQuality: 1 to 100")
    return uid, wanted.quality
