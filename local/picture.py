"""Take the README's picture of the dashboard: the running stack's own, in a real browser.

make demo ARGS="--duration 600" &
make picture
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

from local.outputs import running_stack
from local.settings import ROOT, Settings, UsageError

CHROMIUM_ARGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def take(url: str, target: Path, *, dark: bool, width: int, height: int) -> None:
    """Open the dashboard, wait until it is live and has rows, and keep what it shows."""
    chromium = find_chromium()
    if chromium is None:
        raise UsageError("There is no Chromium here: install one (Debian: `apt install chromium`).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=1,
        )
        page.goto(url)
        page.get_by_test_id("top-page").first.wait_for(timeout=30_000)
        page.get_by_test_id("viewer").first.wait_for(timeout=30_000)
        page.get_by_test_id("connection").filter(has_text="Live").wait_for(timeout=30_000)
        page.wait_for_timeout(1_000)  # the numbers' animation
        target.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target)
        browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make picture", description=__doc__)
    parser.add_argument("--target", type=Path, default=ROOT / "docs" / "dashboard.png")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=900)
    given = parser.parse_args()
    try:
        _, outputs = running_stack(Settings.from_environment())
        url = outputs["dashboardUrl"]
        take(url, given.target, dark=given.dark, width=given.width, height=given.height)
    except (UsageError, Error) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"kept in {given.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
