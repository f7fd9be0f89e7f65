"""The distance between pixels, and what it is a distance of: in the patient, at the detector, on a scanned film.

A length that is measured in a projection is true only where the picture was calibrated (PS3.3 §10.7.1.3). An ultrasound
picture has regions, each with a scale of its own (PS3.3 C.8.5.5).
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
_ULTRASOUND_REGIONS: Final = 0x00186011
_REGION_EDGES: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)
_PHYSICAL_UNITS: Final = (0x00186024, 0x00186026)
_PHYSICAL_DELTAS: Final = (0x0018602C, 0x0018602E)
_CENTIMETRES: Final = 3
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


class UltrasoundRegion(NamedTuple):
    """A part of an ultrasound picture from its first column and row to its last, and its millimetres between rows, and
    between columns."""

    left: int
    top: int
    right: int
    bottom: int
    row: float
    column: float


def regions(header: Header) -> list[UltrasoundRegion]:
    """The regions of an ultrasound picture that show the patient; others show a time, a speed, or a curve."""
    found = []
    for item in header.items(_ULTRASOUND_REGIONS):
        edges = [item.number(tag) for tag in _REGION_EDGES]
        column, row = (item.number(tag) for tag in _PHYSICAL_DELTAS)
        if any(item.number(tag) != _CENTIMETRES for tag in _PHYSICAL_UNITS) or None in edges or not column or not row:
            continue
        left, top, right, bottom = (int(each or 0) for each in edges)
        found.append(UltrasoundRegion(left, top, right, bottom, abs(row) * 10, abs(column) * 10))
    return found


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
