"""Every mutation of `make mutants` still fits the product, and so do its tests."""

from __future__ import annotations

import pytest

from lab.harness.template import ROOT
from lab.mutants import MUTANTS, Mutant, is_there


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutation_changes_the_product_and_has_tests_to_notice(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.applied(text) != text
    assert mutant.tests
    assert [test for test in mutant.tests if not is_there(test)] == []


def test_names_are_unique_and_there_are_enough_mutations() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
