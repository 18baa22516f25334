"""Take screenshots of the running stack's dashboard: light and dark, desktop and phone.

make demo ARGS="--duration 600" &
make picture

A space's live numbers come from the stack. The history of past weeks, and the activity of film and
stream players, are made up here.
"""

import argparse
import math
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Error, Page, Request, Route, sync_playwright

from local import clock
from local.outputs import running_stack
from local.settings import ROOT, Settings, UsageError

_AS_PEOPLE_HAVE = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
    "Safari/537.36"
)
CHROMIUM_ARGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # As a person's browser: robots are not counted, and would show nothing.
    f"--user-agent={_AS_PEOPLE_HAVE}",
    "--disable-blink-features=AutomationControlled",
]
DESKTOP, PHONE = (1280, 900), (390, 844)


@dataclass(frozen=True)
class Shot:
    """A screenshot: the dashboard's address (fragment), its size, and what to scroll to."""

    name: str
    place: str
    size: tuple[int, int] = DESKTOP
    dark: bool = False
    scroll: str | None = None


SHOTS = [
    Shot("dashboard", "space=site:main"),
    Shot("dashboard-dark", "space=site:main", dark=True),
    Shot("dashboard-phone", "space=site:main", PHONE),
    Shot("dashboard-phone-dark", "space=site:main", PHONE, dark=True),
    Shot("dashboard-history", "space=site:main&tab=history"),
    Shot("dashboard-spaces", "view=spaces"),
    Shot("dashboard-live", "view=live"),
    Shot("dashboard-live-dark", "view=live", dark=True),
    Shot("dashboard-live-phone", "view=live", PHONE),
    Shot("dashboard-stream", "space=stream:open-stage&tab=stream"),
]


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def require_chromium() -> str:
    """The path of an installed Chromium or Chrome. UsageError if there is none."""
    chromium = find_chromium()
    if chromium is None:
        raise UsageError("Chromium is missing: install it (Debian: `apt install chromium`).")
    return chromium


def take(browser: Browser, url: str, shot: Shot, target: Path) -> None:
    """Open the dashboard, wait until it is live and has rows, and save a screenshot."""
    width, height = shot.size
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if shot.dark else "light",
        device_scale_factor=1,
    )
    if clock.moved_by():
        page.add_init_script(clock.page_script())
    for path, body in INVENTED.items():
        page.route(re.compile(path), answering(body))
    page.goto(f"{url}&{shot.place}")
    wait_for_rows(page, shot)
    page.get_by_test_id("connection").filter(has_text="Live").wait_for(timeout=30_000)
    if shot.scroll:
        page.locator(shot.scroll).scroll_into_view_if_needed()
        page.wait_for_timeout(2_000)
        page.locator(shot.scroll).evaluate("node => scrollTo(0, node.offsetTop - 16)")
    page.wait_for_timeout(1_500)  # the numbers' animation
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target)
    page.close()


def wait_for_rows(page: Page, shot: Shot) -> None:
    """Wait for the slowest part of the view."""
    tests = {"tab=history": "heat", "tab=people": "viewer", "tab=stream": "stream"}
    tests |= {"view=spaces": "space-row", "view=live": "activity"}
    row = next((row for place, row in tests.items() if place in shot.place), "top-page")
    page.get_by_test_id(row).first.wait_for(timeout=30_000)


# -------------------------------------------------------------------------------- made-up numbers


def answering(body: Callable[[Request], dict[str, Any] | None]) -> Callable[[Route], None]:
    def answer(route: Route) -> None:
        made = body(route.request)
        if made is None:
            route.continue_()
        else:
            route.fulfill(json={"success": True, **made})

    return answer


def crowd(at: datetime) -> int:
    """The people on a site for one region: most in the evening, fewer at the weekend."""
    hour = at.hour + at.minute / 60
    day = 0.12 + math.exp(-(((hour - 13) / 4.5) ** 2)) + 1.1 * math.exp(-(((hour - 20) / 2.2) ** 2))
    weekday = (1.0, 1.05, 1.1, 1.05, 0.95, 0.7, 0.62)[at.weekday()]
    return round(95 * day * weekday * (1 + 0.06 * math.sin(at.timestamp() / 700)))


def invented_timeline(request: Request) -> dict[str, Any] | None:
    """Weeks of minutes; None for the last hour, which is the stack's own."""
    query = parse_qs(urlsplit(request.url).query)
    first, last = (datetime.fromisoformat(query[name][0]) for name in ("from", "to"))
    if last - first < timedelta(hours=2):
        return None
    minutes = int((last - first) / timedelta(minutes=1))
    moments = [first + timedelta(minutes=number) for number in range(minutes)]
    return {
        "points": [
            {"at": at.isoformat(), "people": crowd(at), "sessions": crowd(at) * 5 // 4}
            for at in moments
        ]
    }


def invented_days(_: Request) -> dict[str, Any]:
    today = datetime.now(UTC)
    rows = []
    for number in range(29, -1, -1):
        at = today - timedelta(days=number)
        people = crowd(at.replace(hour=20)) * 9 + (number * 37) % 90
        rows.append(
            {
                "date": at.date().isoformat(),
                "uniquePeople": people,
                "uniqueSessions": people * 6 // 5,
                "uniqueUsers": people // 3,
                "views": people * 7 // 5,
                "beats": people * 11,
                "peak": crowd(at.replace(hour=20)),
                "avgSeconds": 240 + (number * 53) % 120,
                "engagement": {},
            }
        )
    return {"days": rows}


FILMS = [
    ("The Long Night Train", "movie", None, 5820),
    ("Signals", "tv", 3, 2700),
    ("A Garden of Forks", "documentary", None, 3300),
]
PLACES = ["US", "GB", "DE", "CA", "FR", "JP"]


def invented_activity(_: Request) -> dict[str, Any]:
    now = int(datetime.now(UTC).timestamp() * 1000)
    activities = []
    for number in range(24):
        title, kind, season, seconds = FILMS[(number * 5 + number // 4) % 3]
        watching = bool(number % 4)
        activities.append(
            {
                "userId": f"user_{'abcdefghijklmnopqrstuvwx'[number]}{number * 37 % 900}",
                "sessionId": f"session_{number}",
                "activityType": "watching" if watching else "browsing",
                "contentId": title,
                "contentTitle": title if watching else None,
                "contentType": kind,
                "seasonNumber": season,
                "episodeNumber": season and 1 + number % 6,
                "currentPosition": seconds * ((number * 41) % 97) // 100,
                "duration": seconds,
                "quality": ("1080p", "720p", "2160p")[number % 3] if watching else None,
                "deviceType": ("desktop", "mobile", "desktop", "tablet", "mobile")[number % 5],
                "country": PLACES[min(number % 6, number % 4)],
                "startedAt": now - number * 90_000,
                "lastHeartbeat": now - number * 1_300,
            }
        )
    watched = [one for one in activities if one["activityType"] == "watching"]
    top: list[dict[str, Any]] = [
        {
            "contentId": title,
            "contentTitle": title,
            "contentType": kind,
            "count": sum(one["contentId"] == title for one in watched),
        }
        for title, kind, _, _ in FILMS
    ]
    return {
        "activities": activities,
        "stats": {
            "totalActive": len(activities),
            "watching": len(watched),
            "browsing": len(activities) - len(watched),
            "byDevice": tallied(activities, "deviceType"),
            "byCountry": tallied(activities, "country"),
            "topContent": sorted(top, key=lambda one: one["count"], reverse=True),
        },
    }


def invented_stream(_: Request) -> dict[str, Any]:
    now = datetime.now(UTC)
    minutes = [now - timedelta(minutes=number) for number in range(59, -1, -1)]
    crowds = [round(180 * (1 - math.exp(-number / 14))) + number * 7 % 9 for number in range(60)]
    chats = [count // 9 + count * 31 % 11 for count in crowds]
    done = {"chatMessages": sum(chats), "reactions": 2_914, "shares": 88}
    metrics = {
        "currentViewers": crowds[-1],
        "peakViewers": max(crowds),
        "totalViews": 1_204,
        "avgViewDuration": 1_473,
        "quality": 1_046.2,
        "buffering": 7,
        "errors": 2,
    }
    real_time = {
        "bandwidth": 4_321.5,
        "latency": 84,
        "errorRate": 0.004,
        "uptime": 99.98,
        "viewerTimeline": [
            {"timestamp": at.isoformat(), "viewers": viewers, "chatActivity": chat}
            for at, viewers, chat in zip(minutes, crowds, chats, strict=True)
        ],
    }
    encoder = {"bandwidth": 6_000, "latency": 38, "errorRate": 0.004, "load": 0.41, "uptime": 99.98}
    started = (now - timedelta(minutes=59)).isoformat()
    return {
        "stream": {"title": "Open stage", "status": "live", "startedAt": started},
        "metrics": metrics,
        "realTime": real_time,
        "engagement": {**done, "perView": 2.9, "revenue": 412.5, "revenueToday": 96},
        "infrastructure": {"rtmp": {"at": now.isoformat(), "stale": False, "numbers": encoder}},
    }


def tallied(activities: list[dict[str, Any]], name: str) -> dict[str, int]:
    values = [one[name] for one in activities]
    return {value: values.count(value) for value in sorted(set(values))}


INVENTED = {
    "/timeline": invented_timeline,
    "/days": invented_days,
    "/api/analytics/live-activity": invented_activity,
    "/api/v1/analytics/comprehensive/": invented_stream,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make picture", description=__doc__)
    parser.add_argument("--target", type=Path, default=ROOT / "docs", help="the target folder")
    parser.add_argument("--only", help="only screenshots whose names contain this")
    args = parser.parse_args()
    shots = [shot for shot in SHOTS if not args.only or args.only in shot.name]
    try:
        _, outputs = running_stack(Settings.from_environment())
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=require_chromium(), args=CHROMIUM_ARGS
            )
            for shot in shots:
                target = args.target / f"{shot.name}.png"
                take(browser, outputs["dashboardUrl"], shot, target)
                print(f"saved {target}", flush=True)
            browser.close()
    except (UsageError, Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
