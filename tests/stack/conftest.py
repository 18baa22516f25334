"""One stack for all these tests: the first starts it, and it ends after the last."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import jwt
import pytest
from headcount_cli.target import Stack as StackOnAws
from playwright.sync_api import Browser, Playwright, sync_playwright

from lab.harness.clients import Api, Dashboard, Loop, eventually
from local import clock
from local.picture import CHROMIUM_ARGS, find_chromium
from local.ports import is_taken
from local.settings import EMULATOR_PYTHON, STACK_NAME, Settings, aws_environment
from local.stack import LocalStack
from tests.stack.processes import processes_of
from tests.stack.story import Story
from tests.support.missing import missing

HERE = Path(__file__).parent
DAY = 86_400
LONGEST_TEST_OF_A_DAY = 60
"""Seconds."""
# The long story starts first and runs beside the others; tests that break the stack come last.
FIRST = ["test_numbers.py"]
LAST = [
    *("test_history.py", "test_expiry.py", "test_no_shortcut.py", "test_make.py"),
    "test_sam_local.py",
    *("test_docs.py", "test_doctor.py", "test_failures.py"),
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in this order, after all quicker tests."""
    ours = {item for item in items if HERE in item.path.parents}
    rest = [item for item in items if item not in ours]
    items[:] = rest + sorted((item for item in items if item in ours), key=_place)


def _place(item: pytest.Item) -> int:
    name = item.path.name
    return -1 if name in FIRST else LAST.index(name) + 1 if name in LAST else 0


@dataclass(frozen=True)
class Stack:
    """A running stack and the clients to it."""

    outputs: dict[str, Any]
    settings: Settings
    loop: Loop
    api: Api
    sampled: str
    """A space with a visitor from the start, for the timeline."""
    sampled_at: float

    def dashboard(self, token: str | None = "") -> Dashboard:
        """A socket with the admin token, another one, or (None) without."""
        token = self.outputs["adminToken"] if token == "" else token
        query = "" if token is None else f"?token={token}"
        return Dashboard(self.loop, self.outputs["webSocketUrl"] + query)

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator."""
        with mock.patch.dict(os.environ, aws_environment(self.settings), clear=True):
            session: Any = boto3.Session()
            return session.client(service)

    def secret(self) -> str:
        """The secret that signs the stack's tokens."""
        with mock.patch.dict(os.environ, aws_environment(self.settings), clear=True):
            return StackOnAws(STACK_NAME, boto3.Session()).secret()

    def token(self, **claims: Any) -> str:
        """A token signed with the stack's own secret."""
        claims = {"exp": int(time.time()) + 600, **claims}
        return jwt.encode(claims, self.secret(), algorithm="HS256")


@pytest.fixture(scope="package")
def outputs_and_settings(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[str, Any], Settings]]:
    """The stack of this worker, from its first test to its last; it leaves nothing running."""
    if not EMULATOR_PYTHON.exists():
        pytest.fail("The emulator is not installed: run `make test`, or `make stack` once.")
    stack = LocalStack(tmp_path_factory.mktemp("stack"))
    try:
        yield stack.start().until_ready(), stack.settings
    finally:
        code = stack.stop()
    assert code == 0, stack.log.read_text()[-2000:]
    assert_gone(stack.settings)


def assert_gone(settings: Settings) -> None:
    """Nothing of the stack is left: no process, no port, no outputs file."""
    eventually(
        lambda: not processes_of(settings.home), 10, last=lambda: processes_of(settings.home)
    )
    assert not settings.outputs_file.exists()
    assert not settings.sam_environment_file.exists()
    assert not settings.sam_parameters_file.exists()
    assert not is_taken(settings.port)
    assert not is_taken(settings.gateway_port)
    assert not settings.temporary.exists()


@pytest.fixture(scope="package")
def stack(outputs_and_settings: tuple[dict[str, Any], Settings]) -> Iterator[Stack]:
    """The stack, with a hidden visitor (a lease of 180 s) in a separate space from the start."""
    outputs, settings = outputs_and_settings
    with Loop() as loop, Api(loop, outputs["origin"], outputs["adminToken"]) as api:
        sampled, sampled_at = new_space("sampled"), time.time()
        for number in range(3):
            api.beat(sampled, f"s{number}", visitorId=f"v{number // 2}", state="hidden")
        yield Stack(outputs, settings, loop, api, sampled, sampled_at)


@pytest.fixture(scope="package")
def story(stack: Stack) -> Iterator[Story]:
    """The long story of a crowd, which runs beside the tests."""
    with stack.dashboard() as socket:
        story = Story(stack.api, socket, new_space("story"))
        story.start()
        yield story


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright for the installed Chromium, whose pages have the tests' clock."""
    if find_chromium() is None:
        missing("Chromium", "install it (Debian and Ubuntu: `apt-get install chromium`).")
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        if clock.moved_by():
            for opens in ("new_context", "new_page"):
                patch.setattr(Browser, opens, with_our_clock(getattr(Browser, opens)))
        yield playwright


def with_our_clock(opened: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a browser's method that opens a page or context: Date moves with our clock there."""

    def open_it(browser: Browser, **options: Any) -> Any:
        place = opened(browser, **options)
        place.add_init_script(clock.page_script())
        return place

    return open_it


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Headless Chromium."""
    browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGS)
    yield browser
    browser.close()


@pytest.fixture
def api(stack: Stack) -> Api:
    """The stack's HTTP API."""
    return stack.api


@pytest.fixture
def space(request: pytest.FixtureRequest) -> str:
    """A space that no other test uses."""
    return new_space(request.node.originalname[:60])


@pytest.fixture
def spaces() -> Callable[[str], str]:
    """Any number of such spaces."""
    return new_space


@pytest.fixture
def one_day() -> None:
    """For tests that count a day: waits for a near midnight (UTC), so that the day stays."""
    left = DAY - time.time() % DAY
    if left < LONGEST_TEST_OF_A_DAY:
        time.sleep(left + 0.1)


def new_space(word: str, kind: str = "site") -> str:
    """A new space id; the ids of all spaces in these tests contain "stk-"."""
    return f"{kind}:stk-{word.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
