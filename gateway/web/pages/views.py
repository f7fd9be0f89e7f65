"""The values of `templates/view.html`, the view of frames that the pages of series and instances share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.index.values import NO_NUMBER
from gateway.web.pages.lineage import Ancestor
from gateway.web.urls import path_template

Shown = tuple[str, int, int | None]
"""Public id of an instance, its frames, and its Instance Number."""


def view_values(request: web.Request, line: Sequence[Ancestor], shown: Sequence[Shown]) -> dict[str, Any]:
    """The values for instances that are shown one after the other, `line` being what they belong to."""
    corners = {each.level: [each.title, *each.details] for each in line}
    slices = [
        {"id": public_id, "frames": max(1, frames), "number": None if number in (None, NO_NUMBER) else number}
        for public_id, frames, number in shown
    ]
    return {
        "instance_template": path_template(request, "instance-page"),
        "slices": slices,
        "view": {
            "corners": corners,
            "pixels": path_template(request, "frame-pixels"),
            "slices": slices,
        },
    }
