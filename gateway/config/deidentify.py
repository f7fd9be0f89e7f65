"""The structure of the settings that say how instances lose what identifies a patient (PS3.15 Annex E).

What they mean is `gateway.edit.deid`'s.
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
    """Where a kind of device burns text into its pixels."""

    match: dict[str, str]
    """Values of attributes by keyword, with `*` and `?`, that an object must have: `{Manufacturer = "ACME*", Rows =
    "600"}`. Case does not count. The first that matches is taken."""
    areas: tuple[tuple[int, int, int, int], ...] = ()
    """Left, top, width and height in pixels, from 0, in every frame. None: what matches is known to be clean."""


class Deidentify(Section, frozen=True):
    """The Basic Profile of PS3.15 Annex E, with options."""

    options: tuple[DeidentificationOption, ...] = ()
    """Beside the Basic Profile (PS3.15 E.3)."""
    pseudonyms: str = ""
    """CSV file with the columns `attribute` (a keyword, as PatientID), `original` and `pseudonym`. Without it, and for
    attributes that it does not name, Patient ID, Patient's Name and Accession Number get pseudonyms made with the
    key."""
    unlisted: Literal["refuse", "key"] = "refuse"
    """What becomes of a value that the file does not list, for an attribute that it names."""
    shift_days: int = 3650
    """With `retain-modified-dates`: the dates of a patient move into the past by one number of days, made with the key
    out of 1 to this."""
    safe_private: dict[str, tuple[str, ...]] = {}
    """With `retain-safe-private`: private attributes that are kept beside those of PS3.15 Table E.3.10-1, by their
    creator: `"ACME 1.0" = ["0019,10", "0019,11"]`, group and element in the creator's block."""
    burned_in: Literal["refuse", "ignore"] = "refuse"
    """What becomes of an object that says to have text burned into its pixels, or whose kind often has and that does
    not say otherwise, where no `rectangles` match."""
    recognizable: Literal["refuse", "ignore"] = "refuse"
    """What becomes of an object that says its pixels show a face or the like (0028,0302)."""
    rectangles: tuple[Rectangles, ...] = ()
    sealed_for: tuple[str, ...] = ()
    """PEM files with certificates (RSA). What is taken away goes into the object, encrypted, so that those who have a
    private key to one of them can bring it back (PS3.15 E.1.2). None: it cannot be brought back."""
