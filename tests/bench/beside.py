"""What no viewer-hour needs: done once each, so that no function that costs money goes unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from headcount.webhooks import Receiver

from tests.bench.ledger import BilledWorld
from tests.support.containers import CONTAINERS, listen
from tests.support.telling import EVENTS
from tests.support.template import ROOT

PARAMETERS = {**CONTAINERS, **EVENTS}
"""With which all functions are there."""

SPACE = "site:launch"
USER = "user-to-erase"


def many_hear(world: BilledWorld) -> None:
    """A large audience, and a feed across spaces."""
    for number in range(2):
        world.subscribe(f"listener-{number}", SPACE)
    world.connect("feed-1", path="/api/ws/analytics/realtime")
    world.beat("launch-1", SPACE, userId=USER)
    world.settle()


def tell_the_bus(world: BilledWorld) -> None:
    """A visit that began, told to the bus."""
    joins = [one for one in world.changes() if one["eventSourceARN"].find("/visits-") > 0]
    world.invoke("events", {"Records": joins[-1:]})


def call_a_webhook(world: BilledWorld) -> None:
    """An event posted to a receiver that takes it."""
    with patch.object(Receiver, "post", lambda *_: 200):
        world.invoke("webhook", _event("webhook_joined"))


def launch_a_container(world: BilledWorld) -> None:
    """A container launched by an admin."""
    event = _event("containers_launch")
    event["headers"]["authorization"] = f"Bearer {world.admin}"
    assert world.ask(world.part, event, caller="admin", function="containers")["statusCode"] == 200


def change_a_container(world: BilledWorld) -> None:
    """A change of a container that a dashboard listens to."""
    event = _event("container_changes_task")
    world.invoke("container_changes", event)


def erase_a_person(world: BilledWorld) -> None:
    """Somebody erased everywhere, to the end."""
    answer = world.http("POST", "/v1/erasures", body={"userId": USER}, token=world.admin)
    assert answer.status == 202, answer
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.agenda.run_until(world.agenda.now + wait * 1000)
        world.part = "erasing a person"
        world.invoke("erase", {"Records": [{"body": text}]})


DONE: dict[str, Callable[[BilledWorld], None]] = {
    "telling the bus": tell_the_bus,
    "calling a webhook": call_a_webhook,
    "launching a container": launch_a_container,
    "a container's change": change_a_container,
    "erasing a person": erase_a_person,
}
"""Part -> what is entered under it."""


def play(world: BilledWorld) -> None:
    """All of it, each under a part of its own; the audience is entered nowhere."""
    many_hear(world)
    listen(world, _event("container_changes_task")["detail"]["taskArn"].rpartition("/")[2], "c1")
    for part, act in DONE.items():
        world.part = world.bill.frames_are = part
        world.bill.on = True
        try:
            act(world)
        finally:
            world.bill.on = False


def _event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())
