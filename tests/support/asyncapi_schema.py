"""AsyncAPI's own JSON Schema of its documents, from the npm package that publishes it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.support.missing import missing
from tests.support.template import ROOT

PACKAGE = "@asyncapi/specs@6.11.1"
HOME = ROOT / ".local" / "asyncapi-specs"


def published(version: str) -> Any:
    """The schema of documents of that version; skips where npm is missing."""
    path = HOME / "schemas" / f"{version}.json"
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "asyncapi-specs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            if not shutil.which("npm"):
                missing("npm", "install npm")
            _fetch()
    return json.loads(path.read_text())


def _fetch() -> None:
    with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
        subprocess.run(
            ["npm", "pack", "--silent", PACKAGE],
            cwd=scratch,
            env={**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false"},
            check=True,
            timeout=300,
            stdout=subprocess.DEVNULL,
        )
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        shutil.rmtree(HOME, ignore_errors=True)
        (Path(scratch) / "package").rename(HOME)
