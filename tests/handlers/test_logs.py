"""Log lines name spaces that strangers can't have named after a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from headcount.logs import logger, name_of

from lab.harness.engines import Engine
from lab.harness.world import World
from tests.conftest import Worlds

PERSON = "site:inv-1.jane.doe@example.com"
KINDS = "site:counts=public,ids=main+blog doc:counts=public course"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of all functions so far."""
    return [
        json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]


def test_ids_that_are_not_declared_are_hashed(
    memory: Engine, worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
    world = worlds(memory, Kinds=KINDS)
    person = PERSON.replace("site:", "doc:")
    for space in ("site:main", "site:blog", person):
        world.beat("s1", space)
    world.settle()
    world.clock.advance(70)
    world.sweep()
    world.settle()
    written = lines(capsys)
    named = {line["space"] for line in written if "space" in line}
    assert {"site:main", "site:blog"} < named
    (hashed,) = named - {"site:main", "site:blog"}
    assert hashed == name_of(person)
    assert hashed.startswith("doc:~")
    assert "jane" not in str(written)


def test_errors_and_unreadable_rows_name_no_one_either(
    memory_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    memory_world.beat("s1")
    logger().warning("not swept", extra={"space": PERSON})
    logger().warning("a row can't be read", extra={"row": f"{PERSON}#0"})
    space, row = map(vars, caplog.records[-2:])
    assert (space["space"], row["row"]) == (name_of(PERSON), f"{name_of(PERSON)}#0")
    assert "jane" not in str((space, row))


@pytest.mark.parametrize("name", ["site:main", "activity:main", "site:main#3", "~earned", ""])
def test_names_of_the_product_stay(memory_world: World, name: str) -> None:
    memory_world.beat("s1")
    assert name_of(name) == name


def test_each_space_has_a_name_of_its_own(memory: Engine, worlds: Worlds) -> None:
    worlds(memory, Kinds=KINDS).beat("s1")
    assert name_of("course:1") == name_of("course:1") != name_of("course:2")
