"""What is explored, and which mistakes are made on purpose."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from lab.model.explore import Result, explore
from lab.model.pipeline import Scene


def faults(scene: Scene) -> Iterator[Scene]:
    """A scene with each fault alone."""
    for fault, name in (
        ("crashes", "a crash"),
        ("repeats", "a duplicate"),
        ("delays", "a late record"),
    ):
        only = {"crashes": 0, "repeats": 0, "delays": 0, fault: 1}
        yield replace(scene, name=f"{scene.name}; {name}", **only)


COUNTING = Scene("one leaves, one vanishes; two shards", ("bl", "b"), (0, 1), 0, lapses=2)
RETURNING = Scene("one leaves, one is late; two shards", ("bl", "bb"), (0, 1), 0, lapses=2)
PUBLISHING = Scene("two join; two shards, two dashboards", ("b", "b"), (0, 1), 2)
CHUNKED = replace(PUBLISHING, name="two join; two shards, two dashboards, chunks", chunked=True)
DIRECT = Scene("two join; count publishes to one", ("b", "b"), (0, 0), 1)
GREETING = Scene("one joins; count publishes to two", ("b",), (0,), 2)
WHOLE = replace(COUNTING, name="one leaves, one vanishes; two shards, two dashboards", dashboards=2)

SMALL = (
    *faults(RETURNING),
    *faults(PUBLISHING),
    *faults(CHUNKED),
    *faults(DIRECT),
)
"""Some seconds; every mistake is found in these."""

ALL = (
    *faults(WHOLE),
    replace(COUNTING, name=f"{COUNTING.name}; all three"),
    replace(GREETING, name=f"{GREETING.name}; all three"),
    replace(PUBLISHING, name=f"{PUBLISHING.name}; a crash and a late record", repeats=0),
    replace(CHUNKED, name=f"{CHUNKED.name}; a crash and a duplicate", delays=0),
    *SMALL,
)

MISTAKES = (
    "messages are ordered",
    "a beat after its lease is a change",
    "a visit is recorded once",
    "a recount's condition",
    "late records are counted",
    "a version's condition",
    "an unsent version is sent first",
    "a version is marked after it is sent",
    "a greeting subscribes first",
    "a greeting is marked last",
    "a chunk is deleted after it is posted",
    "the sweep's condition",
    "the sweep audits",
)
"""Conditions of the real handlers that ``Pipeline`` can leave out."""


def find(mistake: str) -> Result | None:
    """The first of the small scenes in which a mistake shows."""
    found = (explore(scene, mistake) for scene in SMALL)
    return next((one for one in found if one.wrong), None)
