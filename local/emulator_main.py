"""What the emulator's own Python runs: MiniStack, mended, and ending when its parent does.

The parent holds the other end of our standard input. Even a hard kill of the parent closes it,
and then the whole process group, the functions' workers included, goes.
"""

import hashlib
import os
import runpy
import signal
import sys
import tempfile
import threading
import types
import zipfile
from pathlib import Path
from typing import Any


def route_options() -> None:
    """Give OPTIONS to an API's own route when it has no CORS settings, as AWS does.

    MiniStack 1.5.33 answers every OPTIONS itself, with 403 where there are no such settings.
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


def tell_close_codes() -> None:
    """Say which code a client closed its WebSocket with: Hypercorn calls every end 1006."""
    from hypercorn.protocol import ws_stream  # type: ignore[import-not-found]

    stream: Any = ws_stream.WSStream
    send, handle = stream._send_wsproto_event, stream.handle

    async def send_and_note(self: Any, event: Any) -> None:
        if isinstance(event, ws_stream.CloseConnection):  # what answers a close repeats its code
            self.closed_with = int(event.code)
        await send(self, event)

    async def handle_and_tell(self: Any, event: Any) -> None:
        put, code = self.app_put, getattr(self, "closed_with", None)
        if isinstance(event, ws_stream.StreamClosed) and put is not None and code is not None:
            self.app_put = lambda message: put({**message, "code": code})
        await handle(self, event)

    stream._send_wsproto_event, stream.handle = send_and_note, handle_and_tell


def share_layers() -> None:
    """Unpack a layer once for all workers: a cold start is then an import, not an unzip.

    A layer is read-only by contract, so a link to it serves; so do the .pyc files made there.
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

    # The emulator's module looks the class up there; everybody else keeps the original.
    patched = types.ModuleType("zipfile")
    vars(patched).update(vars(zipfile), ZipFile=SharingZipFile)
    lambda_runtime.zipfile = patched


def end_with_parent() -> None:
    """Wait for the end of standard input, then kill this process group."""
    os.read(0, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.path.pop(0)  # this folder: none of its modules is the emulator's
    sys.argv = ["ministack"]
    route_options()
    tell_close_codes()
    share_layers()
    runpy.run_module("ministack", run_name="__main__")
