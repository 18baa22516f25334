"""What `sam local` needs from a running stack, so that functions in containers use its tables.

A container can't reach the emulator on this machine's loopback. On Linux, a proxy serves it on the
machine's address on Docker's bridge; Docker Desktop maps `host.docker.internal` to the loopback.
Every container on the bridge can reach the proxy, and the emulator runs any code that it is sent:
the proxy therefore answers only below a secret path.
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

from local.origin import HOP_BY_HOP, MAX_PAYLOAD, end_to_end
from local.outputs import write_private
from local.settings import ARCHITECTURE, LOOPBACK, RUNTIME, Settings

BRIDGE = "docker0"
ADDRESS_OF_INTERFACE = 0x8915  # SIOCGIFADDR


def bridge_address() -> str | None:
    """This machine's address on Docker's bridge; None if there is no such network."""
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            name = struct.pack("256s", BRIDGE.encode())
            return socket.inet_ntoa(fcntl.ioctl(probe, ADDRESS_OF_INTERFACE, name)[20:24])
        except OSError:
            return None


@asynccontextmanager
async def container_endpoint(settings: Settings) -> AsyncIterator[str]:
    """The emulator's URL for containers, while the block runs."""
    address = bridge_address()
    if address is None:
        yield settings.gateway_url.replace(LOOPBACK, "host.docker.internal")
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

        app = web.Application(client_max_size=MAX_PAYLOAD)
        app.router.add_route("*", path + r"{rest:[\s\S]*}", pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, 0).start()
            yield f"http://{address}:{runner.addresses[0][1]}{path}"
        finally:
            await runner.cleanup()


def write_sam_files(settings: Settings, outputs: dict[str, Any]) -> None:
    """Write the files that samconfig.toml names: the functions' environment, the parameters."""
    environment = {
        name: value
        for page in boto3.client("lambda").get_paginator("list_functions").paginate()
        for function in page["Functions"]
        for name, value in function.get("Environment", {}).get("Variables", {}).items()
    }
    # The emulator sets it for its own functions; from a container it has another address.
    environment["AWS_ENDPOINT_URL"] = outputs["containerEndpointUrl"]
    # SAM CLI serves no WebSockets, so its dashboard uses the running stack's.
    environment["SOCKET_URL"] = outputs["webSocketUrl"]
    text = json.dumps({"Parameters": environment}, indent=2)
    write_private(settings.sam_environment_file, f"{text}\n")
    parameters = f'Runtime = "{RUNTIME}"\nArchitecture = "{ARCHITECTURE}"\n'
    write_private(settings.sam_parameters_file, parameters)


def remove_sam_files(settings: Settings) -> None:
    """Delete the files, which are useless without the stack."""
    for file in (settings.sam_environment_file, settings.sam_parameters_file):
        file.unlink(missing_ok=True)
