"""`.local/outputs.json`: the addresses and the token of a running stack."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local.settings import Settings, UsageError


def write_outputs(settings: Settings, outputs: dict[str, Any]) -> None:
    """Write the file, which contains a token."""
    write_private(settings.outputs_file, json.dumps(outputs, indent=2))


def write_private(path: Path, text: str) -> None:
    """Write a file in one step, readable by its owner only."""
    scratch = path.with_suffix(".tmp")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)


def read_outputs(settings: Settings) -> dict[str, Any] | None:
    """The running stack's outputs; None if no stack runs."""
    try:
        outputs: dict[str, Any] = json.loads(settings.outputs_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return outputs if _exists(outputs["pid"]) else None


def running_stack(settings: Settings) -> tuple[Settings, dict[str, Any]]:
    """The running stack's settings, with its own ports, and its outputs. UsageError without one."""
    outputs = read_outputs(settings)
    if outputs is None:
        raise UsageError("No local stack is running. Start one with `make run`.")
    port, gateway_port = (urlsplit(outputs[url]).port for url in ("origin", "awsEndpointUrl"))
    assert port is not None
    assert gateway_port is not None
    return replace(settings, port=port, gateway_port=gateway_port), outputs


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
