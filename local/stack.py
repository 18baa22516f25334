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
    """`make run` as a child process on ports of its own; the block gets its outputs.

    `work_dir` takes its outputs, logs and temporary files; say a folder per stack. Where there is a
    `webhook_url`, its events are posted there.
    """

    def __init__(
        self,
        work_dir: Path,
        port: int | None = None,
        gateway_port: int | None = None,
        webhook_url: str = "",
    ) -> None:
        self.settings = Settings(
            port or free_port(), gateway_port or free_port(), work_dir, webhook_url
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
        """Start it, without waiting."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "PORT": str(self.settings.port),
            "GATEWAY_PORT": str(self.settings.gateway_port),
            "HEADCOUNT_LOCAL_DIR": str(self.settings.home),
            "WEBHOOK_URL": self.settings.webhook_url,
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
        """Wait for its outputs; if it ends or takes more than `limit` seconds, raise."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and self._child.poll() is None:
            outputs = read_outputs(self.settings)
            if outputs:
                return outputs
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"The local stack did not get ready:\n{self.log.read_text()}")

    def stop(self) -> int:
        """End it and all it started; its exit code."""
        self._child.terminate()
        return self._child.wait(timeout=60)
