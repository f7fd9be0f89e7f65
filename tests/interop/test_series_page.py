"""The page of a series in Chromium: the filmstrip, every button and key of the view, and pixels as the gateway renders
them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.support import pictures
from tests.support.datasets import sample
from tests.support.processes import Gateway
from tests.support.view_window import Window, upload
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.interop]

WIDTHS = (390, 900, 1600)
BUTTONS = {
    *("window", "pan", "zoom", "measure"),
    *("fit", "actual", "full", "invert", "overlay", "texts", "erase", "reset", "help", "previous", "next", "play"),
}
"""Every button of the view, by its data-tool or data-do."""
NAMES = (
    *("CT_small.dcm", "MR_small.dcm", "MR_small_jp2klossless.dcm", "JPEG2000.dcm", "vlut_04.dcm", "mlut_18.dcm"),
    *("examples_palette.dcm", "examples_overlay.dcm", "SC_rgb.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
    *("examples_ybr_color.dcm", "emri_small.dcm", "liver_1frame.dcm", "RG1_UNCR.dcm"),
)
"""MONOCHROME1 and 2, signed, tables, palette, RGB, YBR, several frames, single bits, compressed."""
COMPARED = """async ([pixels, rendered]) => {
  const { FrameStore } = await import('/ui/static/view-frame.js');
  const { paint, shade } = await import('/ui/static/view-shade.js');
  const frame = await new FrameStore(pixels).get({ id: '', frame: 0 });
  const theirs = await createImageBitmap(await (await fetch(rendered)).blob());
  const { rows, columns } = frame.about;
  const context = new OffscreenCanvas(columns, rows).getContext('2d', { willReadFrequently: true });
  const drawn = (bitmap) => { context.drawImage(bitmap, 0, 0); return context.getImageData(0, 0, columns, rows).data; };
  const expected = drawn(theirs);
  let shown = new Uint8ClampedArray(4 * rows * columns);
  if (frame.bitmap) shown = drawn(frame.bitmap);
  else if (frame.colours) paint(frame, false, new Uint32Array(shown.buffer));
  else shade(frame, frame.about.voi, false, new Uint32Array(shown.buffer));
  const overlay = frame.has('overlay') ? frame.part('overlay') : null;
  let most = 0;
  for (let i = 0; i < shown.length; i += 1) {
    if (overlay && (overlay[i >> 5] >> ((i >> 2) & 7)) & 1) continue;
    most = Math.max(most, Math.abs(shown[i] - expected[i]));
  }
  return { most, lossy: Boolean(frame.bitmap), size: [theirs.width, theirs.height, columns, rows] };
}"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "gateway.toml").write_text("[dicomweb]\ndelete = true\n")
    with Gateway(folder / "data", "--config", str(folder / "gateway.toml")) as started:
        yield started


@pytest.fixture(scope="module")
def ct(gateway: Gateway) -> str:
    """Twelve slices; the public id of their series."""
    (series,) = {upload(gateway, pictures.file(each))["ParentSeries"] for each in pictures.ct()}
    return series


@pytest.fixture
def window(browser: Any, gateway: Gateway, ct: str) -> Iterator[Window]:
    made = Window(browser, gateway, f"/ui/series/{ct}")
    yield made
    made.close()


@pytest.mark.case("the view of the pages shows the pixels that the gateway renders, of every kind")
@pytest.mark.parametrize("name", NAMES)
def test_the_pixels_are_those_of_the_gateway(browser: Any, gateway: Gateway, name: str) -> None:
    found = upload(gateway, sample(name).read_bytes())
    window = Window(browser, gateway, f"/ui/instances/{found['ID']}")
    links = window.page.locator(".downloads a").evaluate_all("found => found.map((each) => each.href)")
    rendered = next(each for each in links if each.endswith("image/png"))
    result = window.page.evaluate(COMPARED, [f"/ui/instances/{found['ID']}/frames/{{frame}}/pixels", rendered])
    assert result["size"][:2] == result["size"][2:]
    assert result["most"] <= (20 if result["lossy"] else 1)
    window.close()


def windowed(url: str) -> list[float]:
    """Centre and width in the address of a page."""
    found = parse_qs(urlsplit(url).query).get("window", [])
    return [float(each) for text in found for each in text.split(",")]


class TestView:
    def test_every_button(self, window: Window) -> None:
        page = window.page
        attributes = "found => found.map((each) => each.dataset.tool ?? each.dataset.do)"
        assert set(page.locator("#view [data-do], #view [data-tool]").evaluate_all(attributes)) == BUTTONS
        window.expect("corner-place", "Image 1 of 12")
        window.press("next")
        window.expect("corner-place", "Image 2 of 12")
        window.press("previous")
        window.expect("corner-place", "Image 1 of 12")

        before = window.screenshot()
        window.press("invert")
        wait_until(lambda: window.screenshot() != before, 10)
        window.press("reset")
        wait_until(lambda: window.screenshot() == before, 10)

        window.press("help")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        assert page.get_by_role("dialog").count() == 0
        window.press("texts")
        assert not window.part("corner-place").is_visible()
        window.press("texts")
        assert window.part("corner-place").is_visible()

        window.press("play")
        wait_until(lambda: window.at() > 3, 10)
        window.press("play")
        assert page.locator('[data-do="play"]').get_attribute("aria-pressed") == "false"
        for name in ("actual", "fit", "pan", "zoom", "measure", "erase", "window"):
            window.press(name)
        page.evaluate("document.querySelector('[data-do=full]').click()")
        wait_until(lambda: page.evaluate("document.fullscreenElement !== null"), 10)
        page.evaluate("document.exitFullscreen()")
        wait_until(lambda: page.evaluate("document.fullscreenElement === null"), 10)

    def test_window_by_dragging_presets_and_address(self, window: Window) -> None:
        page = window.page
        own = window.part("window").inner_text()
        window.drag((0.3, 0.5), (0.5, 0.6))
        changed = window.part("window").inner_text()
        assert changed != own
        settled = [float(each) for each in re.findall(r"-?[\d.]+", changed)]
        wait_until(lambda: windowed(window.address()) == pytest.approx(settled, rel=1e-3), 10)
        page.reload()
        window.shown()
        assert window.part("window").inner_text() == changed
        window.part("preset").select_option("bone")
        window.expect("window", "C 400 W 1800")
        window.part("preset").select_option("whole")
        window.expect("window", "W")
        window.part("preset").select_option("")
        assert window.part("window").inner_text() == own

    def test_measured_by_mouse_and_by_keyboard(self, window: Window) -> None:
        window.press("measure")
        window.drag((0.4, 0.5), (0.6, 0.5))
        window.expect("status", "mm")
        window.press("erase")
        for key in ("Enter", *["ArrowRight"] * 10, "Enter"):
            window.key(key)
        spacing = window.page.evaluate(
            "async () => { const { FrameStore } = await import('/ui/static/view-frame.js');"
            "const { id } = document.querySelector('#film a').dataset;"
            "const store = new FrameStore('/ui/instances/{id}/frames/{frame}/pixels');"
            "return (await store.get({ id, frame: 0 })).about.spacing; }"
        )
        window.expect("status", f"{10 * spacing['column']:.4g} mm")
        assert ":" in window.part("value").inner_text()
        window.key("Escape")

    def test_keys(self, window: Window) -> None:
        for key, place in (
            ("ArrowDown", 2),
            ("PageDown", 12),
            ("ArrowUp", 11),
            ("Home", 1),
            ("End", 12),
            ("PageUp", 2),
        ):
            window.key(key)
            window.expect("corner-place", f"Image {place} of 12")
        own = window.part("window").inner_text()
        window.key("]")
        window.key(".")
        assert window.part("window").inner_text() != own
        window.key("r")
        assert window.part("window").inner_text() == own
        for key in "+-01pzwioieet":
            window.key(key)
        window.key("t")
        window.key("Shift+ArrowLeft")
        window.key("?")
        window.page.keyboard.press("Escape")
        window.key(" ")
        wait_until(lambda: window.at() > 1, 10)
        window.key(" ")

    def test_wheel_and_other_buttons(self, window: Window) -> None:
        window.page.locator(".stage canvas").hover()
        window.page.mouse.wheel(0, 100)
        window.expect("corner-place", "Image 3 of 12")
        for button in ("middle", "right"):
            window.drag((0.5, 0.5), (0.6, 0.4), button)
        window.expect("value", ":")

    def test_the_filmstrip_follows_and_leads(self, window: Window, ct: str) -> None:
        film = window.page.locator("#film a")
        assert film.count() == 12
        assert film.nth(0).get_attribute("aria-current") == "true"
        film.nth(4).click()
        window.expect("corner-place", "Image 5 of 12")
        assert film.nth(4).get_attribute("aria-current") == "true"
        wait_until(lambda: f"instance={film.nth(4).get_attribute('data-id')}" in window.address(), 10)
        window.page.reload()
        window.shown()
        window.expect("corner-place", "Image 5 of 12")
        assert all(
            window.page.locator("#film img").evaluate_all("found => found.slice(0, 3).map((each) => each.naturalWidth)")
        )


def test_frames_of_a_cine_have_their_own_rate(browser: Any, gateway: Gateway) -> None:
    found = upload(gateway, pictures.file(pictures.ultrasound(jpeg=True)))
    window = Window(browser, gateway, f"/ui/instances/{found['ID']}?frame=3")
    window.expect("corner-place", "Frame 3 of 6")
    window.part("rate").select_option("30")
    window.press("play")
    seen = set[int]()
    wait_until(lambda: seen.add(window.at()) or len(seen) == 6, 10)
    window.press("play")
    assert window.page.locator('[data-tool="window"]').is_hidden()
    assert window.page.locator(".stage canvas").evaluate("canvas => canvas.width") > 300
    window.close()


def test_ultrasound_is_measured_in_the_scale_of_its_region(browser: Any, gateway: Gateway) -> None:
    made = pictures.ultrasound()
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 63, 63
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.05
    made.SequenceOfUltrasoundRegions = [region]
    made.SOPInstanceUID = generate_uid()
    found = upload(gateway, pictures.file(made))
    window = Window(browser, gateway, f"/ui/instances/{found['ID']}")
    window.press("measure")
    for key in ("Enter", *["Shift+ArrowLeft"] * 2, "Enter"):
        window.key(key)
    window.expect("status", "px")
    window.key("Escape")
    window.key("e")
    for key in (
        "Enter",
        *["Shift+ArrowLeft"] * 9,
        *["Shift+ArrowUp"] * 9,
        "Enter",
        "Enter",
        *["ArrowRight"] * 20,
        "Enter",
    ):
        window.key(key)
    window.expect("status", "10 mm")
    window.close()


def test_what_is_no_picture_leads_to_its_page(browser: Any, gateway: Gateway) -> None:
    found = upload(gateway, sample("test-SR.dcm").read_bytes())
    window = Window(browser, gateway, f"/ui/series/{found['ParentSeries']}", has_view=False)
    window.page.get_by_text("There is no picture of this").wait_for()
    window.page.get_by_role("link", name="Attributes and more").click()
    window.page.wait_for_url(f"**/ui/instances/{found['ID']}")
    window.page.close()
    assert [each for each in window.complaints if "415" not in each] == []


def test_overlays_can_be_turned_off(browser: Any, gateway: Gateway) -> None:
    found = upload(gateway, sample("examples_overlay.dcm").read_bytes())
    window = Window(browser, gateway, f"/ui/instances/{found['ID']}")
    button = window.page.locator('[data-do="overlay"]')
    assert button.get_attribute("aria-pressed") == "true"
    with_overlay = window.screenshot()
    button.click()
    wait_until(lambda: window.screenshot() != with_overlay, 10)
    window.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_window_scrolls_sideways(browser: Any, gateway: Gateway, ct: str, width: int, scheme: str) -> None:
    window = Window(browser, gateway, f"/ui/series/{ct}", width, scheme)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    assert window.page.locator(".stage canvas").bounding_box()["width"] > 300
    window.close()


def test_without_scripts_pictures_are_links(browser: Any, gateway: Gateway, ct: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{gateway.url}/ui/series/{ct}")
    page.locator("#film a").nth(2).click()
    page.get_by_role("img", name="The image").wait_for()
    context.close()


def test_a_series_is_labelled_and_deleted(browser: Any, gateway: Gateway) -> None:
    (series,) = {upload(gateway, pictures.file(each))["ParentSeries"] for each in pictures.mr(3)}
    window = Window(browser, gateway, f"/ui/series/{series}")
    page = window.page
    page.get_by_label("New label").fill("teaching")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Remove the label teaching").click()
    assert page.locator(".labels .tag").count() == 0
    page.get_by_text("Delete …").click()
    page.get_by_role("button", name="Delete the series").click()
    page.wait_for_url("**/ui/**")
    assert page.goto(f"{gateway.url}/ui/series/{series}").status == 404
    page.close()
    assert [each for each in window.complaints if "404" not in each] == []
