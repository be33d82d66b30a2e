"""A real browser for the tests: Chromium without a window, started once, and everything a page says or asks for."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.waiting import wait_until

WAIT_S = 120.0  # a busy machine is no defect


class Browser:
    """Every `open` is a page of its own: `said` and `asked` are of the page that is open."""

    def __init__(self) -> None:
        binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
        assert binary, "chromium is not installed: scripts/install-browser"
        assert driver, "chromedriver is not installed: scripts/install-browser"
        options = ChromeOptions()
        options.binary_location = binary
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--no-first-run",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(WAIT_S)
        self.asked: list[str] = []

    def open(self, address: Path | str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of this size, as a system in light or dark colours shows it."""
        self.driver.get("about:blank")
        self.said()
        self.requests()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.driver.get(address.absolute().as_uri() if isinstance(address, Path) else address)

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str) -> Any:
        """The value of a JavaScript function's body."""
        return self.driver.execute_script(script)

    def wait_for(self, script: str) -> Any:
        """What a JavaScript expression says as soon as it is true."""
        return wait_until(lambda: self.run(f"return {script}"))

    def said(self) -> list[str]:
        """Lines of the console since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last time; what a page carries within itself (data:, blob:) is none."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def picture(self, target: Path, *, whole: bool = True) -> None:
        """A PNG of the page, to look at."""
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
        given = {"captureBeyondViewport": True, "clip": clip} if whole else {}
        target.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", **given)["data"]))

    def close(self) -> None:
        self.driver.quit()
