"""The local stack as a context manager, for tests and benches."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from local.outputs import read_outputs
from local.ports import free_port
from local.settings import ROOT, Settings


class LocalStack:
    """`make run` as a child process on free ports; the block gets its outputs.

    Outputs, logs and temporary files are in `work_dir`, one folder per stack. Events are posted to
    `webhook_url`, if it is given. `stack_settings` is the template's parameter Settings. `kinds`
    are declared besides the template's.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        port: int | None = None,
        gateway_port: int | None = None,
        webhook_url: str = "",
        stack_settings: str = "",
        kinds: str = "",
    ) -> None:
        self.settings = Settings(
            port=port or free_port(),
            gateway_port=gateway_port or free_port(),
            home=work_dir,
            webhook_url=webhook_url,
            stack_settings=stack_settings,
            kinds=kinds,
        )
        self.log = work_dir / "run.log"
        self._child: subprocess.Popen[bytes]

    def __enter__(self) -> dict[str, Any]:
        self.start()
        return self.until_ready()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the stack without waiting for it."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "PORT": str(self.settings.port),
            "GATEWAY_PORT": str(self.settings.gateway_port),
            "HEADCOUNT_LOCAL_DIR": str(self.settings.home),
            "WEBHOOK_URL": self.settings.webhook_url,
            "SETTINGS": self.settings.stack_settings,
            "KINDS": self.settings.kinds,
            "DOCS": "off",
        }
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "local.run"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def until_ready(self, limit: float = 180.0) -> dict[str, Any]:
        """Wait for its outputs. RuntimeError if it ends, or takes more than `limit` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and self._child.poll() is None:
            outputs = read_outputs(self.settings)
            if outputs:
                return outputs
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"The local stack did not get ready:\n{self.log.read_text()}")

    def stop(self) -> int:
        """Stop the stack; returns its exit code."""
        self._child.terminate()
        return self._child.wait(timeout=60)
