"""Headcount: who is here right now, on what, and how many.

The folders are layers, each of which imports only those before it: ``model`` has the pure
decisions, ``store`` the tables, ``auth`` the tokens, ``aws`` the clients, ``usecases`` one module
per trigger, ``web`` HTTP and the native API, ``systems`` the five other APIs, ``documents`` OpenAPI
and AsyncAPI. ``wiring`` puts them together.
"""

__version__ = "1.0.0"

import sys
from importlib import import_module

# If typing_extensions is installed, msgspec imports it, in vain from Python 3.11 on: that takes a
# tenth of a beat's start. Who needs it (pydantic does) imports it later.
_hides = "typing_extensions" not in sys.modules
if _hides:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # an import fails, as if it were not there
import_module("msgspec")
if _hides:
    del sys.modules["typing_extensions"]
