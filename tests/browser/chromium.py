"""A headless Chromium spoken to by its DevTools protocol: just what the tests of pages need."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Page:
    """One tab: goes to a page, evaluates expressions, and notes complaints and requests."""

    def __init__(self, socket):
        self._socket, self._number, self._session = socket, 0, None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def _send(self, method: str, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self) -> dict:
        message = json.loads(self._socket.recv(timeout=30))
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" if told["type"] in {"error", "warning", "assert"}:
                self.complaints.append(f"console.{told['type']}: {told['args']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            case "Log.entryAdded" if told["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(told["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True
        return message

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Take a size of the window, and light or dark."""
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                   deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, page: Path) -> None:
        self._loaded = False
        self._send("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str):
        found = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page, to its end."""
        found = self._send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def browser(program: str, folder: Path):
    """A tab of a Chromium that runs until the block ends; its profile is in `folder`."""
    from websockets.sync.client import connect

    errors = folder / "chromium.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        address = _address(errors, process)
        with connect(address, max_size=None, proxy=None) as socket:
            page = Page(socket)
            yield page
            page._session = None
            page._send("Browser.close")
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()


def _address(errors: Path, process) -> str:
    stop = time.monotonic() + 60
    while time.monotonic() < stop and process.poll() is None:
        if found := re.search(
            r"DevTools listening on (ws://\S+)", errors.read_text("utf-8", "replace")
        ):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"Chromium did not start: {errors.read_text('utf-8', 'replace')[-2000:]}")
