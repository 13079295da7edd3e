"""A headless Chromium that is driven over a pipe (the DevTools protocol): keys, sizes, colours, console, screenshots."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
KEYS = {"Tab": 9, "Enter": 13, "Space": 32}
# The protocol is spoken over descriptors 3 and 4: both ends are put there, from wherever they are, and Chromium begun.
PUT_IN_PLACE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in zip((3, 4), ends):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


class CannotTellError(Exception):
    """The page has no answer: its script threw, or it is just being left."""


class Browser:
    """One page. What its scripts throw, log or are refused is in `console`."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.console: list[str] = []
        self.requested: list[str] = []
        self._loader, self._loaded = "", False
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Open an address and wait until everything of it is loaded."""
        loader = self._send("Page.navigate", url=address)["loaderId"]
        self.until(lambda: self._loader == loader and self._loaded, "the page did not load")

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and whether the person likes it dark."""
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        value = "dark" if dark else "light"
        self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key, or type a character."""
        named = {"key": "Enter" if key == "Enter" else key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, 0)}
        text = {"Enter": "\r", "Space": " ", "Tab": ""}.get(key, key)
        if key == "Space":
            named["key"] = " "
        down = {"text": text} if text else {}
        self._send("Input.dispatchKeyEvent", type="keyDown", modifiers=8 if shift else 0, **named, **down)
        self._send("Input.dispatchKeyEvent", type="keyUp", modifiers=8 if shift else 0, **named)

    def type(self, text: str) -> None:
        """Put text where the focus is."""
        self._send("Input.insertText", text=text)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        done = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise CannotTellError(done["exceptionDetails"])
        return done["result"].get("value")

    def until(self, holds: Any, otherwise: str, *, seconds: float = 30.0) -> None:
        """Wait until a function or an expression in the page is true.

        Between two pages there is none that could tell.
        """
        end = time.monotonic() + seconds
        trouble: object = ""
        while True:
            try:
                if self.ask(holds) if isinstance(holds, str) else holds():
                    return
            except CannotTellError as error:
                trouble = error
            assert time.monotonic() < end, f"{otherwise} {trouble}"
            self._pump(0.02)

    def shoot(self, path: Path, *, whole: bool = True) -> None:
        """Write a screenshot as PNG."""
        done = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(done["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self._send("Browser.close")

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write_fd, data) :]
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for reply in self._pump(1.0):
                if reply.get("id") == number:
                    if "error" in reply:
                        raise CannotTellError(method, reply["error"])
                    return reply["result"]
        raise AssertionError(f"the browser did not answer {method}")

    def _pump(self, seconds: float) -> list[dict[str, Any]]:
        """Read what has come, note its events, and return the replies."""
        if select.select([self._read_fd], [], [], seconds)[0]:
            self._buffer += os.read(self._read_fd, 1 << 20)
        *whole, self._buffer = self._buffer.split(b"\0")
        messages = [json.loads(one) for one in whole]
        for message in messages:
            self._note(message.get("method", ""), message.get("params", {}))
        return [message for message in messages if "id" in message]

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.frameNavigated":
            self._loader, self._loaded = params["frame"]["loaderId"], False
        elif method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.console.append(f"{params['type']}: {[arg.get('value') for arg in params['args']]}")
        elif method == "Log.entryAdded":
            self.console.append(
                f"{params['entry']['level']}: {params['entry']['text']} {params['entry'].get('url', '')}"
            )
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile in `folder`, and end it."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [sys.executable, "-c", PUT_IN_PLACE, str(to_read), str(from_write), str(CHROMIUM), *FLAGS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        browser = Browser(from_read, to_write)
        yield browser
        browser.close()
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
        os.close(from_read)
        os.close(to_write)
