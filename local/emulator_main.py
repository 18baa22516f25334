"""MiniStack with patches, run by the emulator's Python; it ends when its parent does.

The parent holds the other end of this process's standard input. Even a hard kill of the parent
closes it; then the whole process group ends, including the functions' workers.
"""

import hashlib
import hmac
import os
import runpy
import signal
import sys
import tempfile
import threading
import types
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


def route_options() -> None:
    """Pass OPTIONS to an API's routes if it has no CORS settings, as AWS does.

    MiniStack 1.5.33 responds to every OPTIONS itself, with 403 without such settings.
    """
    from ministack.services import apigateway  # type: ignore[import-not-found]

    handle = apigateway._handle_execute_in_scope

    async def handle_or_route(  # noqa: PLR0917 - the signature is the emulator's
        api_id: str,
        stage: str,
        path: str,
        method: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, list[str]],
        account: str,
        region: str,
        raw_query: str | None = None,
    ) -> Any:
        route = apigateway._match_route(api_id, method, path)
        has_cors = (apigateway._apis.get(api_id) or {}).get("corsConfiguration")
        if method != "OPTIONS" or has_cors or not route:
            request = (api_id, stage, path, method, headers, body, query)
            return await handle(*request, account, region, raw_query)
        return await apigateway._invoke_lambda_proxy(
            apigateway._integrations[api_id][route["target"].removeprefix("integrations/")],
            api_id,
            stage,
            path,
            method,
            {name.lower(): value for name, value in headers.items()},
            body,
            query,
            route["routeKey"],
            owner_account_id=account,
            owner_region=region,
            raw_query_string=raw_query,
        )

    apigateway._handle_execute_in_scope = handle_or_route


def pass_on_close_codes() -> None:
    """Report the code with which a client closed its WebSocket; Hypercorn always reports 1006."""
    from hypercorn.protocol import ws_stream  # type: ignore[import-not-found]

    stream: Any = ws_stream.WSStream
    send, handle = stream._send_wsproto_event, stream.handle

    async def send_and_note(self: Any, event: Any) -> None:
        if isinstance(event, ws_stream.CloseConnection):  # the response to a close has its code
            self.closed_with = int(event.code)
        await send(self, event)

    async def handle_with_code(self: Any, event: Any) -> None:
        put, code = self.app_put, getattr(self, "closed_with", None)
        if isinstance(event, ws_stream.StreamClosed) and put is not None and code is not None:
            self.app_put = lambda message: put({**message, "code": code})
        await handle(self, event)

    stream._send_wsproto_event, stream.handle = send_and_note, handle_with_code


def allow_loops() -> None:
    """Allow loops through a function's own queue if the template says so, as AWS does.

    MiniStack 1.5.33 stops such loops as Lambda does, but ignores the template's RecursiveLoop.
    """
    from ministack.services import lambda_svc

    def allow(function: str, properties: dict[str, Any]) -> None:
        loop = properties.get("RecursiveLoop", "Terminate")
        lambda_svc._put_function_recursion_config(function, {"RecursiveLoop": loop})

    _after("AWS::Lambda::Function", allow)


def retry_streams() -> None:
    """Retry a table's stream if a function reports failed records, as AWS does.

    MiniStack 1.5.33 treats such a batch as successful. Here all of it is retried, as AWS may do.
    """
    from ministack.services import lambda_svc

    execute = lambda_svc._execute_function

    def execute_and_look(function: Any, event: Any, *rest: Any, **named: Any) -> Any:
        result = execute(function, event, *rest, **named)
        body = result.get("body")
        failures = body.get("batchItemFailures") if isinstance(body, dict) else None
        records = event.get("Records") if isinstance(event, dict) else None
        if failures and records and "dynamodb" in records[0]:
            return {**result, "error": True}
        return result

    lambda_svc._execute_function = execute_and_look


def share_layers() -> None:
    """Unpack a layer once for all workers, so that a cold start need not unzip it.

    A layer is read-only by contract, so the workers can share it through links, with the .pyc files
    that are made there.
    """
    from ministack.core import lambda_runtime  # type: ignore[import-not-found]

    unpacking = threading.Lock()

    class SharingZipFile(zipfile.ZipFile):
        def extractall(self, path: Any = None, *rest: Any) -> None:
            if not Path(path).name.startswith("layer_"):
                return super().extractall(path, *rest)
            digest = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
            shared = Path(tempfile.gettempdir()) / "layers" / digest
            with unpacking:
                if not shared.exists():
                    super().extractall(shared.with_suffix(".part"))
                    shared.with_suffix(".part").rename(shared)
            for entry in shared.iterdir():
                (Path(path) / entry.name).symlink_to(entry)
            return None

    # Only the emulator's module gets the patched class.
    patched = types.ModuleType("zipfile")
    vars(patched).update(vars(zipfile), ZipFile=SharingZipFile)
    lambda_runtime.zipfile = patched


def resolve_conditions() -> None:
    """Resolve Fn::Sub, Fn::Split, Fn::Join and the account in conditions, as AWS does.

    MiniStack 1.5.33 resolves only Ref of a parameter and Fn::Select there.
    """
    from ministack.services.cloudformation import (  # type: ignore[import-not-found]
        changesets,
        engine,
        handlers,
        stacks,
    )

    evaluate = engine._evaluate_conditions

    def evaluate_resolved(template: dict[str, Any], params: dict[str, Any]) -> Any:
        def resolved(value: Any) -> Any:
            if isinstance(value, list):
                return [resolved(one) for one in value]
            if not isinstance(value, dict):
                return value
            if value.keys() & {"Ref", "Fn::Select", "Fn::Split", "Fn::Sub", "Fn::Join"}:
                return engine._resolve_refs(value, {}, params, {}, {}, "", "")
            return {name: resolved(one) for name, one in value.items()}

        conditions = resolved(template.get("Conditions", {}))
        return evaluate({**template, "Conditions": conditions}, params)

    for module in (changesets, engine, handlers, stacks):
        module._evaluate_conditions = evaluate_resolved


def import_bodies() -> None:
    """Create the routes of an HTTP API's OpenAPI `Body`, which MiniStack 1.5.33 does not."""
    from ministack.services import apigateway

    def imported(api: str, properties: dict[str, Any]) -> None:
        if "Body" not in properties:
            return
        apigateway._integrations[api], apigateway._routes[api] = {}, {}
        operations = [
            (path, method, operation["x-amazon-apigateway-integration"])
            for path, methods in properties["Body"]["paths"].items()
            for method, operation in methods.items()
        ]
        for number, (path, method, integration) in enumerate(operations):
            verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
            apigateway._integrations[api][f"body{number}"] = {
                "integrationId": f"body{number}",
                "integrationType": "AWS_PROXY",
                "integrationUri": integration["uri"],
                "integrationMethod": integration["httpMethod"],
                "payloadFormatVersion": integration["payloadFormatVersion"],
                "timeoutInMillis": 30_000,
            }
            apigateway._routes[api][f"body{number}"] = {
                "routeId": f"body{number}",
                "routeKey": path if path == "$default" else f"{verb} {path}",
                "target": f"integrations/body{number}",
                "authorizationType": "NONE",
                "apiKeyRequired": False,
            }

    _after("AWS::ApiGatewayV2::Api", imported)


def serve_function_urls_here() -> None:
    """Give function URLs hosts that browsers resolve to this machine, where the origin serves them.

    MiniStack 1.5.33 serves function URLs, but gives them hosts that lead to AWS.
    """
    from ministack.services.cloudformation import provisioners

    attributes, port = provisioners._lambda_url_attributes, os.environ.pop("HEADCOUNT_PORT")

    def attributes_here(config: dict[str, Any]) -> dict[str, Any]:
        found = attributes(config)
        host = found["FunctionUrl"].removeprefix("https://").partition(".on.aws/")[0]
        return {**found, "FunctionUrl": f"http://{host}.localhost:{port}/"}

    provisioners._lambda_url_attributes = attributes_here


def pass_on_stage_variables() -> None:
    """Pass an HTTP API's stage variables to its functions; MiniStack 1.5.33 leaves them out."""
    from ministack.services import apigateway, lambda_svc

    execute = lambda_svc._execute_function_with_config_scope

    def execute_with_variables(function: Any, event: Any, *rest: Any, **named: Any) -> Any:
        context = event.get("requestContext") if isinstance(event, dict) else None
        if isinstance(context, dict) and "http" in context:
            variables = apigateway._get_stage_variables(context["apiId"], context["stage"])
            event |= {"stageVariables": variables} if variables else {}
        return execute(function, event, *rest, **named)

    lambda_svc._execute_function_with_config_scope = execute_with_variables


def switch_on_ttl() -> None:
    """Enable TTL as in the template; MiniStack 1.5.33 ignores a table's TimeToLiveSpecification."""
    from ministack.services import dynamodb

    def switched(table: str, properties: dict[str, Any]) -> None:
        if specification := properties.get("TimeToLiveSpecification"):
            params = {"TableName": table, "TimeToLiveSpecification": specification}
            dynamodb._update_ttl(params)

    _after("AWS::DynamoDB::Table", switched)


def _after(kind: str, then: Callable[[str, dict[str, Any]], None]) -> None:
    """Call ``then`` with id and properties after CloudFormation creates or updates a resource."""
    from ministack.services.cloudformation import provisioners

    known = provisioners._RESOURCE_HANDLERS[kind]
    create, update = known["create"], known["update"]

    def create_and_then(logical_id: str, properties: dict[str, Any], *rest: Any) -> Any:
        made = create(logical_id, properties, *rest)
        then(made[0], properties)
        return made

    def update_and_then(
        physical_id: str, before: Any, properties: dict[str, Any], *rest: Any
    ) -> Any:
        made = update(physical_id, before, properties, *rest)
        then(made[0], properties)
        return made

    provisioners._RESOURCE_HANDLERS[kind] = {
        **known,
        "create": create_and_then,
        "update": update_and_then,
    }


SECRETS = ("HEADCOUNT_SECRET", "HEADCOUNT_ORIGIN_SECRET")
"""The environment variables that have them, here and in no function."""

PUBLIC = ("_aws/execute-api/", "_aws/lambda-url/")
"""What pages may reach by the origin."""

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

OWN_HOSTS = {"127.0.0.1", "localhost", "[::1]", "host.docker.internal"}
"""Names of this machine. A page reaches the port by its own name if that leads to the loopback."""


def guarded(app: Asgi, secret: str, origin_secret: str) -> Asgi:
    """The emulator for those who know a secret path alone; it runs any code that it is sent.

    Any page in the developer's browser can send requests to a port of this machine, so none that a
    page may have caused is passed on: a foreign Host, an Origin, a Sec-Fetch-Site. The local origin
    has a secret of its own, below which an API's callers may be pages: they reach only APIs and
    functions with a URL.
    """

    async def guard(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await app(scope, receive, send)
            return
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        is_origin = hmac.compare_digest(first.encode(), origin_secret.encode())
        if is_origin and slash and rest.startswith(PUBLIC):
            pass
        elif is_origin or not hmac.compare_digest(first.encode(), secret.encode()):
            await refuse(
                scope, receive, send, "Not here: awsEndpointUrl of outputs.json says where"
            )
            return
        elif (why := foreign(scope)) is not None:
            await refuse(scope, receive, send, why)
            return
        raw = scope.get("raw_path") or scope["path"].encode()
        inner = {"path": f"/{rest}", "raw_path": b"/" + raw[1:].partition(b"/")[2]}
        await app({**scope, **inner}, receive, send)

    return guard


def foreign(scope: dict[str, Any]) -> str | None:
    """Why a request may be a page's; None if it is a program's."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if headers.setdefault(name.lower(), value) != value:
            return "Two different headers of one name"
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if host.rpartition(":")[0] not in OWN_HOSTS and host not in OWN_HOSTS:
        return "This Host is not this machine"
    if b"origin" in headers or headers.get(b"sec-fetch-site", b"none") != b"none":
        return "Pages have no business here"
    return None


async def refuse(scope: dict[str, Any], receive: Any, send: Any, why: str) -> None:
    """Answer 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"{why}.\n".encode()})


def answer_who_knows_the_secret() -> None:
    """Guard the emulator with the secrets that this process was given."""
    from ministack import app  # type: ignore[import-not-found]
    from ministack.services.cloudformation import helpers

    secret, origin_secret = (os.environ.pop(name) for name in SECRETS)
    app.app = guarded(app.app, secret, origin_secret)
    parse = helpers.urlparse  # of the template's address, which has the secret, too
    helpers.urlparse = lambda url: parse(url.replace(f"/{secret}/", "/", 1))


def end_with_parent() -> None:
    """Wait until standard input closes, then kill this process group."""
    os.read(0, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.path.pop(0)  # this folder, whose modules are not the emulator's
    sys.argv = ["ministack"]
    allow_loops()
    retry_streams()
    route_options()
    pass_on_close_codes()
    share_layers()
    resolve_conditions()
    import_bodies()
    pass_on_stage_variables()
    serve_function_urls_here()
    switch_on_ttl()
    answer_who_knows_the_secret()
    runpy.run_module("ministack", run_name="__main__")
