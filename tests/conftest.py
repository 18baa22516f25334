"""Fixtures: engines once per process, tables and worlds per test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import pytest
from headcount.store import visits

from lab.harness import dynamodb_local
from lab.harness.clock import Clock
from lab.harness.engines import Engine, local_engine, memory_engine, moto_engine
from lab.harness.world import World, world_on
from tests.stack import scheduling
from tests.support.missing import missing

pytest_xdist_make_scheduler = scheduling.pytest_xdist_make_scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI, a test of the whole stack gets a second try, which the summary counts: its browsers,
    servers and seconds are those of a machine that others use. Tests in one process get none."""
    if os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("stack"):
                item.add_marker(pytest.mark.flaky(reruns=1))


# No test is timed, and none depends on the luck of a run: `make soak` is what explores.
hypothesis.settings.register_profile("headcount", deadline=None, derandomize=True)
hypothesis.settings.load_profile("headcount")

MEMORY = "memory"
MOTO = "moto"
DYNAMODB_LOCAL = "dynamodb-local"
ENGINES = [MEMORY, pytest.param(DYNAMODB_LOCAL, marks=pytest.mark.dynamodb_local)]


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Engine]]:
    """Engines by name, each started on first use and stopped with the session."""
    with ExitStack() as stack:
        started: dict[str, Engine] = {}

        def get(name: str) -> Engine:
            if name not in started:
                log = Path(tmp_path_factory.mktemp("dynamodb-local")) / "log"
                open_engine = {MEMORY: memory_engine, MOTO: moto_engine}.get(name)
                opened = open_engine() if open_engine else _local_or_skip(log)
                started[name] = stack.enter_context(opened)
            return started[name]

        yield get


@contextmanager
def _local_or_skip(log: Path) -> Iterator[Engine]:
    try:
        dynamodb_local.require()
        opened = local_engine(log)
        with opened as engine:
            yield engine
    except dynamodb_local.UnavailableError as error:
        missing("DynamoDB Local", str(error))


@pytest.fixture
def fitted(
    engines: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Engine]:
    """Engines by name, with the product limited to what they support."""

    def get(name: str) -> Engine:
        if name == DYNAMODB_LOCAL:
            # DynamoDB takes 100 actions in a transaction; the build of 2020 took 10.
            monkeypatch.setattr(visits, "VISITS_PER_TRANSACTION", 9)
        return engines(name)

    return get


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, fitted: Callable[[str], Engine]) -> Engine:
    """Each engine in turn."""
    return fitted(request.param)


@pytest.fixture
def moto(engines: Callable[[str], Engine]) -> Engine:
    """Only moto: for its other AWS services."""
    return engines(MOTO)


@pytest.fixture
def memory(engines: Callable[[str], Engine]) -> Engine:
    """Only the engine in memory: for tests that don't depend on the engine."""
    return engines(MEMORY)


@pytest.fixture
def local(fitted: Callable[[str], Engine]) -> Engine:
    """Only DynamoDB Local: for exact units. Mark such tests ``dynamodb_local``."""
    return fitted(DYNAMODB_LOCAL)


@pytest.fixture
def clock() -> Clock:
    """Noon, until the test moves it."""
    return Clock()


Worlds = Callable[..., World]


@pytest.fixture
def worlds(clock: Clock) -> Iterator[Worlds]:
    """Worlds by engine and parameters."""
    with ExitStack() as stack:
        yield lambda engine, **parameters: stack.enter_context(
            world_on(engine, clock, **parameters)
        )


@pytest.fixture
def world(engine: Engine, worlds: Worlds) -> World:
    """A default deployment on each engine."""
    return worlds(engine)


@pytest.fixture
def memory_world(memory: Engine, worlds: Worlds) -> World:
    """A default deployment on the engine in memory."""
    return worlds(memory)
