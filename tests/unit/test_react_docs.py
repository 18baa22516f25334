"""The React module and its types."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "clients"


def test_the_modules_exports_and_types_are_the_same() -> None:
    exported = re.compile(r"^export (?:async )?(?:function|const) (\w+)", re.MULTILINE)
    module, types = (
        set(exported.findall((STATIC / f"headcount-react.{ending}").read_text()))
        for ending in ("js", "d.ts")
    )
    assert module == types
