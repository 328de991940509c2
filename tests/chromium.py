"""A real browser for tests: Chromium, driven through its debugging pipe (the DevTools protocol, without a library)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--no-first-run",
)
_FOCUSED = """(() => { const one = document.activeElement; const s = getComputedStyle(one);
    return [one.tagName, s.outlineStyle, parseFloat(s.outlineWidth)]; })()"""


class Browser:
    """One tab of a browser; use it in `with`."""

    def __init__(self, profile: Path) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        # The browser reads commands from its third and writes answers to its fourth file.
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', str(CHROMIUM), *_FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"], pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._number, self._buffer = 0, b""
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        targets = self._call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result
            self._events.append(found)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._in.fileno(), 1 << 16)
            assert data, "the browser has gone"
            self._buffer += data
        one, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(one)
        return found

    def _wait(self, event: str) -> None:
        while not any(one.get("method") == event for one in self._events):
            self._events.append(self._next())

    def look(self, *, width: int = 1000, height: int = 900, dark: bool = False) -> None:
        """What the window is like from now on."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is there."""
        self._events.clear()
        self._call("Page.navigate", url=url)
        self._wait("Page.loadEventFired")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def click(self, selector: str, *, loads: bool = False) -> None:
        """Clicks into the middle of an element with the mouse; `loads` where another page follows."""
        x, y = self.ask(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView(); "
            "const b = one.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self._events.clear()
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        if loads:
            self._wait("Page.loadEventFired")

    def press(self, key: str, code: int, *, loads: bool = False) -> None:
        """Presses a key."""
        self._events.clear()
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        for kind in ("keyDown", "keyUp"):
            given = text if kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **given)
        if loads:
            self._wait("Page.loadEventFired")

    def focused(self) -> tuple[str, str, float]:
        """The element that has the focus, and the outline that shows it."""
        tag, style, width = self.ask(_FOCUSED)
        return tag, style, width

    def picture(self, file: Path) -> None:
        """A picture of the whole page."""
        done = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(done["data"]))

    def complaints(self) -> list[str]:
        """What the browser said of the page since it was opened: errors of scripts, of the policy, of loading."""
        return [
            json.dumps(one["params"])
            for one in self._events
            if one.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Network.loadingFailed")
        ]

    def cookies(self) -> list[Any]:
        """The cookies that the browser has."""
        found: list[Any] = self._call("Network.getCookies")["cookies"]
        return found

    def use_log(self) -> None:
        """Tells of what the security policy refuses, too."""
        self._call("Log.enable")
