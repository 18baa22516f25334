"""What `sam local` needs of a running stack, so that functions in containers work on its tables.

A container's loopback is its own: the emulator is not on it. On Linux the machine has an address on
Docker's bridge, and a door is opened there; Docker Desktop leads `host.docker.internal` to this
machine's loopback by itself. Every container on the bridge can knock at the door, and the emulator
runs whatever code it is sent: so the door is a path that nobody can guess.
"""

import fcntl
import json
import secrets
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import boto3
from aiohttp import ClientError, ClientSession, DummyCookieJar, web
from yarl import URL

from local.origin import HOP_BY_HOP, MAX_BODY, end_to_end
from local.outputs import write_private
from local.settings import ARCHITECTURE, RUNTIME, Settings

BRIDGE = "docker0"
ADDRESS_OF_INTERFACE = 0x8915  # SIOCGIFADDR


def bridge_address() -> str | None:
    """This machine's address on Docker's bridge; None where that is none of its networks."""
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            name = struct.pack("256s", BRIDGE.encode())
            return socket.inet_ntoa(fcntl.ioctl(asking, ADDRESS_OF_INTERFACE, name)[20:24])
        except OSError:
            return None


@asynccontextmanager
async def door(settings: Settings) -> AsyncIterator[str]:
    """The emulator's URL as containers reach it, while the block runs."""
    address = bridge_address()
    if address is None:
        yield f"http://host.docker.internal:{settings.gateway_port}"
        return
    path = f"/{secrets.token_urlsafe(24)}"
    async with ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session:

        async def pass_on(request: web.Request) -> web.Response:
            inner = URL(settings.gateway_url + request.raw_path.removeprefix(path), encoded=True)
            headers = end_to_end(request.headers, HOP_BY_HOP | {"content-length", "host"})
            body = await request.read()
            try:
                async with session.request(
                    request.method, inner, headers=headers, data=body, allow_redirects=False
                ) as answer:
                    content = await answer.read()
            except ClientError:
                return web.Response(status=HTTPStatus.BAD_GATEWAY)
            kept = end_to_end(answer.headers)
            return web.Response(status=answer.status, headers=kept, body=content)

        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", path + r"{rest:[\s\S]*}", pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, 0).start()
            yield f"http://{address}:{runner.addresses[0][1]}{path}"
        finally:
            await runner.cleanup()


def write_sam_files(settings: Settings, outputs: dict[str, Any]) -> None:
    """Write what samconfig.toml names: the functions' environment, and the build's parameters."""
    environment = {
        name: value.replace(settings.gateway_url, outputs["containerEndpointUrl"])
        for page in boto3.client("lambda").get_paginator("list_functions").paginate()
        for function in page["Functions"]
        for name, value in function.get("Environment", {}).get("Variables", {}).items()
    }
    # SAM CLI serves no WebSockets: its dashboard listens to the running stack.
    environment["SOCKET_URL"] = outputs["webSocketUrl"]
    text = json.dumps({"Parameters": environment}, indent=2)
    write_private(settings.sam_environment_file, f"{text}\n")
    parameters = f'Runtime = "{RUNTIME}"\nArchitecture = "{ARCHITECTURE}"\n'
    write_private(settings.sam_parameters_file, parameters)


def remove_sam_files(settings: Settings) -> None:
    """Leave none: they are of no use without the stack."""
    for file in (settings.sam_environment_file, settings.sam_parameters_file):
        file.unlink(missing_ok=True)
