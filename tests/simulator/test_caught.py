"""The table of mutations: what notices each."""

from __future__ import annotations

from lab.caught import CONDITIONS, MUTATIONS, in_interleavings, in_traces, noticed_by_tests, table
from lab.interleavings.mistakes import BY_NAME, SHOWN_BY
from lab.model.conformance import REFUSED
from lab.model.scenes import MISTAKES


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


def test_what_the_tests_notice_is_read_from_their_table() -> None:
    rows = "| mutation | caught by | s |\n|---|---|--:|\n| a: one | test_a.py::test_it[b] | 1.0 |"
    noticed = noticed_by_tests(f"{rows}\n| b: two | **SURVIVES** | 2.0 |\n\n1 of 2 caught")
    assert noticed == {"mutation": "yes", "a: one": "yes", "b: two": ""}
