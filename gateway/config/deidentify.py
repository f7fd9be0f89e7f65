"""The structure of the settings of de-identification (PS3.15 Annex E).

`gateway.edit.deid` implements them.
"""

from __future__ import annotations

import typing
from typing import Literal

from gateway.config.base import Section

DeidentificationOption = Literal[
    "retain-uids",
    "retain-device-identity",
    "retain-institution-identity",
    "retain-patient-characteristics",
    "retain-full-dates",
    "retain-modified-dates",
    "retain-safe-private",
    "clean-descriptors",
    "clean-graphics",
    "clean-structured-content",
]
DEIDENTIFICATION_OPTIONS: tuple[DeidentificationOption, ...] = typing.get_args(DeidentificationOption)


class Rectangles(Section, frozen=True):
    """Rectangles of a kind of device that burns text into its pixels."""

    match: dict[str, str]
    """Attributes by keyword that an object must have, with `*` and `?`, without regard to case: `{Manufacturer =
    "ACME*", Rows = "600"}`. The first entry that matches is used."""
    areas: tuple[tuple[int, int, int, int], ...] = ()
    """Left, top, width and height in pixels, from 0, in every frame. None: a matching object is known to be clean."""


class Deidentify(Section, frozen=True):
    """The Basic Profile of PS3.15 Annex E, with options."""

    options: tuple[DeidentificationOption, ...] = ()
    """Options of PS3.15 E.3."""
    pseudonyms: str = ""
    """CSV file with the columns `attribute` (a keyword, as PatientID), `original` and `pseudonym`. Without it, and for
    attributes that it does not name, Patient ID, Patient's Name and Accession Number get pseudonyms made with the
    key."""
    unlisted: Literal["refuse", "key"] = "refuse"
    """How to treat a value that the file does not list, of an attribute that it names: refuse the object, or use a
    pseudonym made with the key."""
    shift_days: int = 3650
    """Largest shift of dates, with `retain-modified-dates`: all dates of a patient shift into the past by one number of
    days from 1 to this, made with the key."""
    safe_private: dict[str, tuple[str, ...]] = {}
    """Private attributes retained beside those of PS3.15 Table E.3.10-1, with `retain-safe-private`, by their creator:
    `"ACME 1.0" = ["0019,10", "0019,11"]`, group and element in the creator's block."""
    burned_in: Literal["refuse", "ignore"] = "refuse"
    """How to treat an object with text burned into its pixels, by its own statement or, unless it denies it, by its
    kind, if no `rectangles` match: refuse it, or let it pass."""
    recognizable: Literal["refuse", "ignore"] = "refuse"
    """How to treat an object whose pixels show a face or the like by its own statement (0028,0302): refuse it, or let
    it pass."""
    rectangles: tuple[Rectangles, ...] = ()
    sealed_for: tuple[str, ...] = ()
    """PEM files with certificates (RSA). The removed values are added to the object, encrypted, so that the owner of a
    private key to one of them can restore them (PS3.15 E.1.2). None: they cannot be restored."""
