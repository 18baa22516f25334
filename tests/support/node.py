"""The clients' own code, run by Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from local.settings import ROOT
from tests.support.missing import missing


def run_module(script: str, given: Any, env: Mapping[str, str] | None = None) -> Any:
    """What a module prints as JSON. It gets ``given`` as JSON in ``process.argv[1]``, and imports
    from the repository's root."""
    node = shutil.which("node")
    if node is None:
        missing("Node", "install it, 18 or later.")
    ran = subprocess.run(
        [node, "--input-type=module", "-e", script, json.dumps(given)],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(ran.stdout)
