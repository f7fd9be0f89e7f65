"""The structure of the settings that say how instances are changed on their way.

What they mean is `gateway.edit`'s.
"""

from __future__ import annotations

from typing import Literal

from gateway.config.base import Section
from gateway.config.deidentify import Deidentify


class BaseStep(Section, frozen=True, tag_field="do"):
    """One change. Steps are made in the order of the file."""


class OfAttribute(BaseStep, frozen=True):
    attribute: str
    """A keyword (`PatientID`), `gggg,eeee`, a path (`RequestAttributesSequence.Modality`: in every item), a private
    attribute by its creator (`(0019,10,SIEMENS MR HEADER)`), or `*.PatientID`: wherever it stands, in sequences too."""


class SetStep(OfAttribute, frozen=True, tag="set"):
    """`do = "set"`: the attribute has this value, whether or not it was there."""

    value: str
    """Several with a backslash between them. Empty: it is there, without a value."""
    vr: str = ""
    """Value representation of an attribute that the data dictionary does not know; empty: LO."""


class RemoveStep(OfAttribute, frozen=True, tag="remove"):
    """`do = "remove"`: the attribute goes."""


class RemovePrivateStep(BaseStep, frozen=True, tag="remove-private"):
    """`do = "remove-private"`: all private attributes go, in sequences too."""


class CopyStep(OfAttribute, frozen=True, tag="copy"):
    """`do = "copy"`: the attribute has the value of another, where that is there."""

    source: str
    """Keyword or `gggg,eeee` of the data set itself."""


class ReplaceStep(OfAttribute, frozen=True, tag="replace"):
    """`do = "replace"`: in every value, what a regular expression (RE2) finds becomes something else."""

    pattern: str
    replacement: str = ""
    """`\\\\1` is what the first group found."""


class MapStep(OfAttribute, frozen=True, tag="map"):
    """`do = "map"`: values become others by a table."""

    table: dict[str, str]
    unlisted: Literal["keep", "empty", "refuse"] = "keep"
    """What becomes of a value that the table does not list. `refuse`: the instance does not go."""


class PrefixStep(OfAttribute, frozen=True, tag="prefix"):
    """`do = "prefix"`: every value begins with a text; one that does already stays."""

    text: str


class HashStep(OfAttribute, frozen=True, tag="hash"):
    """`do = "hash"`: every value becomes one made of it with the key: 12 letters and digits, or of UIDs a UID."""


class NewUidsStep(BaseStep, frozen=True, tag="new-uids"):
    """`do = "new-uids"`: the UIDs of study, series, instance and of whatever refers to such become others, made with
    the key."""


class ShiftDatesStep(BaseStep, frozen=True, tag="shift-dates"):
    """`do = "shift-dates"`: all dates of a patient go into the past by one number of days, made with the key."""

    days: int = 3650
    """At most."""


class CharacterSetStep(BaseStep, frozen=True, tag="to-utf-8"):
    """`do = "to-utf-8"`: all text is encoded anew, as ISO_IR 192."""


Step = (
    SetStep
    | RemoveStep
    | RemovePrivateStep
    | CopyStep
    | ReplaceStep
    | MapStep
    | PrefixStep
    | HashStep
    | NewUidsStep
    | ShiftDatesStep
    | CharacterSetStep
)


class Changes(Section, frozen=True):
    """A set of changes, which rules name. First de-identification, then the steps, then the transfer syntax."""

    deidentify: Deidentify | None = None
    steps: tuple[Step, ...] = ()
    key: str = ""
    """Secret that UIDs, hashes and shifts are made with: 16 characters or more, at random. Who has another key gets
    other values; who has this one can try which value became which."""
    key_file: str = ""
    """File with the key instead."""
    original_attributes: bool = False
    """Say in the object what its attributes were before (Original Attributes Sequence, PS3.3 C.12.1.1.9). Not with what
    hides them: `deidentify`, `hash`, `new-uids`, `shift-dates`."""
    transfer_syntax: str = ""
    """UID of that of the result, where it can be made without loss; empty: as it came."""
    quality: int | None = None
    """1 to 100: pixels may lose what the eye hardly sees; the object says so, and becomes another instance."""
