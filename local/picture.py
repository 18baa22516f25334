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
HISTORY = (1280, 1560)


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
    Shot("dashboard-history", "space=site:main&tab=history&period=week", HISTORY),
    Shot("dashboard-history-dark", "space=site:main&tab=history&period=week", HISTORY, dark=True),
    Shot("dashboard-history-phone", "space=site:main&tab=history", PHONE),
    Shot("dashboard-spaces", "view=spaces"),
    Shot("dashboard-live", "view=live"),
    Shot("dashboard-live-dark", "view=live", dark=True),
    Shot("dashboard-live-phone", "view=live", PHONE),
    Shot("dashboard-stream", "space=stream:open-stage&tab=stream"),
]


VIEWS = {
    "spaces": "view=spaces",
    "space": "space=site:main&range=day",
    "space-hour": "space=site:main",
    "history": "space=site:main&tab=history",
    "history-week": "space=site:main&tab=history&period=week&compare=week",
    "people-of-space": "space=site:main&tab=people",
    "stream": "space=stream:open-stage&tab=stream",
    "live": "view=live",
    "streams": "view=streams",
    "people": "view=people&person=u:ada",
    "connection": "view=connection",
    "wall": "space=site:main&show=wall",
}
EVERY = [
    Shot(f"{name}{'-phone' * (size == PHONE)}{'-dark' * dark}", place, size, dark)
    for name, place in VIEWS.items()
    for size in (DESKTOP, PHONE)
    for dark in (False, True)
]
"""Every view, light and dark, on a desktop and a phone: to look at."""


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
    tests |= {"view=streams": "stream-row", "view=people": "person", "view=connection": "socket"}
    tests |= {"show=wall": "people"}
    row = next((row for place, row in tests.items() if place in shot.place), "top-page")
    page.get_by_test_id(row).first.wait_for(timeout=30_000)
    if "tab=history" in shot.place:
        page.locator("#heat-note", has_text="Busiest").wait_for(timeout=30_000)
    elif shot.place.startswith("space=site:main") and "tab=" not in shot.place:
        page.locator("#key-before:not([hidden])").first.wait_for(state="attached", timeout=30_000)


# -------------------------------------------------------------------------------- made-up numbers


def answering(body: Callable[[Request], dict[str, Any] | None]) -> Callable[[Route], None]:
    def answer(route: Route) -> None:
        made = body(route.request)
        if made is None:
            route.continue_()
        else:
            route.fulfill(json={"success": True, **made})

    return answer


def crowd(at: datetime) -> float:
    """The people on a site for one region: most in the evening, fewer at the weekend, a little more
    every week, and a newsletter on the Thursday before last."""
    hour = at.hour + at.minute / 60
    day = 0.12 + math.exp(-(((hour - 13) / 4.5) ** 2)) + 1.1 * math.exp(-(((hour - 20) / 2.2) ** 2))
    weekday = (1.0, 1.05, 1.1, 1.05, 0.95, 0.7, 0.62)[at.weekday()]
    week = at.timestamp() / timedelta(weeks=1).total_seconds()
    season = 1 + 0.05 * math.sin(week * 1.7) + 0.035 * (week - _now_in_weeks())
    noise = 1 + 0.08 * math.sin(at.timestamp() / 5_300) + 0.05 * math.sin(at.timestamp() / 901)
    since = (at - newsletter()).total_seconds() / 3600
    campaign = 1 + 1.4 * math.exp(-since / 5) if since > 0 else 1
    return 95 * day * weekday * season * noise * campaign


def _now_in_weeks() -> float:
    return datetime.now(UTC).timestamp() / timedelta(weeks=1).total_seconds()


def newsletter() -> datetime:
    """The Thursday before last, at ten."""
    today = datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0)
    return today - timedelta(days=(today.weekday() - 3) % 7 + 7)


def series(start: datetime, end: datetime, step: timedelta) -> dict[str, Any]:
    """Made-up steps until now."""
    moments = [start + n * step for n in range(math.ceil((end - start) / step))]
    now = datetime.now(UTC) - timedelta(minutes=1)
    people = [round(crowd(at), 2) if at < now else None for at in moments]
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "people": people,
        "sessions": [one and round(one * 1.2, 2) for one in people],
        "peaks": [one and round(one * 1.06 + 1) for one in people],
    }


def invented_history(request: Request) -> dict[str, Any]:
    """Steps, the time before, and the quartiles of four weeks."""
    query = {name: one[0] for name, one in parse_qs(urlsplit(request.url).query).items()}
    step = timedelta(minutes=int(query["step"]))
    start, end = (
        datetime.fromtimestamp(
            datetime.fromisoformat(query[name]).timestamp()
            // step.total_seconds()
            * step.total_seconds(),
            UTC,
        )
        for name in ("from", "to")
    )
    end = max(end, start + step)
    marks = [
        (newsletter(), "mark", "Newsletter 47"),
        (newsletter() + timedelta(days=5, hours=4), "mark", "Release 2.3"),
        (newsletter() + timedelta(days=9, hours=8), "message", "Open stage tonight at eight."),
    ]
    body: dict[str, Any] = {
        "step": int(query["step"]),
        "since": (datetime.now(UTC) - timedelta(days=200)).isoformat(),
        "marks": [
            {"at": at.isoformat(), "what": what, "text": text}
            for at, what, text in marks
            if start <= at <= min(end, datetime.now(UTC))
        ],
        **series(start, end, step),
    }
    if "compare" in query:
        earlier = datetime.fromisoformat(query["compare"])
        body["compared"] = series(earlier, earlier + (end - start), step)
    if "usual" in query:
        weeks = [
            sorted(crowd(start + n * step - timedelta(weeks=week)) for week in range(1, 5))
            for n in range(len(body["people"]))
        ]
        body["usual"] = {
            "weeks": 4,
            "low": [round(one[0] / 4 + one[1] * 3 / 4, 2) for one in weeks],
            "median": [round((one[1] + one[2]) / 2, 2) for one in weeks],
            "high": [round(one[2] * 3 / 4 + one[3] / 4, 2) for one in weeks],
        }
    return body


def invented_days(request: Request) -> dict[str, Any]:
    """Days whose views follow the people."""
    query = {name: one[0] for name, one in parse_qs(urlsplit(request.url).query).items()}
    day, last = (datetime.fromisoformat(f"{query[name]}T00:00:00+00:00") for name in ("from", "to"))
    now = datetime.now(UTC)
    rows = []
    while day <= last:
        moments = [day + n * timedelta(minutes=15) for n in range(96)]
        here = [crowd(at) for at in moments if at < now]
        views = [round(one * 0.9) for one in here]
        people = sum(views) * 5 // 7
        rows.append(
            {
                "date": day.date().isoformat(),
                "uniquePeople": people,
                "uniqueSessions": people * 6 // 5,
                "uniqueUsers": people // 3,
                "views": sum(views),
                "beats": people * 11,
                "peak": round(max(here) * 1.06 + 1),
                "avgSeconds": 240 + day.toordinal() * 53 % 120,
                "engagement": {},
                "viewsByQuarter": views,
            }
        )
        day += timedelta(days=1)
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
    "/history": invented_history,
    "/days": invented_days,
    "/api/analytics/live-activity": invented_activity,
    "/api/v1/analytics/comprehensive/": invented_stream,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make picture", description=__doc__)
    parser.add_argument("--target", type=Path, default=ROOT / "docs", help="the target folder")
    parser.add_argument("--only", help="only screenshots whose names contain this")
    parser.add_argument("--every", action="store_true", help="every view instead, to look at")
    args = parser.parse_args()
    wanted = EVERY if args.every else SHOTS
    shots = [shot for shot in wanted if not args.only or args.only in shot.name]
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
