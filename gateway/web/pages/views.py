"""The values of `templates/view.html`, the view of frames that the pages of series and instances share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.index.values import NO_NUMBER
from gateway.web.inputs import whole_number
from gateway.web.pages.lineage import Ancestor
from gateway.web.route import COUNT, TEXT, Parameter
from gateway.web.urls import path_template

Shown = tuple[str, int, int | None]
"""Public id of an instance, its frames, and its Instance Number."""


MAX_PLACES: Final = 20_000
"""Frames that one page scrolls through. A data set may say that it has a billion."""
_WINDOW: Final = re.compile(r"(-?[0-9]{1,9}(?:\.[0-9]{1,6})?),([0-9]{1,9}(?:\.[0-9]{1,6})?)")


class ViewStart(NamedTuple):
    """The frame and the window with which the view begins, as the address of the page names them."""

    frame: int
    """From 0."""
    window: tuple[float, float] | None
    """Centre and width; None for the frame's own."""

    @classmethod
    def of(cls, request: web.Request) -> ViewStart:
        """Parse the query; what makes no sense is left out."""
        frame = whole_number(request.query.get("frame", "1"))
        window = _WINDOW.fullmatch(request.query.get("window", ""))
        found = None if window is None else (float(window[1]), float(window[2]))
        return cls(max(frame or 1, 1) - 1, found if found is not None and found[1] >= 1 else None)


def view_values(
    request: web.Request, line: Sequence[Ancestor], shown: Sequence[Shown], start: ViewStart, first: str = ""
) -> dict[str, Any]:
    """The values for instances that are shown one after the other, `line` being what they belong to, and `first` the
    one that is shown first."""
    left = max(0, MAX_PLACES - len(shown))
    slices = []
    for public_id, frames, number in shown:
        counted = 1 + min(max(frames - 1, 0), left)
        left -= counted - 1
        known = None if number in (None, NO_NUMBER) else number
        slices.append({"id": public_id, "frames": counted, "number": known})
    corners = {each.level: [each.title, *each.details] for each in line}
    return {
        "instance_template": path_template(request, "instance-page"),
        "slices": slices,
        "view": {
            "corners": corners,
            "instance": path_template(request, "instance-page") if line[-1].level == "series" else "",
            "pixels": path_template(request, "frame-pixels"),
            "slices": slices,
            "start": {"instance": first, **start._asdict()},
        },
    }


START: Final = (
    Parameter("frame", "The frame that is shown first, from 1", COUNT),
    Parameter("window", "Centre and width of the window", TEXT, "40,400"),
)
"""The parameters of `ViewStart.of`."""
