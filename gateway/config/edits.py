"""The structure of the settings of change sets.

`gateway.edit` implements them.
"""

from __future__ import annotations

from typing import Literal

from gateway.config.base import Section
from gateway.config.deidentify import Deidentify


class BaseStep(Section, frozen=True, tag_field="do"):
    """One change. Steps are applied in the order of the file."""


class OfAttribute(BaseStep, frozen=True):
    attribute: str
    """A keyword (`PatientID`), `gggg,eeee`, a path (`RequestAttributesSequence.Modality`: in every item), a private
    attribute by its creator (`(0019,10,SIEMENS MR HEADER)`), or `*.PatientID`: at every place, in sequences too."""


class SetStep(OfAttribute, frozen=True, tag="set"):
    """`do = "set"`: set the value of the attribute, present or not."""

    value: str
    """Several values are separated by backslashes. Empty: the attribute is present without a value."""
    vr: str = ""
    """Value representation of an attribute that the data dictionary does not know; empty: LO."""


class RemoveStep(OfAttribute, frozen=True, tag="remove"):
    """`do = "remove"`: remove the attribute."""


class RemovePrivateStep(BaseStep, frozen=True, tag="remove-private"):
    """`do = "remove-private"`: remove all private attributes, in sequences too."""


class CopyStep(OfAttribute, frozen=True, tag="copy"):
    """`do = "copy"`: set the attribute to the value of another one, if that is present."""

    source: str
    """Keyword or `gggg,eeee` of the data set itself."""


class ReplaceStep(OfAttribute, frozen=True, tag="replace"):
    """`do = "replace"`: replace every match of a regular expression (RE2) in every value."""

    pattern: str
    replacement: str = ""
    """`\\\\1` is the match of the first group."""


class MapStep(OfAttribute, frozen=True, tag="map"):
    """`do = "map"`: replace values by a table."""

    table: dict[str, str]
    unlisted: Literal["keep", "empty", "refuse"] = "keep"
    """How to treat a value that the table does not list. `refuse`: the instance is not sent."""


class PrefixStep(OfAttribute, frozen=True, tag="prefix"):
    """`do = "prefix"`: add a text before every value that does not begin with it."""

    text: str


class HashStep(OfAttribute, frozen=True, tag="hash"):
    """`do = "hash"`: replace every value by 12 letters and digits, or a UID by a UID, made of it with the key."""


class NewUidsStep(BaseStep, frozen=True, tag="new-uids"):
    """`do = "new-uids"`: replace the UIDs of study, series and instance, and all references to them, by others made
    with the key."""


class ShiftDatesStep(BaseStep, frozen=True, tag="shift-dates"):
    """`do = "shift-dates"`: shift all dates of a patient into the past by one number of days, made with the key."""

    days: int = 3650
    """The largest number of days."""


class CharacterSetStep(BaseStep, frozen=True, tag="to-utf-8"):
    """`do = "to-utf-8"`: re-encode all text as ISO_IR 192."""


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
    """A change set, which rules name. De-identification comes first, then the steps, then the transfer syntax."""

    deidentify: Deidentify | None = None
    steps: tuple[Step, ...] = ()
    key: str = ""
    """Secret for making UIDs, hashes and shifts: 16 characters or more, at random. Another key gives other values; with
    this key anybody can test which value became which."""
    key_file: str = ""
    """File with the key instead."""
    original_attributes: bool = False
    """Record former values in the object (Original Attributes Sequence, PS3.3 C.12.1.1.9). Not together with changes
    that hide them: `deidentify`, `hash`, `new-uids`, `shift-dates`."""
    transfer_syntax: str = ""
    """UID of the transfer syntax of the result, if it can be made without loss; empty: as received."""
    quality: int | None = None
    """1 to 100: the pixels may lose what the eye hardly sees; the object says so, and becomes another instance."""
