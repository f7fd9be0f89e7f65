"""The distance between pixels, and what it is a distance of: in the patient, at the detector, on a scanned film.

A length that is measured in a projection is true only where the picture was calibrated (PS3.3 §10.7.1.3).
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

from gateway.render.header import Header
from gateway.render.viewport import PIXEL_MEASURES_SEQUENCE, PIXEL_SPACING

Kind = Literal["patient", "calibrated", "unstated", "detector", "scanned"]

_MODALITY: Final = 0x00080060
_IMAGER_PIXEL_SPACING: Final = 0x00181164
_NOMINAL_SCANNED_PIXEL_SPACING: Final = 0x00182010
_CALIBRATION_TYPE: Final = 0x00280A02
_PROJECTIONS: Final = frozenset(("CR", "DX", "MG", "XA", "RF", "PX", "IO", "RG", "DR"))
"""Modalities whose pictures are shadows, larger than what threw them."""


class Calibration(NamedTuple):
    """Millimetres between rows, and between columns."""

    row: float
    column: float
    kind: Kind


def calibration(header: Header, frame: int) -> Calibration | None:
    """The distances of a frame, from 0; None where the data set has none."""
    spacing = _pair(header.group(PIXEL_MEASURES_SEQUENCE, frame), PIXEL_SPACING)
    imager = _pair(header, _IMAGER_PIXEL_SPACING)
    if spacing is not None:
        return Calibration(*spacing, _kind(header, spacing, imager))
    if imager is not None:
        return Calibration(*imager, "detector")
    scanned = _pair(header, _NOMINAL_SCANNED_PIXEL_SPACING)
    return None if scanned is None else Calibration(*scanned, "scanned")


def _kind(header: Header, spacing: tuple[float, float], imager: tuple[float, float] | None) -> Kind:
    if header.text(_CALIBRATION_TYPE):
        return "calibrated"
    if imager is not None:  # Equal values: nobody has calibrated anything.
        same = all(math.isclose(one, other, rel_tol=1e-5) for one, other in zip(spacing, imager, strict=True))
        return "detector" if same else "calibrated"
    return "unstated" if header.text(_MODALITY).upper() in _PROJECTIONS else "patient"


def _pair(header: Header, tag: int) -> tuple[float, float] | None:
    found = header.numbers(tag)
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None
