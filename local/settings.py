"""Where the local stack lives: ports, folders, the host's runtime, and its AWS environment."""

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV_BIN = ROOT / ".venv" / "bin"
EMULATOR_PYTHON = ROOT / ".local" / "emulator" / "bin" / "python"
BUILD_DIR = ROOT / ".aws-sam" / "local"  # apart from what a `sam build` for AWS makes
STACK_NAME = "headcount-local"
REGION = "us-east-1"
LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65535

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE = "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


class UsageError(Exception):
    """Something the user can mend; its message says what and how."""


@dataclass(frozen=True)
class Settings:
    """One local stack: two ports and the folder of its outputs, logs and temporary files."""

    port: int = 8787
    gateway_port: int = 4566
    home: Path = ROOT / ".local"
    webhook_url: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """PORT, GATEWAY_PORT, HEADCOUNT_LOCAL_DIR and WEBHOOK_URL, or their defaults."""
        return cls(
            port=_port("PORT", cls.port, environment),
            gateway_port=_port("GATEWAY_PORT", cls.gateway_port, environment),
            home=Path(environment.get("HEADCOUNT_LOCAL_DIR") or cls.home).resolve(),
            webhook_url=environment.get("WEBHOOK_URL", cls.webhook_url),
        )

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.gateway_port}"

    @property
    def execute_api_url(self) -> str:
        """What API ids are appended to, for HTTP, WebSockets and the management API alike."""
        return f"{self.gateway_url}/_aws/execute-api"

    @property
    def outputs_file(self) -> Path:
        return self.home / "outputs.json"

    @property
    def sam_environment_file(self) -> Path:
        return self.home / "sam-env.json"

    @property
    def sam_parameters_file(self) -> Path:
        return self.home / "sam-parameters.toml"

    @property
    def emulator_log(self) -> Path:
        return self.home / "emulator.log"

    @property
    def temporary(self) -> Path:
        """Where the emulator unpacks functions: wiped at start and at the end."""
        return self.home / "tmp"


def _port(name: str, default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) not in range(1, HIGHEST_PORT + 1):
        raise UsageError(f"{name} is {text!r}: it has to be a port number, like {default}.")
    return int(text)


def aws_environment(settings: Settings) -> dict[str, str]:
    """The environment without any of the user's AWS settings, aimed at the emulator.

    A laptop's profiles and keys are out of reach of all that runs with it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    no_proxy = ",".join(filter(None, [kept.get("NO_PROXY"), "localhost", LOOPBACK]))
    return kept | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": settings.gateway_url,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def use_emulator(settings: Settings) -> None:
    """Put this very process into that environment, so that its boto3 reaches nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(aws_environment(settings))
