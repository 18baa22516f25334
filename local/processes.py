"""Child processes that end with this one, together with their own children."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from local.settings import ROOT, UsageError

GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@asynccontextmanager
async def running(
    *command: str,
    env: Mapping[str, str],
    log: Path,
    stdin: int | None = None,
    grace: float = GRACE,
    close_fds: bool = True,
) -> AsyncIterator[Process]:
    """Run a child in its own session; when the block ends, so does its whole process group."""
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=env,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=close_fds,
        )
    try:
        yield child
    finally:
        await asyncio.shield(_end_group(child, grace))


async def _end_group(child: Process, grace: float) -> None:
    """Send SIGTERM, wait, send SIGKILL. The group outlives its leader, so it always gets both."""
    if grace:
        _signal_group(child, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), grace)
    _signal_group(child, signal.SIGKILL)
    await child.wait()


def _signal_group(child: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


async def run(*command: str, env: Mapping[str, str], log: Path) -> None:
    """Run a command to its end; if it fails, raise UsageError with the last lines of its log.

    It inherits the build lock: if this process is killed, the next build waits for the command.
    """
    async with running(*command, env=env, log=log, close_fds=False) as child:
        code = await child.wait()
    if code:
        name = " ".join([Path(command[0]).name, *command[1:2]])
        raise UsageError(
            f"`{name}` failed ({code}). The whole log is {log}; it ends:\n\n{tail(log)}"
        )


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
