"""Devices by their User-Agent."""

# ruff: noqa: E501 - User-Agents are as long as they are

from __future__ import annotations

import pytest
from headcount.web.devices import device_of, is_browser

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
