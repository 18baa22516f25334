"""Child processes that end with us, and leave no children of their own behind."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from local.settings import ROOT, UsageError

GRACE = 5.0  # seconds between the request to end and its enforcement


@asynccontextmanager
async def running(
    *command: str,
    env: Mapping[str, str],
    log: Path,
    stdin: int | None = None,
    grace: float = GRACE,
    close_fds: bool = True,
) -> AsyncIterator[Process]:
    """A child in a session of its own; when the block ends, so does its whole process group."""
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
    """Ask, wait a little, insist. The group outlives its leader, so it is always signalled."""
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
    """Run a command to its end; if it fails, raise with the last lines of what it said.

    It inherits what is marked for that, which is the build lock: if we are killed, the next to
    build waits until this command has ended, too.
    """
    async with running(*command, env=env, log=log, close_fds=False) as child:
        code = await child.wait()
    if code:
        said = tail(log)
        name = " ".join([Path(command[0]).name, *command[1:2]])
        raise UsageError(f"`{name}` failed ({code}); all it said is in {log}:\n\n{said}")


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
