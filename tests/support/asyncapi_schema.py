"""AsyncAPI's own JSON Schema of its documents, from the npm package that publishes it."""

from __future__ import annotations

import json
import shutil
from typing import Any

from lab.harness import npm
from lab.harness.template import ROOT
from tests.support.missing import missing

PACKAGE = "@asyncapi/specs@6.11.1"
HOME = ROOT / ".local" / "asyncapi-specs"


def published(version: str) -> Any:
    """The schema of documents of that version; skips where npm is missing."""
    path = HOME / "schemas" / f"{version}.json"
    if not path.is_file() and not shutil.which("npm"):
        missing("npm", "install npm")
    return json.loads(npm.unpack(PACKAGE, HOME, path).read_text())
