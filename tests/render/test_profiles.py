"""PS3.18 §8.3.5.1.5: profiles that little CMS reads, and colours that come out where they should."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ImageCms
from pydicom.dataset import Dataset

from gateway.render.header import Header
from gateway.render.profiles import Profile, with_profile
from tests.render.test_pipeline import header

COLOURS = np.array([[[255, 255, 255], [0, 0, 0], [128, 128, 128], [255, 0, 0], [0, 255, 0]]], "u1")
NONE = Header({})


def profile(option: Profile) -> bytes:
    return with_profile(COLOURS, NONE, option)[1]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        # sRGB's red and green in the larger spaces, as published converters have them.
        ("adobergb", [[255, 255, 255], [0, 0, 0], [127, 127, 127], [219, 0, 0], [144, 255, 60]]),
        ("rommrgb", [[255, 255, 255], [0, 0, 0], [106, 106, 106], [179, 70, 26], [138, 236, 78]]),
        ("displayp3", [[255, 255, 255], [0, 0, 0], [128, 128, 128], [234, 51, 35], [117, 251, 76]]),
        ("srgb", COLOURS[0].tolist()),
    ],
)
def test_colours_of_srgb(option: Profile, expected: list[list[int]]) -> None:
    shown, made = with_profile(COLOURS, NONE, option)
    assert np.abs(shown[0].astype(int) - expected).max() <= 3
    opened = ImageCms.ImageCmsProfile(io.BytesIO(made))
    assert opened.profile.xcolor_space == "RGB "
    assert opened.profile.version < 5


def test_the_object_has_its_own() -> None:
    found = header(ICCProfile=profile("adobergb"))
    shown, made = with_profile(COLOURS, found, "yes")
    assert (shown == COLOURS).all()
    assert made.rstrip(b"\0") == profile("adobergb").rstrip(b"\0")
    shown, made = with_profile(COLOURS, found, "srgb")
    assert made == profile("srgb")
    assert shown[0, 4].tolist()[1] == 255
    assert not (shown == COLOURS).all()


def test_grey_becomes_rgb() -> None:
    shown, _ = with_profile(np.array([[7, 200]], "u1"), NONE, "yes")
    assert shown.tolist() == [[[7] * 3, [200] * 3]]


def test_what_is_no_profile() -> None:
    path = Dataset()
    path.ICCProfile = b"no profile at all"
    shown, made = with_profile(COLOURS, header(OpticalPathSequence=[path]), "srgb")
    assert (shown == COLOURS).all()
    assert made == profile("srgb")
