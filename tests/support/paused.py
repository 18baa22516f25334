"""A dashboard's frame whose handling pauses at a step."""

from __future__ import annotations

import json
from threading import Event, Thread, current_thread
from typing import Any

from lab.harness.world import World


class Paused:
    """Handles a dashboard's frame in a thread that pauses before its n-th step (a call or a post).

    It continues when the publisher sleeps, as if both ran in parallel.
    """

    def __init__(self, world: World, connection: str, step: int, message: dict[str, Any]) -> None:
        self._world = world
        self._steps_left = step
        self._halted, self._go = Event(), Event()
        events = world.engine.client.meta.events
        events.register("before-parameter-build.dynamodb", self._step, unique_id="paused")
        world.management.before_post = world.management.after_post = self._step
        dashboard_socket = world.services("socket").dashboard_socket
        self._thread = Thread(
            target=dashboard_socket.receive, args=(connection, json.dumps(message))
        )
        self._thread.start()
        while self._thread.is_alive() and not self._halted.wait(0.001):
            pass
        for publisher in ("count", "publish"):
            world.restart(publisher)
            world.services(publisher).sleep = self._meanwhile

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
        """Let the handling finish."""
        self._go.set()
        self._thread.join()
        events = self._world.engine.client.meta.events
        events.unregister("before-parameter-build.dynamodb", unique_id="paused")
