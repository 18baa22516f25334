"""The table of mutations: what notices each."""

from __future__ import annotations

import pytest

from lab.caught import CONDITIONS, MUTATIONS, in_interleavings, in_tests, in_traces, table
from lab.interleavings.mistakes import BY_NAME, SHOWN_BY
from lab.model.conformance import REFUSED
from lab.model.scenes import MISTAKES
from lab.mutants import Verdict


def test_each_condition_that_is_code_of_ours_has_a_mutation() -> None:
    services = {"late records are counted", "a chunk is deleted after it is posted"}
    assert sorted([*CONDITIONS.values(), *services]) == sorted(MISTAKES)


def test_the_table_has_all_mutations_that_are_planted() -> None:
    planted = {one for names in (*SHOWN_BY.values(), *REFUSED.values()) for one in names}
    assert {*MUTATIONS} == planted | CONDITIONS.keys()
    assert BY_NAME.keys() >= {*MUTATIONS}


def test_a_mutation_is_noticed_in_the_scene_that_must() -> None:
    mutation = "order: a late leave is taken"
    assert mutation in SHOWN_BY[in_interleavings(mutation)]
    assert mutation in REFUSED[in_traces(mutation)]


def test_what_does_not_notice_a_mutation_has_a_dash() -> None:
    assert "| one | yes | - | a scene | - |" in table([("one", "yes", "", "a scene", "")])


def test_a_mutation_that_survives_is_not_tested_and_one_that_cannot_be_made_an_error() -> None:
    mutant = BY_NAME[MUTATIONS[0]]
    assert in_tests(Verdict(mutant, "test_flow.py::test_it", None, 1)) == "yes"
    assert in_tests(Verdict(mutant, None, None, 1)) == ""
    with pytest.raises(RuntimeError, match="no test ran"):
        in_tests(Verdict(mutant, None, "no test ran", 1))
