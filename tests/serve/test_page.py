"""The page in a real browser: pictures dropped and pasted, what is drawn over them, filters, downloads, and errors."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import uvicorn

from tests.serve.browser import MISSING, Browser, browsing, free_port, is_installed, until
from tests.serve.finder import Finder, coded, picture
from vidi.generative.gan.original import gan
from vidi.serve.app import make_app
from vidi.serve.limits import Limits
from vidi.serve.served import Served

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)

RED_BOX, BLUE_BOX = [20, 40, 80, 100], [100, 10, 140, 50]
RED, BLUE, GREY = (230, 159, 0), (86, 180, 233), (128, 128, 128)  # of the classes on the page; the ground of pictures

PIXEL = """
const canvas = document.getElementById("canvas"), scale = canvas.width / arguments[2];
return [...canvas.getContext("2d").getImageData(arguments[0] * scale, arguments[1] * scale, 1, 1).data].slice(0, 3);
"""
FOUND = "return document.getElementById('summary').textContent.includes(arguments[0])"
SLIDE = """
const slider = document.getElementById("threshold");
slider.value = arguments[0];
slider.dispatchEvent(new Event("input"));
"""
DROP = """
const bytes = Uint8Array.from(atob(arguments[1]), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[2], { type: "image/png" }));
const event = arguments[0] === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
  : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of a finder and of a generator."""
    served = [Served("finder", Finder()), Served("maker", gan(size=(16, 16), hidden=16))]
    port = free_port()
    app: Any = make_app(served, limits=Limits(bytes=500_000, samples=4, seconds=600))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the server has started")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(tab: Browser, address: str) -> Browser:
    """The page, just opened."""
    tab.open(address)
    tab.wait("return !document.getElementById('looking').hidden")
    tab.complaints()
    return tab


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with a red and a blue thing."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    path.write_bytes(coded(picture((120, 160), red=RED_BOX, blue=BLUE_BOX)))
    return path


def is_near(pixel: list[int], colour: tuple[int, int, int], most: int = 40) -> bool:
    return max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) <= most


def upload(page: Browser, path: Path) -> None:
    page.type("#files", str(path))
    page.wait("return !document.getElementById('downloads').hidden")


def pixel(page: Browser, x: float, y: float) -> list[int]:
    """Return the colour on the canvas at a point of the picture, which is 160 pixels wide."""
    return page.run(PIXEL, x, y, 160)


def test_a_picture_that_is_uploaded_is_shown_with_what_was_found(page: Browser, photo: Path) -> None:
    upload(page, photo)
    page.wait(FOUND, "photo.png: 1 red")
    assert is_near(pixel(page, RED_BOX[0], 90), RED)  # the box
    assert not is_near(pixel(page, 50, 90), (255, 0, 0), 20)  # the mask tints the thing
    assert pixel(page, 5, 110) == list(GREY)
    assert is_near(pixel(page, 120, 30), (0, 0, 255), 5)  # what scores 0.4 is not marked
    assert page.text("#found li span:nth-child(2)") == "red"
    assert page.complaints() == []


def test_the_threshold_acts_at_once(page: Browser, photo: Path) -> None:
    upload(page, photo)
    page.run(SLIDE, 0.3)
    assert page.text("#summary") == "photo.png: 1 red, 1 blue"
    assert page.text("#threshold-value") == "0.30"
    assert is_near(pixel(page, BLUE_BOX[0], 45), BLUE)
    page.run(SLIDE, 0.95)
    assert page.text("#summary") == "photo.png: nothing above 0.95 (best 0.90)"
    assert pixel(page, 50, 90) == [255, 0, 0]


def test_classes_are_hidden_at_once(page: Browser, photo: Path) -> None:
    upload(page, photo)
    page.run(SLIDE, 0.3)
    page.click("#class-list input[value=red]")
    assert page.text("#summary") == "photo.png: 1 blue"
    assert pixel(page, 50, 90) == [255, 0, 0]
    page.click("#class-list input[value=red]")
    assert page.text("#summary") == "photo.png: 1 red, 1 blue"


def test_the_pointer_is_told_what_is_below_it(page: Browser, photo: Path) -> None:
    upload(page, photo)
    width = page.run("return document.getElementById('canvas').getBoundingClientRect().width")
    page.move("#canvas", round((50 - 80) * width / 160), round((70 - 60) * width / 160))
    assert page.text("#value") == "red 0.90"
    page.move("#canvas", round((5 - 80) * width / 160), round((110 - 60) * width / 160))
    assert page.run("return document.getElementById('value').hidden")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(page: Browser, way: str) -> None:
    data = base64.b64encode(coded(picture((30, 40), blue=[0, 0, 20, 20], red=[30, 0, 40, 10]))).decode()
    page.run(DROP, way, data, "dropped.png")
    page.wait(FOUND, "dropped.png: 1 red")


def test_what_cannot_be_read_is_told_beside_what_can(page: Browser, photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:200])
    page.type("#files", f"{photo}\n{broken}")
    page.wait("return document.querySelectorAll('#strip .bad').length === 1")
    page.click("#strip button:nth-child(2)")
    assert page.text("#summary").startswith("broken.png: damaged image")
    assert page.run("return document.getElementById('summary').className") == "bad"
    assert page.run("return document.getElementById('canvas').hidden")  # not the other picture beside the error
    page.press("\ue012")  # the left arrow
    page.wait(FOUND, "photo.png: 1 red")


def test_a_picture_that_is_too_large_is_told_before_it_is_sent(page: Browser, tmp_path: Path) -> None:
    large = tmp_path / "large.bmp"
    PIL.Image.new("RGB", (600, 600)).save(large)
    page.type("#files", str(large))
    page.wait(FOUND, "large.bmp has 1 MB; the server takes 0.48 MB")


def test_the_json_holds_what_is_shown_and_the_picture_what_is_drawn(page: Browser, photo: Path) -> None:
    upload(page, photo)
    page.click("#save-json")
    path = page.folder / "photo.json"
    until(path.is_file, "the JSON has come")
    saved = json.loads(path.read_text())
    assert [thing["name"] for thing in saved["result"]["objects"]] == ["red"]
    assert (saved["image"], saved["model"], saved["threshold"]) == ("photo.png", "finder", 0.5)
    page.press("p")
    path = page.folder / "photo-found.png"
    until(path.is_file, "the picture has come")
    with PIL.Image.open(path) as drawn:
        assert drawn.size == (640, 480)
        edge = drawn.convert("RGB").getpixel((RED_BOX[0] * 4, 280))
    assert is_near(list(edge), RED)  # type: ignore[arg-type]


def test_keys_move_the_threshold_and_show_the_picture_alone(page: Browser, photo: Path) -> None:
    upload(page, photo)
    page.press("[", "[", "[")
    assert page.text("#threshold-value") == "0.35"
    page.press("]")
    assert page.text("#threshold-value") == "0.40"
    page.run("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'h', bubbles: true }))")
    assert pixel(page, 50, 90) == [255, 0, 0]
    page.run("document.body.dispatchEvent(new KeyboardEvent('keyup', { key: 'h', bubbles: true }))")
    assert pixel(page, 50, 90) != [255, 0, 0]


def test_the_camera_takes_a_picture(page: Browser) -> None:
    page.click("#camera")
    page.wait("return document.getElementById('video').videoWidth > 0")
    page.click("#take")
    page.wait(FOUND, "camera-")
    assert page.run("return document.getElementById('video').srcObject.active") is False


def test_pictures_are_made_as_they_are_asked_for(page: Browser) -> None:
    page.run(
        "const list = document.getElementById('model'); list.value = 'maker'; list.dispatchEvent(new Event('change'))"
    )
    assert page.run("return document.getElementById('looking').hidden")
    page.click("#make")
    page.wait("return document.querySelectorAll('#gallery img').length === 4")
    first = page.run("return document.querySelector('#gallery img').src")
    assert page.text("#gallery figcaption").startswith("seed 0")
    page.click("#dice")
    page.wait("return document.querySelector('#gallery figcaption').textContent.startsWith('seed 4')")
    assert page.run("return document.querySelector('#gallery img').src") != first
    page.run("document.querySelector('[name=truncation]').value = -1")
    page.run("document.querySelector('#wish-more').open = true")
    page.click("#make")
    page.wait("return document.getElementById('status').textContent.includes('truncation')")
    assert page.run("return document.getElementById('status').className") == "bad"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_eyes_and_fits_a_phone(page: Browser, photo: Path, scheme: str) -> None:
    upload(page, photo)
    page.emulate("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.emulate("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    try:
        ground = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) > 380) == (scheme == "light")
        assert page.run("return document.documentElement.scrollWidth") <= 360
    finally:
        page.emulate("Emulation.clearDeviceMetricsOverride")
        page.emulate("Emulation.setEmulatedMedia", features=[])
