"""Schedules: each seed gives one sequence of actions and faults, the same every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from headcount.times import DAY, MINUTE, SECOND

from lab.simulator.checks import at_rest, at_the_end
from lab.simulator.simulation import SPACES, Simulation, simulated
from lab.simulator.sockets import Dashboard
from lab.simulator.visitors import Visitor

_ERASED = 0.3
"""The probability of a possible erasure; it is low because an erasure takes many calls."""
_ROLL_UPS = 0.5
"""The probability that a schedule has roll-ups."""
_REST = 0.015
"""The probability of a check at rest after an action, in addition to the one at the end."""


@dataclass
class Result:
    """The result of a seed."""

    seed: int
    problems: list[str]
    actions: int
    calls: int
    faults: Counter[str]
    trace: list[tuple[int, str]] = field(repr=False, default_factory=list)

    @property
    def digest(self) -> str:
        """A hash of the trace: the same run has the same."""
        return hashlib.blake2b(repr(self.trace).encode(), digest_size=12).hexdigest()


def act(simulation: Simulation) -> None:
    """Perform a random action."""
    actor = "world"
    if not simulation.visitors or simulation.random.random() < _NEW:
        actor = "arrival"
    elif simulation.random.random() < _BY_VISITORS:
        actor = "visitor"
    elif simulation.dashboards and simulation.random.random() < _BY_DASHBOARDS:
        actor = "dashboard"
    weights, actions = zip(*_ACTIONS[actor], strict=True)
    (action,) = simulation.random.choices(actions, weights)
    action(simulation)


_NEW, _BY_VISITORS, _BY_DASHBOARDS = 0.16, 0.62, 0.45


def _arrive(simulation: Simulation) -> None:
    random = simulation.random
    signed_in = random.random() < 0.4
    simulation.arrive(random.choice(SPACES), random.randint(1, 4), signed_in=signed_in)


def _visitor(simulation: Simulation) -> Visitor:
    return simulation.random.choice(simulation.visitors)


def _identify(simulation: Simulation) -> None:
    person = simulation.random.choice((None, 1, 2, 3, 4))
    verified = simulation.random.random() < 0.3
    simulation.identify(_visitor(simulation), person, verified=verified)


def _vanish(simulation: Simulation) -> None:
    _visitor(simulation).wanted = False


def _dashboard(simulation: Simulation) -> Dashboard:
    return simulation.random.choice(simulation.dashboards)


def _at_a_space(simulation: Simulation, action: Callable[[Dashboard, str], None]) -> None:
    dashboard = _dashboard(simulation)
    if dashboard.wanted:
        action(dashboard, simulation.random.choice(sorted(dashboard.wanted)))


def _lose(simulation: Simulation) -> None:
    _dashboard(simulation).lose_network(half_open=simulation.random.random() < 0.5)


def _change_listener(simulation: Simulation) -> None:
    if simulation.listeners:
        listener = simulation.random.choice(simulation.listeners)
        simulation.random.choice((listener.close, listener.lose_network))()


def _replay(simulation: Simulation) -> None:
    simulation.streams[simulation.random.choice(list(simulation.streams))].replay()


def _wait(simulation: Simulation) -> None:
    simulation.wait(simulation.random.randint(20, 200) * SECOND)


def _outage(simulation: Simulation) -> None:
    minutes = simulation.random.randint(5, 300)
    simulation.wait(minutes * MINUTE, without_cleanup=True)
    simulation.expire(lag=simulation.random.choice((0, 3_600, 2 * DAY // SECOND)))


def _erase(simulation: Simulation) -> None:
    if not simulation.erasures and simulation.random.random() < _ERASED:
        simulation.erase()


Actions = list[tuple[int, Callable[[Simulation], object]]]
_ACTIONS: dict[str, Actions] = {
    "arrival": [(1, _arrive)],
    "visitor": [
        (18, lambda simulation: _visitor(simulation).beat()),
        (8, lambda simulation: simulation.change(_visitor(simulation))),
        (4, lambda simulation: simulation.chat(_visitor(simulation))),
        (6, _identify),
        (10, lambda simulation: _visitor(simulation).leave()),
        (4, lambda simulation: simulation.unload(_visitor(simulation))),
        (6, lambda simulation: simulation.navigate(_visitor(simulation))),
        (2, _vanish),
        (4, lambda simulation: simulation.beat_late(_visitor(simulation))),
    ],
    "dashboard": [
        (4, lambda sim: _dashboard(sim).subscribe(sim.random.choice(sim.topics))),
        (2, lambda simulation: _at_a_space(simulation, Dashboard.unsubscribe)),
        (3, lambda simulation: _at_a_space(simulation, Dashboard.snapshot)),
        (2, _lose),
        (2, lambda simulation: _dashboard(simulation).replace()),
        (1, lambda simulation: _dashboard(simulation).close()),
    ],
    "world": [
        (5, Simulation.watch),
        (5, Simulation.listen),
        (2, _change_listener),
        (3, _replay),
        (2, lambda simulation: simulation.minutes.sweep()),
        (1, Simulation.daily),
        (3, _wait),
        (1, _outage),
        (1, _erase),
    ],
}


def has_roll_ups(seed: int) -> bool:
    """Whether the schedule of a seed has roll-ups. It is drawn apart, so that without them a seed
    has the schedule that it had before there were any."""
    return Random(f"roll-ups {seed}").random() < _ROLL_UPS  # noqa: S311 - not a secret


def run(seed: int, *, roll_ups: bool | None = None, look_ups: bool = True) -> Result:
    """Run the schedule of a seed. ``roll_ups``: None means as the seed says; ``look_ups``: look
    everybody up at rest. With either, what follows happens at other times."""
    random = Random(seed)  # noqa: S311 - a simulation, not a secret
    if roll_ups is None:
        roll_ups = has_roll_ups(seed)
    with simulated(random, roll_ups=roll_ups, look_ups=look_ups) as simulation:
        actions = random.randint(30, 36)
        for _ in range(actions):
            act(simulation)
            simulation.loop.run(simulation.loop.now + random.choice((0, 5, 50, 1_000, 4_000)))
            if random.random() < _REST:
                at_rest(simulation)
        at_the_end(simulation)
        return Result(
            seed,
            simulation.problems,
            actions,
            simulation.fleet.calls,
            simulation.faults.injected,
            simulation.trace,
        )
