"""`make run`: the whole product on this machine, until Ctrl-C or SIGTERM."""

import asyncio
import hmac
import json
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.build import build, build_lock
from local.deploy import deploy
from local.docs import Docs
from local.emulator import emulator
from local.kinds import all_kinds
from local.origin import Origin, Upstream
from local.outputs import read_outputs, write_outputs
from local.ports import require_free_ports
from local.processes import tail
from local.sam_local import container_endpoint, remove_sam_files, write_sam_files
from local.settings import LOOPBACK, Settings, UsageError, use_emulator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWER_LIMIT = 60.0
FIRST_GET = "/v1/spaces/site:main"  # changes nothing, and starts the API's first worker


class Steps:
    """Prints a line for each finished step, with the seconds it took."""

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
    """Start everything, print the addresses, and run until this task is cancelled."""
    steps = Steps()
    print(f"Headcount on {settings.origin}", flush=True)
    async with AsyncExitStack() as stack:
        stack.callback(settings.outputs_file.unlink, missing_ok=True)
        stack.callback(remove_sam_files, settings)
        async with build_lock():
            emulated = await start_and_build(settings, steps, stack)
            async with steps.step("deployed"):
                outputs = await deploy(settings)
        # Nobody can guess it, and it lasts as long as this stack.
        outputs["shortUrl"] = f"{settings.origin}/d/{secrets.token_urlsafe(6)}"
        outputs["containerEndpointUrl"] = await stack.enter_async_context(
            container_endpoint(settings)
        )
        docs = Docs(settings)
        stack.push_async_callback(docs.end)
        await stack.enter_async_context(origin(settings, outputs, docs))
        async with steps.step("API answers"):
            await asyncio.gather(until_api_answers(settings), start_batch_functions(outputs))
        await asyncio.to_thread(write_sam_files, settings, outputs)
        write_outputs(settings, {"ready": True, "pid": os.getpid()} | outputs)
        print(welcome(settings, outputs, steps.total()), flush=True)
        if settings.docs:
            docs.build()
        await emulated.wait()
        raise UsageError(
            f"The emulator ended by itself. Its log ends:\n\n{tail(settings.emulator_log)}"
        )


async def start_and_build(settings: Settings, steps: Steps, stack: AsyncExitStack) -> Process:
    """Start the emulator and build the functions in parallel."""

    async def start() -> Process:
        async with steps.step("emulator started"):
            child = await stack.enter_async_context(emulator(settings))
            use_emulator(settings)  # now that it has a secret
            return child

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
async def origin(settings: Settings, outputs: dict[str, Any], docs: Docs) -> AsyncIterator[None]:
    """Serve the origin on localhost's addresses; it follows the outputs of a redeploy."""
    base = settings.origin_api_url

    def upstream() -> Upstream:
        now = read_outputs(settings) or outputs
        http, socket = (f"{base}/{now[api]}" for api in ("httpApi", "socketApi"))
        return Upstream(http, socket, settings.origin_function_url)

    def opens(path: str) -> str | None:
        if not hmac.compare_digest(path.encode(), urlsplit(outputs["shortUrl"]).path.encode()):
            return None
        found: str = (read_outputs(settings) or outputs)["dashboardUrl"]
        return found

    runner = await Origin(upstream, opens, docs.handle).start(["localhost"], settings.port)
    try:
        yield
    finally:
        await runner.cleanup()


async def until_api_answers(settings: Settings) -> None:
    """Wait for the first successful response through the origin."""
    last = "no response"
    try:
        async with asyncio.timeout(ANSWER_LIMIT), aiohttp.ClientSession() as session:
            while True:
                url = f"http://{LOOPBACK}:{settings.port}{FIRST_GET}"
                async with session.get(url) as response:
                    if response.ok:
                        return
                    last = f"{response.status} {(await response.text())[:500]}"
                await asyncio.sleep(0.2)
    except TimeoutError:
        log = tail(settings.emulator_log)
        raise UsageError(
            f"GET {FIRST_GET} got {last} within {ANSWER_LIMIT:g} s; the log ends:\n\n{log}"
        ) from None


async def start_batch_functions(outputs: dict[str, Any]) -> None:
    """Start a worker of each function that handles batches, with an empty one.

    Otherwise the first visitor's count reaches the dashboard only after two cold starts.
    """
    client = boto3.client("lambda")
    for name in outputs["batchFunctions"]:
        await asyncio.to_thread(client.invoke, FunctionName=name, Payload=b'{"Records": []}')


def welcome(settings: Settings, outputs: dict[str, Any], seconds: float) -> str:
    """The text that says what to open and try."""
    beat = json.dumps({"sessionId": "try-1", "visitorId": "you", "page": "/"})
    return (
        f"ready in {seconds:.1f} s\n\n"
        f"  dashboard  {outputs['shortUrl']}\n"
        f"  docs       {settings.origin}/docs\n"
        f"  a beat     curl -X POST {settings.origin}{FIRST_GET}/presence "
        f"-H 'content-type: application/json' -d '{beat}'\n"
        f"  logs       {settings.emulator_log}\n\n"
        "Ctrl-C stops it."
    )


async def until_signalled(settings: Settings) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then end everything in order."""
    serving = asyncio.create_task(serve(settings))
    loop = asyncio.get_running_loop()

    def end() -> None:
        for number in ENDING:  # a second Ctrl-C must not interrupt the cleanup
            loop.add_signal_handler(number, lambda: None)
        serving.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, end)
    try:
        await serving
    except asyncio.CancelledError:
        print("\nstopped", flush=True)


def main() -> int:
    try:
        settings = Settings.from_environment()
        if settings.kinds:
            all_kinds(settings.kinds)  # an error in them ends it here
        running = read_outputs(settings)
        if running:
            raise UsageError(
                f"A local stack is already running at {running['origin']} (pid {running['pid']})."
            )
        require_free_ports(settings)
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.outputs_file.unlink(missing_ok=True)
        settings.secret_file.unlink(missing_ok=True)  # of one that was killed
        use_emulator(settings)  # nothing here reaches the user's account
        asyncio.run(until_signalled(settings))
    except (UsageError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
