"""One clock for the stack, its browsers and these tests, wherever `make test-moved` sets it."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from playwright.sync_api import Browser

from lab.harness.clients import Api, path_of

pytestmark = pytest.mark.stack

APART = 60.0
"""Seconds that may pass between two reads of one clock on a busy machine."""


def test_the_stack_has_the_tests_clock(api: Api, space: str) -> None:
    api.beat(space, "tab-1")
    (viewer,) = api.get(f"{path_of(space)}/viewers").body["viewers"]
    assert abs(datetime.fromisoformat(viewer["joinedAt"]).timestamp() - time.time()) < APART


@pytest.mark.browser
def test_a_page_has_the_tests_clock(browser: Browser) -> None:
    page = browser.new_page()
    page.goto("data:text/html,")
    times = page.evaluate("[Date.now(), new Date().getTime(), Date.parse(Date())]")
    page.close()
    assert [one for one in times if abs(one / 1000 - time.time()) > APART] == []
