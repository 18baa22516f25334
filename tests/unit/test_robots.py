"""Who is a robot, by its User-Agent."""

from __future__ import annotations

import re

import pytest
from headcount.web.robots import robot_of

from local import robots

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/"
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko) "
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT}"
ANDROID = "Mozilla/5.0 (Linux; Android 14; {}) AppleWebKit/537.36 (KHTML, like Gecko) "

PEOPLE = [
    "",
    CHROME + "131.0.0.0 Safari/537.36",
    CHROME + "131.0.0.0 Safari/537.36 Edg/131.0.0.0",
    CHROME + "131.0.0.0 Safari/537.36 OPR/116.0.0.0",
    CHROME + "131.0.0.0 Safari/537.36 Vivaldi/7.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT}Version/17.5 Safari/605.1.15",
    IPHONE + "Version/17.5 Mobile/15E148 Safari/604.1",
    IPHONE + "CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1",
    IPHONE + "Mobile/15E148 [FBAN/FBIOS;FBAV/465.0.0.31;FBBV/602664456]",
    IPHONE + "Mobile/15E148 Instagram 334.0.4.32.98 (iPhone15,3; iOS 17_5; en_US)",
    IPHONE + "Mobile/15E148 [LinkedInApp]/9.29.8962",
    IPHONE + "Mobile/15E148 [Pinterest/iOS]",
    IPHONE + "GSA/319.0 Mobile/15E148 Safari/604.1",
    IPHONE + "Mobile/15E148 MicroMessenger/8.0.49 NetType/WIFI Language/zh_CN",
    IPHONE + "Mobile/15E148 Snapchat/12.90.0.46 (like Safari/8618.2.12, panda)",
    IPHONE + "Mobile/15E148 Safari Line/14.8.0",
    IPHONE + "Mobile/15E148 musical_ly_34.9.0 BytedanceWebview/d8a21c6",
    IPHONE + "Mobile/15E148 Twitter for iPhone/10.46",
    ANDROID.format("SM-S918B") + "SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
    ANDROID.format("CUBOT X70") + "Chrome/131.0.0.0 Mobile Safari/537.36",
    ANDROID.format("Pixel 8; wv") + "Version/4.0 Chrome/131.0.0.0 Mobile Safari/537.36",
    ANDROID.format("KFTRWI") + "Silk/131.1.1 like Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (PlayStation 5 3.03/SmartTV) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) {WEBKIT}94.0.4606.31/7.0 TV Safari/537.36",
    "Opera/9.80 (Android; Opera Mini/36.2/119.132; U; en) Presto/2.12.423 Version/12.16",
    *robots.TOOLS,
]

ROBOTS = [
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
    (
        ANDROID.format("Nexus 5X")
        + "Chrome/131.0 Mobile Safari/537.36 (compatible; Googlebot/2.1)",
        "Googlebot",
    ),
    ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", "bingbot"),
    (CHROME.replace("Chrome/", "HeadlessChrome/131.0.0.0 Safari/537.36"), "HeadlessChrome"),
    ("Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)", "yandex"),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "facebook"),
    ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "UptimeRobot"),
    ("Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)", "ingdom"),
    ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "AhrefsBot"),
    ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2)", "GPTBot"),
    ("Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", "ClaudeBot"),
    (
        "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 PhantomJS/2.1.1 Safari/538.1",
        "Phantom",
    ),
]


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_people_and_tools_are_no_robots(user_agent: str) -> None:
    assert robot_of(user_agent) is None


@pytest.mark.parametrize(("user_agent", "name"), ROBOTS)
def test_robots_are_named(user_agent: str, name: str) -> None:
    found = robot_of(user_agent)
    assert found is not None
    assert name.lower() in found.lower()
    assert len(found) <= 40


def test_the_list_is_that_of_the_pinned_package() -> None:
    assert robots.MODULE.read_text() == robots.source(), "run `python -m local.robots`"


def test_every_robot_of_the_list_is_found() -> None:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    kept = [
        one
        for one in CRAWLER_USER_AGENTS_DATA
        if "http-library" not in one.get("tags", ())
        and not any(re.search(one["pattern"], tool) for tool in robots.TOOLS)
    ]
    missed = [
        agent for one in kept for agent in one.get("instances", ()) if robot_of(agent) is None
    ]
    assert missed == []


def test_a_very_long_user_agent_is_cut() -> None:
    assert robot_of("x" * 100_000 + "Googlebot/2.1") is None
