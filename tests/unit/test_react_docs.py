"""docs/react.md quotes the pages that the tests run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "functions" / "site" / "static"


def test_every_example_is_of_the_pages_that_are_run() -> None:
    pages = (ROOT / "tests/clients/react/pages.tsx").read_text()
    examples = re.findall(r"```tsx\n(.*?)```", (ROOT / "docs/react.md").read_text(), re.DOTALL)
    assert len(examples) > 5
    assert [example for example in examples if example not in pages] == []


def test_what_the_module_exports_has_a_type_and_the_other_way_round() -> None:
    exported = re.compile(r"^export (?:async )?(?:function|const) (\w+)", re.MULTILINE)
    module, types = (
        set(exported.findall((STATIC / f"headcount-react.{ending}").read_text()))
        for ending in ("js", "d.ts")
    )
    assert module == types
