"""MiniStack, the AWS emulator, as a child process."""

import asyncio
import os
import shutil
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from local.processes import running, tail
from local.settings import EMULATOR_PYTHON, LOOPBACK, Settings, UsageError, aws_environment

START_LIMIT = 60.0


@asynccontextmanager
async def emulator(settings: Settings) -> AsyncIterator[Process]:
    """The emulator, answering on GATEWAY_PORT; gone with its workers when the block ends."""
    shutil.rmtree(settings.temporary, ignore_errors=True)
    settings.temporary.mkdir(parents=True)
    main = Path(__file__).with_name("emulator_main.py")
    command = [str(EMULATOR_PYTHON), str(main)]
    environment = emulator_environment(settings)
    try:
        # Nothing of its state is kept, so its end needs no grace.
        async with running(
            *command, env=environment, log=settings.emulator_log, stdin=PIPE, grace=0
        ) as child:
            await _until_ready(settings, child)
            yield child
    finally:
        shutil.rmtree(settings.temporary, ignore_errors=True)


def emulator_environment(settings: Settings) -> dict[str, str]:
    """A short environment: the functions inherit it, and a laptop's has no place in them."""
    aws = {n: v for n, v in aws_environment(settings).items() if n.startswith("AWS_")}
    # The emulator gives each function the endpoint, unless it finds one in its own environment.
    del aws["AWS_ENDPOINT_URL"]
    return aws | {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(settings.temporary),
        "TMPDIR": str(settings.temporary),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(settings.gateway_port),
        "BIND_HOST": LOOPBACK,
        "PERSIST_STATE": "0",
        "LOG_LEVEL": "INFO",
        # Nothing but the gateway port may listen, and no container engine is asked.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{settings.temporary}/no-docker",
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
