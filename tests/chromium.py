"""A headless Chromium to look at pages with: its DevTools protocol, spoken over two pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--hide-scrollbars", "--disable-extensions"),
)
SECONDS = 60.0


def chromium() -> str | None:
    """The browser's command, if this machine has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Page:
    """One page. `complaints` are what its console and its network had to say."""

    def __init__(self, commands: int, replies: int) -> None:
        self.commands, self.replies = commands, replies
        self.number = 0
        self.session = ""
        self.unread = b""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The browser's answer to one command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self.number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result
            self._hear(found)

    def open(self, file: Path) -> float:
        """Go to a file; returns the seconds until the page was loaded."""
        began = time.monotonic()
        self.loaded = False
        self.send("Page.navigate", url=file.resolve().as_uri())
        while not self.loaded:
            self._hear(self._next())
        return time.monotonic() - began

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def look(self, width: int, height: int, *, dark: bool = False, media: str = "screen") -> None:
        """Set the size of the window, and how the page is to be shown."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def screenshot(self, file: Path, *, whole: bool = False) -> Path:
        """A PNG of what is seen, or of the whole page."""
        taken = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))
        return file

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            read = os.read(self.replies, 1 << 20)
            assert read, "the browser went away"
            self.unread += read
        line, _, self.unread = self.unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _hear(self, message: dict[str, Any]) -> None:
        method, told = message.get("method", ""), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"][:80])
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(told["args"])[:500])


@contextmanager
def browsing() -> Iterator[Page]:
    """A page of a browser of its own, which ends with the block."""
    command = chromium()
    assert command, "no chromium here"
    to_browser, commands = os.pipe()
    replies, from_browser = os.pipe()
    with tempfile.TemporaryDirectory() as folder:

        def wire() -> None:
            # The protocol's pipes are descriptors 3 and 4; both ends may stand in the way.
            first, second = os.dup(to_browser), os.dup(from_browser)
            os.dup2(first, 3)
            os.dup2(second, 4)

        process = subprocess.Popen(
            [command, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=wire,
            close_fds=False,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Page(commands, replies)
        finally:
            process.terminate()
            process.wait(SECONDS)
            os.close(commands)
            os.close(replies)
