"""Faults for a running stack: killed workers, a deploy, and failing AWS calls."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
from aiohttp import web

from lab.harness.template import template
from local.build import build_lock, parameter_overrides
from local.deploy import deploy
from local.outputs import running_stack, write_outputs
from local.ports import free_port
from local.settings import LOOPBACK, Settings, aws_environment
from tests.stack.conftest import Stack
from tests.stack.processes import processes_of

POST = "PostToConnection"
SILENCE = 30.0  # seconds: longer than any client's timeout
_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_REFUSALS = {
    "throttled": (400, f"{_DYNAMODB}ProvisionedThroughputExceededException"),
    "broken": (500, f"{_DYNAMODB}InternalServerError"),
    "lost": (500, f"{_DYNAMODB}InternalServerError"),
    "limited": (429, "LimitExceededException"),
    "gone": (410, "GoneException"),
}


def kill_workers(home: Path) -> int:
    """Kill every process that runs a function, with SIGKILL; returns their number."""
    workers = [line for line in processes_of(home) if "_worker.py" in line]
    for line in workers:
        with suppress(ProcessLookupError):  # the emulator ended it meanwhile
            os.kill(int(line.split()[0]), signal.SIGKILL)
    return len(workers)


def deploy_anew(settings: Settings) -> None:
    """Deploy like `make deploy-local` after an edit, but with a changed parameter instead.

    It is in every function's environment, so every function restarts.
    """
    settings, before = running_stack(settings)

    def edited(**values: str) -> list[str]:
        return parameter_overrides(
            **values | {"Kinds": f'"{template().defaults["Kinds"]} deployed"'}
        )

    async def run() -> dict[str, Any]:
        async with build_lock():
            return await deploy(settings)

    with (
        mock.patch.dict(os.environ, aws_environment(settings), clear=True),
        mock.patch("local.deploy.parameter_overrides", edited),
        # In a separate thread: Playwright keeps an event loop running in this one.
        ThreadPoolExecutor(1) as thread,
    ):
        after = thread.submit(lambda: asyncio.run(run())).result()
    write_outputs(settings, {"ready": True, "pid": before["pid"]} | after)


@dataclass(frozen=True)
class Rule:
    """Calls that fail.

    `fault` is one of the refusals above, where "lost" means that the call takes effect; or "cut":
    it takes effect and the connection is closed; or "silent": it has no effect and no answer.
    """

    fault: str
    rate: float = 1.0
    call: str = ""  # an operation; "" = all of DynamoDB's
    containing: str = ""  # a text in the path, or in the body
    function: str = ""  # the caller's name in the template; "" = any


@dataclass
class Faults:
    """A proxy between functions and the emulator, where calls fail according to the rules.

    It stays until the stack ends, because removing it would restart the functions.
    """

    stack: Stack
    rules: Sequence[Rule] = ()
    done: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(fault, operation, function) -> number of failed calls."""
    _runners: list[web.AppRunner] = field(default_factory=list)

    def intercept(self, *functions: str) -> None:
        """Set the proxy as the AWS endpoint of functions, by their names in the template."""
        self._client = self.stack.loop.run(self._open())
        for name in functions:
            proxy = f"http://{LOOPBACK}:{self.stack.loop.run(self._listen(name))}"
            physical = self._physical_id(name)
            known = self._lambda.get_function_configuration(FunctionName=physical)
            variables = known["Environment"]["Variables"] | {"AWS_ENDPOINT_URL": proxy}
            self._lambda.update_function_configuration(
                FunctionName=physical, Environment={"Variables": variables}
            )

    def close(self) -> None:
        """Stop listening."""
        self.stack.loop.run(self._close())

    @contextmanager
    def having(self, *rules: Rule) -> Iterator[None]:
        """Make calls fail during the block."""
        self.rules = rules
        try:
            yield
        finally:
            self.rules = ()

    def invoke(self, function: str) -> None:
        """Invoke a function in addition to its own triggers, without waiting for its end."""
        self._lambda.invoke(
            FunctionName=self._physical_id(function), InvocationType="Event", Payload=b"{}"
        )

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(auto_decompress=False)

    async def _close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        await self._client.close()

    async def _listen(self, function: str) -> int:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._forward_or_fail(request, function)

        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)  # 0 would be no limit
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, LOOPBACK, port).start()
        self._runners.append(runner)
        return port

    async def _forward_or_fail(self, request: web.Request, function: str) -> web.StreamResponse:
        service, _, operation = request.headers.get("x-amz-target", "").partition(".")
        if "/@connections/" in request.path:
            operation = POST if request.method == "POST" else "DeleteConnection"
        for rule in self.rules:
            applies = rule.call == operation if rule.call else service.startswith("DynamoDB")
            applies = applies and rule.function in {"", function}
            text = request.path + (await request.text() if rule.containing else "")
            if applies and rule.containing in text and random.random() < rule.rate:  # noqa: S311
                self.done[rule.fault, operation, function] += 1
                return await self._fail(rule.fault, request)
        return await self._forward(request)

    async def _forward(self, request: web.Request) -> web.Response:
        async with self._client.request(
            request.method,
            f"{self.stack.settings.gateway_url}{request.raw_path}",
            headers=request.headers,
            data=await request.read(),
        ) as answer:
            kind = {"content-type": answer.headers.get("content-type", "application/json")}
            return web.Response(status=answer.status, headers=kind, body=await answer.read())

    async def _fail(self, fault: str, request: web.Request) -> web.StreamResponse:
        if fault == "silent":
            await asyncio.sleep(SILENCE)
        if fault in {"lost", "cut"}:
            await self._forward(request)
        if fault not in _REFUSALS:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=HTTPStatus.BAD_GATEWAY)  # never received
        status, error = _REFUSALS[fault]
        return web.json_response(
            {"__type": error, "message": "made by a test"},
            status=status,
            headers={"x-amzn-errortype": error},
        )

    @property
    def _lambda(self) -> Any:
        return self.stack.client("lambda")

    def _physical_id(self, name: str) -> str:
        resource = self.stack.client("cloudformation").describe_stack_resource(
            StackName=self.stack.outputs["stackName"], LogicalResourceId=name
        )
        return str(resource["StackResourceDetail"]["PhysicalResourceId"])
