"""A dashboard's frame that is handled step by step."""

from __future__ import annotations

import json
from threading import Event, Thread, current_thread
from typing import Any

from tests.support.world import World


class Paused:
    """A dashboard's frame whose handling halts before its n-th step (a call or a post).

    The publisher goes on with it while it waits for it, as the two would side by side.
    """

    def __init__(self, world: World, connection: str, step: int, message: dict[str, Any]) -> None:
        self._world = world
        self._steps_left = step
        self._halted, self._go = Event(), Event()
        events = world.engine.client.meta.events
        events.register("before-parameter-build.dynamodb", self._step, unique_id="paused")
        world.line.before_post = world.line.after_post = self._step
        switchboard = world.services("socket").switchboard
        self._thread = Thread(target=switchboard.hear, args=(connection, json.dumps(message)))
        self._thread.start()
        while self._thread.is_alive() and not self._halted.wait(0.001):
            pass
        world.restart("publish")
        world.services("publish").sleep = self._meanwhile

    def _step(self, **_: Any) -> None:
        if current_thread() is not self._thread:
            return
        if self._steps_left == 0:
            self._halted.set()
            assert self._go.wait(10)
        self._steps_left -= 1

    def _meanwhile(self, seconds: float) -> None:
        self._world.clock.sleep(seconds)
        self.finish()

    def finish(self) -> None:
        """Let it run to its end."""
        self._go.set()
        self._thread.join()
        events = self._world.engine.client.meta.events
        events.unregister("before-parameter-build.dynamodb", unique_id="paused")
