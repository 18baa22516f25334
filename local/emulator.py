"""MiniStack, the AWS emulator, as a child process."""

import asyncio
import os
import secrets
import shutil
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from local import clock
from local.outputs import write_private
from local.processes import running, tail
from local.settings import EMULATOR_PYTHON, LOOPBACK, Settings, UsageError, aws_environment

START_LIMIT = 60.0


@asynccontextmanager
async def emulator(settings: Settings) -> AsyncIterator[Process]:
    """Run the emulator on GATEWAY_PORT; it and its workers end with the block."""
    shutil.rmtree(settings.temporary, ignore_errors=True)
    settings.temporary.mkdir(parents=True)
    write_private(settings.secret_file, secrets.token_urlsafe(24))
    main = Path(__file__).with_name("emulator_main.py")
    command = [str(EMULATOR_PYTHON), str(main)]
    environment = emulator_environment(settings)
    try:
        # It keeps no state, so it can be killed without a grace period.
        async with running(
            *command, env=environment, log=settings.emulator_log, stdin=PIPE, grace=0
        ) as child:
            await _until_ready(settings, child)
            yield child
    finally:
        shutil.rmtree(settings.temporary, ignore_errors=True)
        settings.secret_file.unlink(missing_ok=True)


def emulator_environment(settings: Settings) -> dict[str, str]:
    """A minimal environment, without this machine's own: the functions inherit it."""
    aws = {n: v for n, v in aws_environment(settings).items() if n.startswith("AWS_")}
    return aws | {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(settings.temporary),
        "TMPDIR": str(settings.temporary),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(settings.gateway_port),
        "BIND_HOST": LOOPBACK,
        "HEADCOUNT_PORT": str(settings.port),
        "HEADCOUNT_SECRET": settings.secret,
        "HEADCOUNT_ORIGIN_SECRET": settings.origin_secret,
        "PERSIST_STATE": "0",
        "LOG_LEVEL": "INFO",
        # Nothing listens except the gateway port, and no container engine is used.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{settings.temporary}/no-docker",
        **clock.environment(clock.moved_by()),
    }


async def _until_ready(settings: Settings, child: Process) -> None:
    deadline = asyncio.get_running_loop().time() + START_LIMIT
    while not await asyncio.to_thread(_answers, f"{settings.gateway_url}/_ministack/health"):
        if child.returncode is not None or asyncio.get_running_loop().time() > deadline:
            raise UsageError(f"The emulator did not start:\n\n{tail(settings.emulator_log)}")
        await asyncio.sleep(0.05)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True
