"""Making trouble for a running stack: killed workers, a deploy, and AWS calls that fail."""

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

from local.build import build_lock, parameter_overrides
from local.deploy import deploy
from local.outputs import running_stack, write_outputs
from local.ports import free_port
from local.settings import LOOPBACK, Settings, aws_environment
from tests.stack.conftest import Stack
from tests.stack.processes import processes_of
from tests.support.template import template

ENDPOINTS = ("AWS_ENDPOINT_URL", "SOCKET_ENDPOINT")
"""What tells a function where AWS is."""
POST = "PostToConnection"
SILENCE = 30.0  # seconds: longer than any client waits
_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_REFUSALS = {
    "throttled": (400, f"{_DYNAMODB}ProvisionedThroughputExceededException"),
    "broken": (500, f"{_DYNAMODB}InternalServerError"),
    "lost": (500, f"{_DYNAMODB}InternalServerError"),
    "limited": (429, "LimitExceededException"),
    "gone": (410, "GoneException"),
}


def kill_workers(home: Path) -> int:
    """Kill every process that runs a function, as hard as it goes; how many there were."""
    workers = [line for line in processes_of(home) if "_worker.py" in line]
    for line in workers:
        with suppress(ProcessLookupError):  # the emulator ended it meanwhile
            os.kill(int(line.split()[0]), signal.SIGKILL)
    return len(workers)


def deploy_anew(settings: Settings) -> None:
    """What `make deploy-local` does after an edit; a parameter stands for the edit.

    Every function is given it, so every function starts anew.
    """
    settings, before = running_stack(settings)

    def edited(**values: str) -> list[str]:
        return parameter_overrides(**values, Kinds=f'"{template().defaults["Kinds"]} deployed"')

    async def run() -> dict[str, Any]:
        async with build_lock():
            return await deploy(settings)

    with (
        mock.patch.dict(os.environ, aws_environment(settings), clear=True),
        mock.patch("local.deploy.parameter_overrides", edited),
        # In a thread of its own: what drives the browser keeps a loop running in this one.
        ThreadPoolExecutor(1) as thread,
    ):
        after = thread.submit(lambda: asyncio.run(run())).result()
    write_outputs(settings, {"ready": True, "pid": before["pid"]} | after)


@dataclass(frozen=True)
class Rule:
    """Calls that fail.

    `fault` is one of the refusals above, of which "lost" is done nevertheless; or "cut": done too,
    and the connection closed in place of an answer; or "silent": not done, and never answered.
    """

    fault: str
    rate: float = 1.0
    call: str = ""  # an operation; "" = each of DynamoDB's
    holding: str = ""  # a text in the path


@dataclass
class Faults:
    """Stands between functions and the emulator; what goes through fails by the rules.

    It stays there until the stack ends: to put a function back is to start it once more.
    """

    stack: Stack
    rules: Sequence[Rule] = ()
    done: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(fault, operation, function) -> how often."""
    _runners: list[web.AppRunner] = field(default_factory=list)

    def stand_before(self, *functions: str) -> None:
        """Be where functions, by their names in the template, believe AWS to be."""
        self._client = self.stack.loop.run(self._open())
        for name in functions:
            proxy = f"http://{LOOPBACK}:{self.stack.loop.run(self._listen(name))}"
            physical = self._physical_id(name)
            known = self._lambda.get_function_configuration(FunctionName=physical)
            told = known["Environment"]["Variables"]
            for key in ENDPOINTS:
                if key in told:
                    told[key] = told[key].replace(self.stack.settings.gateway_url, proxy)
            self._lambda.update_function_configuration(
                FunctionName=physical, Environment={"Variables": told}
            )

    def close(self) -> None:
        """Stop listening."""
        self.stack.loop.run(self._close())

    @contextmanager
    def having(self, *rules: Rule) -> Iterator[None]:
        """Have calls fail for a while."""
        self.rules = rules
        try:
            yield
        finally:
            self.rules = ()

    def invoke(self, function: str) -> None:
        """Call a function beside what calls it by itself, and do not wait for its end."""
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
            return await self._pass(request, function)

        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)  # 0 would be no limit
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, LOOPBACK, port).start()
        self._runners.append(runner)
        return port

    async def _pass(self, request: web.Request, function: str) -> web.StreamResponse:
        service, _, operation = request.headers.get("x-amz-target", "").partition(".")
        if "/@connections/" in request.path:
            operation = POST if request.method == "POST" else "DeleteConnection"
        for rule in self.rules:
            meant = rule.call == operation if rule.call else service.startswith("DynamoDB")
            if meant and rule.holding in request.path and random.random() < rule.rate:  # noqa: S311
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
            return web.Response(status=HTTPStatus.BAD_GATEWAY)  # which nobody reads
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
