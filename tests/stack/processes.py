"""The processes of a stack: those that have its folder in their environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def processes_of(home: Path) -> list[str]:
    """One line per running process of the stack in that folder, without zombies."""
    if Path("/proc/self/environ").exists():
        return [line for pid in _pids() if (line := _line(pid, str(home)))]
    listed = subprocess.run(["ps", "-axwwE"], check=True, capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(home) in line]


def _pids() -> list[int]:
    mine = os.getpid()
    names = [entry.name for entry in Path("/proc").iterdir()]
    return [int(name) for name in names if name.isdigit() and int(name) != mine]


def _line(pid: int, home: str) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if home.encode() in environment:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            return f"{pid} {command}"
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None  # it ended meanwhile, or belongs to another user
    return None
