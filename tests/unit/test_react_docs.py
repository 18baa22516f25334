"""The React module and its types."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "functions" / "site" / "static"


def test_what_the_module_exports_has_a_type_and_the_other_way_round() -> None:
    exported = re.compile(r"^export (?:async )?(?:function|const) (\w+)", re.MULTILINE)
    module, types = (
        set(exported.findall((STATIC / f"headcount-react.{ending}").read_text()))
        for ending in ("js", "d.ts")
    )
    assert module == types
