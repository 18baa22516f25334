"""Headcount's tests: ``unit`` needs nothing, ``stores`` and ``handlers`` run on real engines."""

import sys
from pathlib import Path

# For code that runs without pytest, whose `pythonpath` setting does the same.
_LAYER = str(Path(__file__).resolve().parents[1] / "layers" / "presence")
if _LAYER not in sys.path:
    sys.path.append(_LAYER)
