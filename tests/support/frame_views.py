"""A reader of `render/frame_view.py`'s format, and its greys computed by another way than the gateway's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrameView:
    """What a viewer gets of a frame."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:4], "little")
        assert (4 + length) % 8 == 0
        self.about: dict[str, Any] = json.loads(data[4 : 4 + length])
        rest = data[4 + length :]
        self.parts = {name: rest[at : at + size] for name, (at, size) in self.about["parts"].items()}
        assert all(at % 8 == 0 for at, _ in self.about["parts"].values())

    @property
    def samples(self) -> NDArray[Any]:
        shape = self.about["rows"], self.about["columns"]
        return np.frombuffer(self.parts["samples"], "<" + self.about["type"]).reshape(shape)

    @property
    def colours(self) -> NDArray[Any]:
        return np.frombuffer(self.parts["colours"], "u1").reshape(self.about["rows"], self.about["columns"], 3)

    @property
    def overlay(self) -> NDArray[Any]:
        shape = self.about["rows"], self.about["columns"]
        bits = np.unpackbits(np.frombuffer(self.parts["overlay"], "u1"), bitorder="little")
        return bits[: shape[0] * shape[1]].reshape(shape)
