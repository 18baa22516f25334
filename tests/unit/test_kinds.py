"""`make run KINDS="..."`: kinds besides the template's."""

from __future__ import annotations

import pytest

from lab.harness.template import template
from local.kinds import all_kinds
from local.settings import Settings, UsageError

DEFAULT = template().parameters["Kinds"]["Default"]


def test_kinds_are_added_to_the_templates_or_replace_those_with_the_same_name() -> None:
    words = all_kinds("page  room:lease=60\nsite:counts=admin").split()
    assert words[-2:] == ["page", "room:lease=60"]
    assert words[0] == "site:counts=admin"
    assert words[1:-2] == DEFAULT.split()[1:]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("Page", "'Page' is not a kind"),
        ("page:counts=publi", "counts must be public or admin"),
        ("page page:lease=60", "declared twice"),
    ],
)
def test_kinds_that_are_not_valid_are_refused_with_an_example(given: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong) as raised:
        all_kinds(given)
    assert "make run KINDS='page:counts=public room:lease=60'" in str(raised.value)


def test_kinds_come_from_the_environment() -> None:
    assert Settings.from_environment({"KINDS": " page "}).kinds == "page"
    assert Settings.from_environment({}).kinds == ""
