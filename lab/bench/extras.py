"""Work that viewer-hours don't cause, done once each so that the ledger covers every function."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from headcount.usecases.webhook import Receiver

from lab.bench.ledger import BilledWorld
from lab.harness.consumer import EVENTS
from lab.harness.containers import CONTAINERS, listen
from lab.harness.events import http_event
from lab.harness.template import ROOT

PARAMETERS = {**CONTAINERS, **EVENTS}
"""Parameters with which every function exists."""

SPACE = "site:launch"
USER = "user-to-erase"
PERSON = f"c:{USER}"

LOOKUP = "looking up a person with one session"
LOOKUPS = "looking up 100 people, one of them with a session"
WATCH = "beginning to watch a person with one session"
TELL = "telling who watches a person of a change"
PEOPLE = (LOOKUP, LOOKUPS, WATCH, TELL)
"""What there is only while people can be looked up."""


def add_listeners(world: BilledWorld) -> None:
    """Connect a large audience, and a feed across spaces."""
    for number in range(2):
        world.subscribe(f"listener-{number}", SPACE)
    world.connect("feed-1", path="/api/ws/analytics/realtime")
    world.beat("launch-1", SPACE, userId=USER)
    world.settle()


def send_an_event(world: BilledWorld) -> None:
    """Send the begin of a visit to the bus."""
    joins = [one for one in world.changes() if one["eventSourceARN"].find("/visits-") > 0]
    world.invoke("events", {"Records": joins[-1:]})


def call_a_webhook(world: BilledWorld) -> None:
    """Post an event to a receiver that accepts it."""
    with patch.object(Receiver, "post", lambda *_: 200):
        world.invoke("webhook", _event("webhook_joined"))


def launch_a_container(world: BilledWorld) -> None:
    """Launch a container as an admin."""
    event = _event("containers_launch")
    event["headers"]["authorization"] = f"Bearer {world.admin}"
    assert world.ask(world.part, event, caller="admin")["statusCode"] == 200


def change_a_container(world: BilledWorld) -> None:
    """Change a container that a dashboard is subscribed to."""
    event = _event("container_changes_task")
    world.invoke("container_changes", event)


def look_up_a_person(world: BilledWorld) -> None:
    """Ask where somebody is."""
    _look_up(world, "GET", f"/v1/people/{PERSON}")


def look_up_many(world: BilledWorld) -> None:
    """Ask where a hundred people are."""
    others = [f"c:nobody-{number}" for number in range(99)]
    _look_up(world, "POST", "/v1/people/lookup", {"people": [PERSON, *others]})


def _look_up(world: BilledWorld, method: str, path: str, body: Any = None) -> None:
    headers = {"authorization": f"Bearer {world.admin}"}
    event = http_event(method, path, body=body, headers=headers)
    assert world.ask(world.part, event, caller="admin")["statusCode"] == 200


def watch_a_person(world: BilledWorld) -> None:
    """Begin to watch somebody."""
    world.send("listener-0", {"action": "watch", "people": [PERSON]})


def tell_of_a_person(world: BilledWorld) -> None:
    """Tell where somebody is who is watched."""
    world.services("count").deferred_queue.tell(PERSON)
    world.run_deferred()
    assert world.management.frames["listener-0"][-1]["person"] == PERSON


def erase_a_person(world: BilledWorld) -> None:
    """Erase a person everywhere."""
    answer = world.http("POST", "/v1/erasures", body={"userId": USER}, token=world.admin)
    assert answer.status == 202, answer
    while world.queue.erasures:
        wait, text = world.queue.erasures.pop(0)
        world.agenda.run_until(world.agenda.now + wait * 1000)
        world.part = "erasing a person"
        world.invoke("erase", {"Records": [{"body": text}]})


EXTRAS: dict[str, Callable[[BilledWorld], None]] = {
    "sending an event to the bus": send_an_event,
    "calling a webhook": call_a_webhook,
    "launching a container": launch_a_container,
    "handling a container's change": change_a_container,
    LOOKUP: look_up_a_person,
    LOOKUPS: look_up_many,
    WATCH: watch_a_person,
    TELL: tell_of_a_person,
    "erasing a person": erase_a_person,
}
"""Part of the ledger -> the work that is entered under it."""


def play(world: BilledWorld) -> None:
    """Do all of it, each under its own part; connecting the audience is not entered."""
    add_listeners(world)
    listen(world, _event("container_changes_task")["detail"]["taskArn"].rpartition("/")[2], "c1")
    known = world.environment("api")["PEOPLE_TABLE"]
    for part, act in EXTRAS.items():
        if part in PEOPLE and not known:
            continue
        world.part = world.bill.frames_part = part
        world.bill.on = True
        try:
            act(world)
        finally:
            world.bill.on = False


def _event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())
