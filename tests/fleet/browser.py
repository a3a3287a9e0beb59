"""A headless Chromium, spoken to over its own DevTools protocol on two pipes.

Messages are JSON, each ended by a zero byte; the browser reads them from its file
descriptor 3 and writes to 4. No port is opened.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds for one answer, or for a page to load, on a busy machine."""

OPTIONS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root, and open pages of their own only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)


class BrowserError(Exception):
    """The browser did not do as it was told."""


def chromium() -> str:
    """The browser's path; without one the test is skipped, but never where CI is set."""
    path = shutil.which("chromium")
    if path is None:
        why = "chromium is missing: install Debian's package of that name"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return path


def dump(url: str) -> str:
    """The document as it stands after its scripts ran, written as HTML."""
    with tempfile.TemporaryDirectory() as profile:
        argv = (chromium(), *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", url)
        done = subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE)
    return done.stdout.decode("utf-8")


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str, *, scripts: bool = True) -> None:
        self.browser = browser
        self.session = session
        self._scripts = scripts

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol on this tab."""
        return self.browser.send(method, session=self.session, **params)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, which the page's own policy does not bind."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, url: str) -> float:
        """Load a page; the seconds until it had loaded and, where scripts run, was drawn once."""
        started = time.monotonic()
        answer = self.send("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.browser.wait("Page.loadEventFired", self.session)
        if self._scripts:
            self.send(
                "Runtime.evaluate",
                expression="new Promise(done => requestAnimationFrame(() => setTimeout(done)))",
                awaitPromise=True,
            )
        return time.monotonic() - started

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page this many CSS pixels."""
        size: dict[str, Any] = {"width": width, "height": height, "mobile": phone}
        self.send("Emulation.setDeviceMetricsOverride", deviceScaleFactor=2, **size)

    def media(self, kind: str = "", **features: str) -> None:
        """Show the page as for ``print``, or with features such as a dark colour scheme."""
        named = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.send("Emulation.setEmulatedMedia", media=kind, features=named)

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element."""
        where = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            "return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def key(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed
            )

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.send("Input.insertText", text=text)

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """What the browser told of this tab by itself, of these kinds."""
        return [
            event
            for event in self.browser.events
            if event["method"] in methods and event.get("sessionId") == self.session
        ]


class Browser:
    """A browser with a profile of its own; ``start`` makes one and ends it."""

    def __init__(self, read_from: int, write_to: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._read_from = read_from
        self._write_to = write_to
        self._pending = b""
        self._last = 0

    def send(self, method: str, *, session: str = "", **params: Any) -> dict[str, Any]:
        """Call a method, and wait for its answer."""
        self._last += 1
        call: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session:
            call["sessionId"] = session
        data = json.dumps(call).encode() + b"\0"
        while data:
            data = data[os.write(self._write_to, data) :]
        for message in self._messages():
            if message.get("id") == self._last:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
        raise BrowserError(f"no answer to {method} within {PATIENCE:.0f} s")

    def wait(self, method: str, session: str) -> None:
        """Wait for an event of a tab, unless it was told of already; it is used up."""
        for event in self.events:
            if event["method"] == method and event.get("sessionId") == session:
                self.events.remove(event)
                return
        for event in self._messages():
            if event.get("method") == method and event.get("sessionId") == session:
                self.events.remove(event)
                return
        raise BrowserError(f"no {method} within {PATIENCE:.0f} s")

    def page(self, *, scripts: bool = True) -> Page:
        """A new tab."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, scripts=scripts)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        if not scripts:
            page.send("Emulation.setScriptExecutionDisabled", value=True)
        page.resize(1320, 900)
        return page

    def _messages(self) -> Iterator[dict[str, Any]]:
        """What the browser says until the patience ends; events are also kept."""
        end = time.monotonic() + PATIENCE
        while True:
            while b"\0" in self._pending:
                raw, self._pending = self._pending.split(b"\0", 1)
                message: dict[str, Any] = json.loads(raw)
                if "method" in message:
                    self.events.append(message)
                yield message
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._read_from], [], [], left)[0]:
                return
            data = os.read(self._read_from, 1 << 20)
            if not data:
                raise BrowserError("the browser ended")
            self._pending += data


@contextmanager
def start() -> Iterator[Browser]:
    """A browser, for as long as the context lasts."""
    path = chromium()
    child_in, write_to = os.pipe()
    read_from, child_out = os.pipe()
    # A shell puts the pipes where the browser looks for them.
    shell = f'exec "$@" 3</dev/fd/{child_in} 4>/dev/fd/{child_out}'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        argv = (path, *OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-pipe")
        process = subprocess.Popen(
            ("sh", "-c", shell, "sh", *argv, "about:blank"),
            pass_fds=(child_in, child_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_in)
        os.close(child_out)
        browser = Browser(read_from, write_to)
        try:
            yield browser
            browser.send("Browser.close")
        finally:
            os.close(write_to)
            os.close(read_from)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
