"""Devices by their User-Agent."""

# ruff: noqa: E501 - User-Agents are as long as they are

from __future__ import annotations

import pytest
from headcount.web.devices import device_of, is_browser, sources_of

AGENTS = {
    "desktop": [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
        "curl/8.5.0",
        "",
    ],
    "mobile": [
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/131.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0",
    ],
    "tablet": [
        "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Android 14; Tablet; rv:133.0) Gecko/133.0 Firefox/133.0",
        "Mozilla/5.0 (Linux; U; en-us; KFAPWI) AppleWebKit/535.19 Silk/3.13 Safari/535.19",
    ],
}


@pytest.mark.parametrize(
    ("device", "agent"), [(device, agent) for device, them in AGENTS.items() for agent in them]
)
def test_a_device_is_derived_from_its_user_agent(device: str, agent: str) -> None:
    assert device_of(agent) == device


def test_a_browser_is_distinguished_from_a_library() -> None:
    assert is_browser(AGENTS["mobile"][0])
    assert not is_browser("curl/8.5.0")
    assert not is_browser("python-requests/2.32.0")


WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "browser", "system"),
    [
        (f"(Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0 Safari/537.36", "Chrome", "Windows"),
        (f"(Windows NT 10.0) {WEBKIT} Chrome/131.0 Safari/537.36 Edg/131.0", "Edge", "Windows"),
        (f"(X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/131.0 Safari/537.36", "Chrome", "ChromeOS"),
        (f"(Windows NT 10.0) {WEBKIT} Chrome/130.0 Safari/537.36 OPR/115.0", "Opera", "Windows"),
        (
            f"(Windows NT 10.0) {WEBKIT} Chrome/130.0 YaBrowser/24.12 Safari/537.36",
            "Yandex",
            "Windows",
        ),
        (
            f"(Linux; Android 14; K) {WEBKIT} SamsungBrowser/27.0 Chrome/125.0 Mobile Safari/537.36",
            "Samsung Internet",
            "Android",
        ),
        ("(X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox", "Linux"),
        (
            "(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
            "Safari",
            "macOS",
        ),
        (
            "(iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
            "Safari",
            "iOS",
        ),
        (
            "(iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0 Mobile/15E148 Safari/604.1",
            "Chrome",
            "iOS",
        ),
        (
            "(iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/133.0 Mobile/15E148 Safari/605.1.15",
            "Firefox",
            "iOS",
        ),
        (
            "(iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
            "Safari",
            "iOS",
        ),
        ("(PlayStation 5)", None, None),
    ],
)
def test_a_browser_and_its_system_are_only_names(
    agent: str, browser: str | None, system: str | None
) -> None:
    found = sources_of({"user-agent": f"Mozilla/5.0 {agent}"})
    assert (found.get("browser"), found.get("os")) == (browser, system)
    assert None not in found.values()


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("FIL", "fil"),
        ("zh-Hant-TW", "zh"),
        ("*", None),
        ("", None),
        ("english", None),
        ("\u0000", None),
    ],
)
def test_a_language_is_its_primary_tag(accepted: str, language: str | None) -> None:
    assert sources_of({"accept-language": accepted}).get("language") == language


@pytest.mark.parametrize("signal", ["dnt", "sec-gpc"])
def test_nothing_is_derived_for_who_asks_not_to_be_tracked(signal: str) -> None:
    headers = {"user-agent": AGENTS["desktop"][0], "accept-language": "de"}
    assert sources_of({**headers, signal: "0"}).keys() == {"browser", "os", "language"}
    assert sources_of({**headers, signal: "1"}) == {}
