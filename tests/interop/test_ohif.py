"""OHIF in Chromium against the gateway: studies are listed, opened and scrolled, and the pictures are the right ones.

What its canvas shows is compared with what the pixels say; nothing may fail on the network or be logged as an error.
"""

from __future__ import annotations

import base64
import functools
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from tests.support import derived, pictures
from tests.support.datasets import instance, read_sample, sample
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(180)]

KEPT = Path(__file__).with_name("pictures")
CANVAS = ".cornerstone-canvas"
ROUGH = 64
"""Pictures are compared at this size, where neither the window's size nor smoothing shows."""
TOLERANCE = 4.0
"""Mean difference of a channel, of 255. Another frame comes to 6, another slice to 13, a flip to 20 and more."""
PATIENCE = 30.0
SLICES = 7


class Shown:
    """OHIF in a tab, and all that it complains of."""

    def __init__(self, window: Any, gateway: Gateway, folder: Path) -> None:
        self.complaints: list[str] = []
        self.url, self.folder = gateway.url, folder
        self.page = window.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def _logged(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # what the viewer itself gives up, when one scrolls past it
            self.complaints.append(f"{request.method} {request.url}: {request.failure}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.request.method} {response.url}: {response.status}")

    def list(self) -> None:
        self.page.goto(f"{self.url}/ohif/")

    def open(self, study: str, more: str = "", *, shows: str = CANVAS) -> None:
        self.page.goto(f"{self.url}/ohif/viewer?StudyInstanceUIDs={study}{more}")
        self.page.locator(shows).first.wait_for()

    def picture(self) -> NDArray[np.float64]:
        """What the canvas shows in its middle square, ROUGH by ROUGH by 3."""
        data = self.page.locator(CANVAS).first.evaluate("canvas => canvas.toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return rough(image.crop((left, top, left + side, top + side)))

    def expect(self, wanted: NDArray[np.float64]) -> None:
        """Wait until the picture is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while (difference := float(np.abs((shown := self.picture()) - wanted).mean())) > TOLERANCE:
            if time.monotonic() > deadline:
                Image.fromarray(np.hstack([shown, wanted]).astype(np.uint8)).save(self.folder / "shown-wanted.png")
                self.page.screenshot(path=self.folder / "window.png")
                pytest.fail(f"the picture differs by {difference:.1f} of 255: see {self.folder}; {self.complaints}")
            self.page.wait_for_timeout(100)

    def expect_red(self, *, inside: bool, of_window: bool = False) -> None:
        """Wait until red is drawn: over the square of `derived.py`, or along its edges alone."""
        deadline = time.monotonic() + PATIENCE
        while not self._is_red(inside=inside, of_window=of_window):
            if time.monotonic() > deadline:
                self.page.screenshot(path=self.folder / "window.png")
                pytest.fail(f"nothing red is drawn: see {self.folder}; {self.complaints}")
            self.page.wait_for_timeout(100)

    def _is_red(self, *, inside: bool, of_window: bool) -> bool:
        target = self.page if of_window else self.page.locator(".cornerstone-viewport-element").first
        picture = np.asarray(Image.open(io.BytesIO(target.screenshot())).convert("RGB"), np.int16)
        red = (picture[..., 0] > 90) & (picture[..., 0] - picture[..., 1:].max(-1) > 60)
        if not red.any():
            return False
        rows, columns = np.nonzero(red)
        box = red[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        is_square = 0.8 < box.shape[0] / box.shape[1] < 1.25 and min(box.shape) > 60
        share = float(box.mean())
        return (share > 0.5 if inside else is_square and share < 0.2) and min(box.shape) > 60

    def scroll(self, notches: int) -> None:
        self.page.locator(CANVAS).first.hover()
        for _ in range(abs(notches)):
            self.page.mouse.wheel(0, 100 if notches > 0 else -100)
            self.page.wait_for_timeout(50)


def rough(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("RGB").resize((ROUGH, ROUGH), Image.Resampling.BOX), np.float64)


def grey(part: float) -> NDArray[np.float64]:
    """The F with its bar, as its window shows it."""
    return rough(Image.fromarray(np.where(pictures.shape(part), 255, 0).astype(np.uint8)))


@pytest.fixture(scope="module")
def studies() -> dict[str, list[Dataset]]:
    return {
        "CT": pictures.ct(SLICES),
        "MR": pictures.mr(SLICES),
        "US": [pictures.ultrasound(SLICES)],
        "JPEG": [pictures.ultrasound(SLICES, jpeg=True)],
        "Codecs": pictures.compressed(),
        **{name: _derived(make) for name, make in DERIVED.items()},
        "Lone": [_lone_report()],
    }


DERIVED = {
    "SEG": derived.segmentation,
    "Label map": functools.partial(derived.segmentation, label_map=True),
    "RTSTRUCT": derived.contours,
    "SR": functools.partial(derived.text_report, text="A finding in words"),
    "PDF": derived.pdf,
}


def _derived(make: Callable[[list[Dataset]], Dataset]) -> list[Dataset]:
    images = pictures.ct(SLICES)
    return [*images, make(images)]


def _lone_report() -> Dataset:
    """Plain text alone, as many systems send it: its paragraph has no concept name, over which OHIF stumbles."""
    made = derived.text_report(pictures.ct(2), "A lone finding")
    del made.ContentSequence[0].ConceptNameCodeSequence
    made.PatientName = "Lone^Report"
    return made


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, studies: dict[str, list[Dataset]], ohif: Path
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    files = [pictures.saved(each, folder) for study in studies.values() for each in study]
    files += [sample("CT_small.dcm"), sample("MR_small.dcm"), sample("reportsi.dcm"), sample("waveform_ecg.dcm")]
    files += [pictures.saved(instance(PatientName="Modality^None", Modality=""), folder)]  # OHIF stumbled over it
    pictures.imported(folder / "data", files)
    with Gateway(folder / "data", environment={"GATEWAY_HTTP__OHIF": str(ohif)}) as started:
        yield started


@pytest.fixture(scope="module")
def window(browser: Any, gateway: Gateway, studies: dict[str, list[Dataset]], tmp_path_factory: Any) -> Iterator[Any]:
    """A browser in which OHIF's greetings, which lie over the images, have been sent away once; with its cache."""
    context = browser.new_context(viewport={"width": 900, "height": 600})
    first = Shown(context, gateway, tmp_path_factory.mktemp("first"))
    first.open(studies["CT"][0].StudyInstanceUID)
    first.page.get_by_text("Skip all").click()
    first.page.get_by_role("button", name="Confirm and hide").click()
    first.page.close()
    yield context
    context.close()


@pytest.fixture
def shown(window: Any, gateway: Gateway, tmp_path: Path) -> Iterator[Shown]:
    made = Shown(window, gateway, tmp_path)
    yield made
    complaints = [*made.complaints]
    made.page.close()
    assert complaints == []


def test_listed_and_opened_from_the_page(shown: Shown) -> None:
    shown.list()
    for name in ("Picture, CT", "Picture, MR", "Picture, US", "CompressedSamples, CT1", "Modality, None"):
        shown.page.get_by_text(name).first.wait_for()
    shown.page.goto(f"{shown.url}/ui/?patient=Picture&modality=CT")
    shown.page.get_by_role("link", name="Open in OHIF").first.click()
    shown.expect(grey(0))


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_series_is_scrolled(shown: Shown, studies: dict[str, list[Dataset]], modality: str) -> None:
    shown.open(studies[modality][0].StudyInstanceUID)
    shown.expect(grey(0))
    shown.scroll(2)
    shown.expect(grey(2 / (SLICES - 1)))
    shown.scroll(SLICES)
    shown.expect(grey(1))
    shown.scroll(-SLICES)
    shown.expect(grey(0))


@pytest.mark.parametrize("name", ["US", "JPEG"])
def test_a_cine_in_colour(shown: Shown, studies: dict[str, list[Dataset]], name: str) -> None:
    shown.open(studies[name][0].StudyInstanceUID)
    for frame in (0, 3):
        shown.scroll(frame)
        shown.expect(rough(Image.fromarray(pictures.coloured(frame / (SLICES - 1)))))


def test_every_codec(shown: Shown, studies: dict[str, list[Dataset]]) -> None:
    """Frames go out as they are stored; each slice is decoded in the viewer by another codec."""
    shown.open(studies["Codecs"][0].StudyInstanceUID)
    last = len(pictures.ENCODERS) - 1
    for index in range(last + 1):
        shown.scroll(min(index, 1))
        shown.expect(grey(index / last))


def test_reformatted(shown: Shown, studies: dict[str, list[Dataset]]) -> None:
    """All slices become a volume, in memory that its workers share."""
    shown.open(studies["CT"][0].StudyInstanceUID, "&hangingprotocolId=mpr")
    assert shown.page.evaluate("crossOriginIsolated")
    shown.expect(grey(0.5))
    assert shown.page.locator(CANVAS).count() == 3


def opened(shown: Shown, study: str, name: str) -> None:
    """Open what is drawn over the images of a study, from the list at its side."""
    shown.open(study)
    shown.expect(grey(0))
    row = shown.page.locator("[data-cy='study-browser-thumbnail-no-image']").filter(has_text=name)
    row.first.dispatch_event("dblclick")  # what greets the reader may lie over it


@pytest.mark.case("OHIF shows segmentations, bits and label maps, over their images")
@pytest.mark.parametrize(("name", "series"), [("SEG", "Segmentation"), ("Label map", "Label map")])
def test_a_segmentation(shown: Shown, studies: dict[str, list[Dataset]], name: str, series: str) -> None:
    opened(shown, studies[name][0].StudyInstanceUID, series)
    shown.expect_red(inside=True)


@pytest.mark.case("OHIF shows contours over their images")
def test_contours(shown: Shown, studies: dict[str, list[Dataset]]) -> None:
    opened(shown, studies["RTSTRUCT"][0].StudyInstanceUID, "Contours")
    shown.expect_red(inside=False)


@pytest.mark.case("OHIF shows a plain report beside images, and a page of a PDF")
def test_a_plain_report(shown: Shown, studies: dict[str, list[Dataset]]) -> None:
    opened(shown, studies["SR"][0].StudyInstanceUID, "Report")
    shown.page.get_by_text("A finding in words").wait_for()


@pytest.mark.case("OHIF shows a plain report beside images, and a page of a PDF")
def test_a_page(shown: Shown, studies: dict[str, list[Dataset]]) -> None:
    opened(shown, studies["PDF"][0].StudyInstanceUID, "Page")
    shown.page.locator("object[type='application/pdf']").wait_for()
    shown.expect_red(inside=True, of_window=True)


@pytest.mark.case("a study of reports alone opens in our own report page")
def test_a_lone_report(shown: Shown, studies: dict[str, list[Dataset]]) -> None:
    shown.page.goto(f"{shown.url}/ui/?patient=Lone")
    shown.page.get_by_role("link", name="Open report").click()
    shown.page.get_by_text("A lone finding").wait_for()
    assert "/rendered" in shown.page.url
    shown.open(studies["Lone"][0].StudyInstanceUID, shows="text=A lone finding")  # and OHIF survives it


@pytest.mark.parametrize(("name", "shows"), [("reportsi.dcm", "text=Document Title"), ("waveform_ecg.dcm", CANVAS)])
def test_a_report_and_a_waveform(shown: Shown, name: str, shows: str) -> None:
    shown.open(read_sample(sample(name)).StudyInstanceUID, shows=shows)
    shown.page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("name", ["CT_small", "MR_small"])
def test_as_it_was_before(shown: Shown, name: str) -> None:
    """Real images, whose window the viewer chooses: against pictures that a person has looked at."""
    shown.open(read_sample(sample(f"{name}.dcm")).StudyInstanceUID)
    with Image.open(KEPT / f"{name}.png") as kept:
        shown.expect(rough(kept))
