"""One stack for all these tests, started by the first of them and ended after the last."""

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

from local.picture import CHROMIUM_ARGS, find_chromium
from local.ports import is_taken
from local.settings import EMULATOR_PYTHON, STACK_NAME, Settings, aws_environment
from local.stack import LocalStack
from tests.stack.clients import Api, Dashboard, Loop, eventually
from tests.stack.processes import processes_of
from tests.stack.story import Story
from tests.support.missing import missing

HERE = Path(__file__).parent
# The long story starts first and ends beside the others; what breaks things for all comes last.
FIRST = ["test_numbers.py"]
LAST = [
    *("test_history.py", "test_expiry.py", "test_no_shortcut.py", "test_sam_local.py"),
    *("test_docs.py", "test_doctor.py", "test_failures.py"),
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in their order, after all quicker tests."""
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
    """A space with somebody in it from the start, for the timeline."""
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

    def token(self, **claims: Any) -> str:
        """A token signed with the stack's own secret."""
        with mock.patch.dict(os.environ, aws_environment(self.settings), clear=True):
            secret = StackOnAws(STACK_NAME, boto3.Session()).secret()
        return jwt.encode({"exp": int(time.time()) + 600, **claims}, secret, algorithm="HS256")


@pytest.fixture(scope="session")
def outputs_and_settings(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[str, Any], Settings]]:
    """The stack of this worker, from its first test to its last; then nothing of it is left."""
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


@pytest.fixture(scope="session")
def stack(outputs_and_settings: tuple[dict[str, Any], Settings]) -> Iterator[Stack]:
    """The stack, with somebody hidden (a lease of 180 s) in a space of its own from the start."""
    outputs, settings = outputs_and_settings
    with Loop() as loop, Api(loop, outputs["origin"], outputs["adminToken"]) as api:
        sampled, sampled_at = new_space("sampled"), time.time()
        for number in range(3):
            api.beat(sampled, f"s{number}", visitorId=f"v{number // 2}", state="hidden")
        yield Stack(outputs, settings, loop, api, sampled, sampled_at)


@pytest.fixture(scope="session")
def story(stack: Stack) -> Iterator[Story]:
    """The long story of a crowd, which goes on beside the tests."""
    with stack.dashboard() as socket:
        story = Story(stack.api, socket, new_space("story"))
        story.start()
        yield story


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """What drives the machine's own Chromium."""
    if find_chromium() is None:
        missing("Chromium", "install it (Debian and Ubuntu: `apt-get install chromium`).")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
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
    """As many as one likes."""
    return new_space


def new_space(word: str, kind: str = "site") -> str:
    """A space id of its own; all of these tests' spaces hold "stk-"."""
    return f"{kind}:stk-{word.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
