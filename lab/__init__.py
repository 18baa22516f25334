"""Measures the product and tries to break it. From the checkout: ``python -m lab.NAME``."""

import sys
from pathlib import Path

# For runs without pytest, whose `pythonpath` setting contains the same folder.
_LAYER = str(Path(__file__).resolve().parents[1] / "layers" / "presence")
if _LAYER not in sys.path:
    sys.path.append(_LAYER)
