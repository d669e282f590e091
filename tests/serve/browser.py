"""A real browser without a window, driven over the WebDriver protocol (W3C): Debian's chromium and its chromedriver."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, in the standard
PATIENCE = 60.0  # seconds
MISSING = "no browser: apt-get install chromium chromium-driver"
ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run", "--force-color-profile=srgb"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),  # a camera that anybody has
)


def is_installed() -> bool:
    """Tell whether there is a browser and what drives it."""
    return shutil.which("chromedriver") is not None and shutil.which("chromium") is not None


class Browser:
    """One tab."""

    def __init__(self, port: int, folder: Path):
        self.base, self.folder = f"http://127.0.0.1:{port}", folder
        options = {
            "args": [*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"],
            "binary": shutil.which("chromium"),
        }
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        wanted["alwaysMatch"]["goog:loggingPrefs"] = {"browser": "ALL"}
        made = self.call("POST", "/session", {"capabilities": wanted})
        self.base += f"/session/{made['sessionId']}"
        self.emulate("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def call(self, method: str, path: str, value: Any = None) -> Any:
        """Send a command and return its value."""
        data = None if method == "GET" else json.dumps(value or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, address: str) -> None:
        self.call("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function, and return what it returns; of a promise, what that comes to."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        """Return the id of an element."""
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector: str) -> None:
        self.call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type into a field; into one of files, their paths."""
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def move(self, selector: str, x: int, y: int) -> None:
        """Move the pointer to so many pixels from the centre of an element."""
        at = {"type": "pointerMove", "duration": 0, "origin": {ELEMENT: self.find(selector)}, "x": x, "y": y}
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [at]}]})

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def wait(self, script: str, *arguments: Any) -> Any:
        """Run a script again and again until it returns something true, and return that."""
        return until(lambda: self.run(script, *arguments), script)

    def emulate(self, name: str, **values: Any) -> None:
        """Send a command of the DevTools protocol."""
        self.call("POST", "/goog/cdp/execute", {"cmd": name, "params": values})

    def complaints(self) -> list[str]:
        """Return what the browser had to complain of since it was last asked."""
        return [row["message"] for row in self.call("POST", "/se/log", {"type": "browser"}) if row["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))


def until(done: Callable[[], Any], what: str) -> Any:
    """Ask again and again until the answer is true, and return it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := done():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"after {PATIENCE:g} s still not: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Start a browser whose downloads go to a folder, and end it."""
    port = free_port()
    command = ["chromedriver", f"--port={port}", "--log-level=OFF"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        try:
            until(lambda: _is_ready(port), "chromedriver is ready")
            browser = Browser(port, folder)
            try:
                yield browser
            finally:
                browser.call("DELETE", "")
        finally:
            driver.terminate()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=PATIENCE) as answer:
            return json.load(answer)["value"]["ready"]
    except OSError:
        return False
