"""`make run`: the whole product on this machine, until Ctrl-C or SIGTERM."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.build import build, build_lock
from local.deploy import deploy
from local.emulator import emulator
from local.origin import Origin, Upstream
from local.outputs import read_outputs, write_outputs
from local.ports import require_free_ports
from local.processes import tail
from local.sam_local import door, remove_sam_files, write_sam_files
from local.settings import LOOPBACK, Settings, UsageError, use_emulator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWER_LIMIT = 60.0
FIRST_GET = "/v1/spaces/site:main"  # changes nothing, and wakes the API's first worker


class Steps:
    """One line per finished step, with the seconds it took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        print(f"  {name:<34}{time.monotonic() - began:5.1f} s", flush=True)

    def total(self) -> float:
        return time.monotonic() - self._started


async def serve(settings: Settings) -> None:
    """Bring everything up, say so, and hold it until this task is cancelled."""
    steps = Steps()
    print(f"Headcount on {settings.origin}", flush=True)
    async with AsyncExitStack() as stack:
        stack.callback(settings.outputs_file.unlink, missing_ok=True)
        stack.callback(remove_sam_files, settings)
        async with build_lock():
            emulated = await start_and_build(settings, steps, stack)
            async with steps.step("deployed"):
                outputs = await deploy(settings)
        outputs["containerEndpointUrl"] = await stack.enter_async_context(door(settings))
        await stack.enter_async_context(origin(settings, outputs))
        async with steps.step("API answers"):
            await asyncio.gather(until_api_answers(settings), wake_batch_functions(outputs))
        await asyncio.to_thread(write_sam_files, settings, outputs)
        write_outputs(settings, {"ready": True, "pid": os.getpid()} | outputs)
        print(welcome(settings, outputs, steps.total()), flush=True)
        await emulated.wait()
        raise UsageError(f"The emulator ended by itself:\n\n{tail(settings.emulator_log)}")


async def start_and_build(settings: Settings, steps: Steps, stack: AsyncExitStack) -> Process:
    """Start the emulator and build the functions, side by side."""

    async def start() -> Process:
        async with steps.step("emulator started"):
            return await stack.enter_async_context(emulator(settings))

    async def build_all() -> None:
        async with steps.step("functions built"):
            await build(settings)

    try:
        async with asyncio.TaskGroup() as group:
            started = group.create_task(start())
            group.create_task(build_all())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return started.result()


@asynccontextmanager
async def origin(settings: Settings, outputs: dict[str, Any]) -> AsyncIterator[None]:
    """The one origin, on localhost's addresses; it follows what a redeploy writes."""
    base = settings.execute_api_url

    def upstream() -> Upstream:
        now = read_outputs(settings) or outputs
        return Upstream(f"{base}/{now['httpApi']}", f"{base}/{now['socketApi']}")

    runner = await Origin(upstream).start(["localhost"], settings.port)
    try:
        yield
    finally:
        await runner.cleanup()


async def until_api_answers(settings: Settings) -> None:
    """Wait for the first good answer through the origin."""
    said = "nothing"
    try:
        async with asyncio.timeout(ANSWER_LIMIT), aiohttp.ClientSession() as session:
            while True:
                url = f"http://{LOOPBACK}:{settings.port}{FIRST_GET}"
                async with session.get(url) as answer:
                    if answer.ok:
                        return
                    said = f"{answer.status} {(await answer.text())[:500]}"
                await asyncio.sleep(0.2)
    except TimeoutError:
        log = tail(settings.emulator_log)
        raise UsageError(f"GET {FIRST_GET} answered {said}; the log ends:\n\n{log}") from None


async def wake_batch_functions(outputs: dict[str, Any]) -> None:
    """Start the first worker of those who take batches with an empty one, which changes nothing.

    Without it, the first visitor's number takes two cold starts to reach the dashboard.
    """
    client = boto3.client("lambda")
    for name in outputs["batchFunctions"]:
        await asyncio.to_thread(client.invoke, FunctionName=name, Payload=b'{"Records": []}')


def welcome(settings: Settings, outputs: dict[str, Any], seconds: float) -> str:
    """What to open and what to try."""
    beat = json.dumps({"sessionId": "try-1", "visitorId": "you", "page": "/"})
    return (
        f"ready in {seconds:.1f} s\n\n"
        f"  dashboard  {outputs['dashboardUrl']}\n"
        f"  a beat     curl -X POST {settings.origin}{FIRST_GET}/presence "
        f"-H 'content-type: application/json' -d '{beat}'\n"
        f"  logs       {settings.emulator_log}\n\n"
        "Ctrl-C ends it."
    )


async def until_signalled(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, which end everything in order."""
    serving = asyncio.create_task(serve(settings))
    loop = asyncio.get_running_loop()

    def end() -> None:
        for number in ENDING:  # a second Ctrl-C must not interrupt the tidying up
            loop.add_signal_handler(number, lambda: None)
        serving.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, end)
    try:
        await serving
    except asyncio.CancelledError:
        print("\nended", flush=True)


def main() -> int:
    try:
        settings = Settings.from_environment()
        running = read_outputs(settings)
        if running:
            raise UsageError(
                f"A local stack is running already, at {running['origin']} (pid {running['pid']})."
            )
        require_free_ports(settings)
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.outputs_file.unlink(missing_ok=True)
        use_emulator(settings)
        asyncio.run(until_signalled(settings))
    except (UsageError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
